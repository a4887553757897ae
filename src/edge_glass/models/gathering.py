"""The rows of all ranks in one tensor, with gradients: what makes the negatives of a batch global."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor


class Shares(NamedTuple):
    """How many rows each rank holds, in rank order, and which rank this process is."""

    counts: tuple[int, ...]
    rank: int = 0

    @property
    def total(self) -> int:
        """Rows of the whole world."""
        return sum(self.counts)

    @property
    def first(self) -> int:
        """Rows of lower ranks: where this rank's own rows begin."""
        return sum(self.counts[: self.rank])

    @property
    def mine(self) -> slice:
        """This rank's rows among all."""
        return slice(self.first, self.first + self.counts[self.rank])

    @classmethod
    def of(cls, rows: int, device: torch.device) -> Shares:
        """Ask every rank for its number of rows (one collective; none on one process)."""
        if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
            return cls((rows,))
        counts = torch.empty(dist.get_world_size(), dtype=torch.int64, device=device)
        dist.all_gather_into_tensor(counts, torch.tensor([rows], device=device))
        return cls(tuple(counts.tolist()), dist.get_rank())


def gather_rows(x: Tensor, shares: Shares) -> Tensor:
    """`[b, ...]` on every rank, b perhaps 0 → `[B, ...]` in rank order; x itself on one process.

    Ranks pad to the longest share, gather, and cut the padding out again. Backward, the gradients that all
    ranks have for a row are summed and go to the rank that holds it.
    """
    if len(shares.counts) == 1:
        return x
    longest = max(shares.counts)
    padded = torch.cat([x, x.new_zeros(longest - len(x), *x.shape[1:])])
    gathered: Tensor = _GatherEqual.apply(padded)
    if shares.total == len(gathered):
        return gathered
    starts = range(0, len(gathered), longest)
    parts = [gathered[at : at + count] for at, count in zip(starts, shares.counts, strict=True)]
    return torch.cat(parts)


def sum_over_ranks(x: Tensor, shares: Shares) -> Tensor:
    """The sum of all ranks' tensors, without gradient and the same everywhere."""
    total = x.detach().clone()
    if len(shares.counts) > 1:
        dist.all_reduce(total)
    return total


def zero_touching(*tensors: Tensor) -> Tensor:
    """A scalar 0 with a zero gradient for each tensor: keeps parameters in the graph, as DDP demands."""
    return torch.stack([tensor.reshape(-1)[:0].sum() for tensor in tensors]).sum()


class _GatherEqual(torch.autograd.Function):
    """All ranks' `[n, ...]` as `[W·n, ...]`; torch's own functions for it are deprecated or untyped."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        gathered = x.new_empty(dist.get_world_size() * len(x), *x.shape[1:])
        dist.all_gather_into_tensor(gathered, x.contiguous())
        return gathered

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (gradient,) = gradients
        own = gradient.new_empty(len(gradient) // dist.get_world_size(), *gradient.shape[1:])
        dist.reduce_scatter_tensor(own, gradient.contiguous())
        return own
