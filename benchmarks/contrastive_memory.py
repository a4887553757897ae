"""Memory of the contrastive loss on one rank: local × global, never global × global.

    python benchmarks/contrastive_memory.py [--local 256] [--most 32768] [--width 512]
        [--dimensions 512 256 128 64]

One process plays one rank: it holds `local` rows and compares them with `global` candidates, as after the
gather, forward and backward, at every Matryoshka dimension. What is counted are the bytes of live tensors at
their highest, beyond the candidates themselves.
"""

from __future__ import annotations

import argparse
import time
import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from machine import describe
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from edge_glass.alignment.losses.infonce import infonce
from edge_glass.alignment.model.loss import excluded_pairs
from edge_glass.core.gathering import Shares
from edge_glass.encoders.mrl import truncate_and_normalize

Point = tuple[int, int, int, float]


def main() -> None:
    """Print the table and the exponents."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--local", type=int, default=256)
    parser.add_argument("--most", type=int, default=32_768)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--dimensions", type=int, nargs="+", default=[512, 256, 128, 64])
    arguments = parser.parse_args()
    local, width, dimensions = arguments.local, arguments.width, arguments.dimensions
    sizes = [size for size in (2048, 4096, 8192, 16_384, 32_768, 65_536) if size <= arguments.most]

    print(describe())
    print(
        f"{width} numbers a row, Matryoshka dimensions {dimensions}, InfoNCE, float32, forward and backward"
    )
    print(f"{'local':>7} {'global':>7} {'pairs':>12} {'peak MB':>9} {'seconds':>8}")
    growing_world = [measure(local, size, width, dimensions) for size in sizes]
    growing_share = [measure(local * times, sizes[-1] // 4, width, dimensions) for times in (1, 4, 16)]
    square = [measure(size, size, width, dimensions) for size in sizes[:3]]
    print(f"peak ~ global^{exponent(growing_world):.2f} at {local} local rows")
    print(f"peak ~ global^{exponent(square):.2f} if one rank compared all with all")
    fit([*growing_world, *growing_share, *square], width)


def measure(local: int, world: int, width: int, dimensions: Sequence[int]) -> Point:
    """One row of the table."""
    torch.manual_seed(0)
    x, y = (torch.randn(rows, width, requires_grad=True) for rows in (local, world))
    scale = torch.tensor(14.0, requires_grad=True)
    group, shares = torch.arange(world), Shares((local, world - local) if world > local else (local,))
    start = time.perf_counter()
    with LiveBytes() as live:
        excluded = excluded_pairs(group, group, shares.mine)
        losses = [
            infonce(truncate_and_normalize(x, dim), truncate_and_normalize(y, dim), scale, excluded, shares)
            for dim in dimensions
        ]
        torch.stack(losses).mean().backward()
    seconds = time.perf_counter() - start
    print(f"{local:>7,} {world:>7,} {local * world:>12,} {live.peak / 1e6:>9.1f} {seconds:>8.2f}", flush=True)
    return local, world, live.peak, seconds


def exponent(points: Sequence[Point]) -> float:
    """Slope of log peak over log global rows."""
    _, sizes, peaks, _ = zip(*points, strict=True)
    return float(np.polyfit(np.log(sizes), np.log(peaks), 1)[0])


def fit(points: Sequence[Point], width: int) -> None:
    """Least squares of relative errors: so many bytes per pair, so many per number of a candidate."""
    peaks = np.array([point[2] for point in points], dtype=float)
    parts = np.array([(local * world, world * width) for local, world, _, _ in points], dtype=float)
    (per_pair, per_number), *_ = np.linalg.lstsq(parts / peaks[:, None], np.ones(len(points)), rcond=None)
    error = np.abs(parts @ [per_pair, per_number] / peaks - 1).max()
    print(
        f"peak = {per_pair:.1f} bytes x local x global + {per_number:.1f} bytes x global x width, "
        f"off by {error:.0%} at most"
    )


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of tensors that are made and still alive; `peak` is their highest sum."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Look at what every operation returns. Views share the storage of their base and count once."""
        before = {leaf.untyped_storage()._cdata for leaf in tree_leaves(args) if isinstance(leaf, Tensor)}
        result = function(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor) and leaf.untyped_storage()._cdata not in before | self._known:
                self._add(leaf.untyped_storage())
        return result

    def _add(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        self._known.add(key)
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._remove, key, size)

    def _remove(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.now -= size


if __name__ == "__main__":
    main()
