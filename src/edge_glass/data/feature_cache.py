"""Frozen features, computed once and memory-mapped afterwards.

Layout under the cache folder, one folder per key (encoder fingerprint, transform, precision, pooling):

    features/KEY/about.json            what the key stands for
    features/KEY/HASH.tokens.npy       float32 [n, N, D], memory-mapped
    features/KEY/HASH.json             the n sample keys and their token counts, written last

A sample is found by the hash of its content, so a changed weight, transform or picture can never meet a stale
feature. Shards are written whole and renamed into place: a fill that is killed goes on where it stopped, and
two processes that fill at once at worst compute the same shard twice.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from edge_glass.core.errors import DataError
from edge_glass.core.files import atomic_file

logger = logging.getLogger(__name__)

SHARD_ROWS = 512
COMPUTED = ("features", "arrow", "scans")
Encode = Callable[[list[int]], tuple[Tensor, Tensor]]


@dataclass
class Shard:
    """Features of some samples on disk, mapped into memory by each process that reads them.

    Attributes:
        path: The file of tokens.
        lengths: Token counts, int64 `[n]`.
    """

    path: Path
    lengths: np.ndarray
    _tokens: np.ndarray | None = field(default=None, repr=False)

    @property
    def tokens(self) -> np.ndarray:
        """float32 `[n, N, D]`; what lies beyond a sample's length is zero."""
        if self._tokens is None:
            self._tokens = _map_tokens(self.path)
        return self._tokens

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "lengths": self.lengths, "_tokens": None}


class FeatureTable:
    """Features of `n` samples, gathered from memory-mapped shards.

    `gather(indices)` gives tokens float32 `[B, N, D]` and mask bool `[B, N]`, N being the longest of them.
    """

    def __init__(self, shards: list[Shard], shard_of: np.ndarray, row_of: np.ndarray) -> None:
        self.shards = shards
        self.shard_of = shard_of
        self.row_of = row_of

    def __len__(self) -> int:
        return len(self.shard_of)

    def gather(self, indices: Sequence[int] | np.ndarray) -> tuple[Tensor, Tensor]:
        """Return tokens and mask of these samples."""
        indices = np.asarray(indices, dtype=np.int64)
        if len(indices) == 0:
            width = self.shards[0].tokens.shape[2]
            return torch.zeros(0, 1, width), torch.zeros(0, 1, dtype=torch.bool)
        shards, rows = self.shard_of[indices], self.row_of[indices]
        used = np.unique(shards)
        if len(used) == 1:
            shard = self.shards[used[0]]
            tokens = np.take(shard.tokens, rows, axis=0)
            return _with_mask(torch.from_numpy(tokens), torch.from_numpy(shard.lengths[rows]))
        lengths = np.empty(len(indices), dtype=np.int64)
        for number in used:
            here = shards == number
            lengths[here] = self.shards[number].lengths[rows[here]]
        width = self.shards[used[0]].tokens.shape[2]
        tokens = np.zeros((len(indices), _longest(lengths), width), dtype=np.float32)
        for number in used:
            here = shards == number
            part = self.shards[number].tokens[rows[here], : tokens.shape[1]]
            tokens[here, : part.shape[1]] = part
        return _with_mask(torch.from_numpy(tokens), torch.from_numpy(lengths))


class FeatureCache:
    """Features by content under one folder.

    Args:
        root: The cache folder; `features/` is made below it.
    """

    def __init__(self, root: Path) -> None:
        self.root = Path(root) / "features"

    def features(
        self,
        about: Mapping[str, Any],
        keys: Sequence[str],
        encode: Encode,
        on_progress: Callable[[int], None] | None = None,
        share: tuple[int, int] = (0, 1),
        wait: Callable[[], None] = lambda: None,
    ) -> FeatureTable:
        """Return features of samples named by `keys`, computing those that are not there yet.

        Args:
            about: What the features depend on besides the sample; its hash names the folder.
            keys: Content hash of each sample; equal keys are computed once.
            encode: Indices into `keys` → tokens `[n, N, D]` and token counts `[n]`.
            on_progress: Called with the number of samples that are there already, unless all are, and with
                that of each shard when it is done.
            share: (n, count): of every `count` stretches of samples this process computes the n-th, others
                the rest.
            wait: Returns when the others are done with theirs.

        Raises:
            DataError: The disk is full or not writable.
        """
        folder = self.root / _digest(json.dumps(about, sort_keys=True))[:24]
        first: dict[str, int] = {}
        for index, key in enumerate(keys):
            first.setdefault(key, index)
        known = {key for keys_there, _ in _read_shards(folder) for key in keys_there}
        missing = [index for key, index in first.items() if key not in known]
        advance = on_progress or (lambda done: None)
        if missing:
            _write(folder / "about.json", json.dumps(dict(about), indent=1).encode())
            advance(len(first) - len(missing))
            cached = len(first) - len(missing)
            logger.info("computing features of %d samples; %d are cached", len(missing), cached)
        number, count = share
        # By place among all samples: what others have written since must not move what is whose.
        mine = {index for place, index in enumerate(first.values()) if place // SHARD_ROWS % count == number}
        own = [index for index in missing if index in mine]
        for chunk in [own[start : start + SHARD_ROWS] for start in range(0, len(own), SHARD_ROWS)]:
            tokens, lengths = encode(chunk)
            _write_shard(folder, [keys[index] for index in chunk], tokens, lengths)
            advance(len(chunk))
        wait()
        if count > 1 and not _are_there(folder, first):  # the others may have another disk
            return self.features(about, keys, encode)
        return _table(folder, keys)


def clear_cache(root: Path) -> int:
    """Delete what can be computed again under a cache folder (not the assets); returns the bytes freed."""
    freed = 0
    for name in COMPUTED:
        freed += _size(Path(root) / name)
        shutil.rmtree(Path(root) / name, ignore_errors=True)
    return freed


def cache_sizes(root: Path) -> dict[str, int]:
    """Return the bytes on disk of features, of pictures read from parquet, and of scanned folders."""
    return {name: _size(Path(root) / name) for name in COMPUTED}


def cache_entries(root: Path) -> list[tuple[dict[str, Any], int, int]]:
    """List per key: what it stands for, the number of samples, bytes on disk."""
    entries = []
    for folder in sorted((Path(root) / "features").glob("*/")):
        samples = sum(len(keys) for keys, _ in _read_shards(folder))
        about_file = folder / "about.json"
        about = json.loads(about_file.read_text(encoding="utf-8")) if about_file.exists() else {}
        entries.append((about, samples, _size(folder)))
    return entries


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _are_there(folder: Path, keys: Mapping[str, int]) -> bool:
    return keys.keys() <= {key for keys_there, _ in _read_shards(folder) for key in keys_there}


def _table(folder: Path, keys: Sequence[str]) -> FeatureTable:
    shards, places = [], {}
    for number, (shard_keys, shard) in enumerate(_read_shards(folder)):
        shards.append(shard)
        places.update({key: (number, row) for row, key in enumerate(shard_keys)})
    found = [places[key] for key in keys]
    shard_of = np.array([shard for shard, _ in found], dtype=np.int64)
    row_of = np.array([row for _, row in found], dtype=np.int64)
    return FeatureTable(shards, shard_of, row_of)


def _read_shards(folder: Path) -> list[tuple[list[str], Shard]]:
    """Sample keys and features of every whole shard."""
    shards = []
    for file in sorted(folder.glob("*.json")):
        if file.name == "about.json":
            continue
        try:
            index = json.loads(file.read_text(encoding="utf-8"))
            tokens = file.with_suffix(".tokens.npy")
            if tokens.stat().st_size == index["bytes"]:
                shards.append((index["keys"], Shard(tokens, np.array(index["lengths"], dtype=np.int64))))
                continue
        except (OSError, ValueError, KeyError, TypeError):
            pass
        logger.warning("%s: a broken shard is ignored and computed again", file)
    return shards


def _write_shard(folder: Path, keys: list[str], tokens: Tensor, lengths: Tensor) -> None:
    name = _digest("\n".join(keys))[:24]
    file = folder / f"{name}.tokens.npy"
    _write(file, *_npy_parts(tokens.float().contiguous().numpy()))
    record = {"keys": keys, "lengths": lengths.tolist(), "bytes": file.stat().st_size}
    _write(folder / f"{name}.json", json.dumps(record).encode())


def _npy_parts(array: np.ndarray) -> tuple[bytes, memoryview]:
    """Return the `.npy` file of an array. `np.save` would not say why a write failed, only that it did."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, np.lib.format.header_data_from_array_1_0(array))
    return header.getvalue(), array.data


def _write(path: Path, *parts: bytes | memoryview) -> None:
    """Write a file, whole or not at all.

    Raises:
        DataError: The disk is full or not writable.
    """
    try:
        with atomic_file(path) as temporary, temporary.open("wb") as stream:
            for part in parts:
                stream.write(part)
    except OSError as error:
        existing = next(parent for parent in path.parents if parent.exists())
        raise DataError(
            f"{path.parent}: features could not be written ({error.strerror or error}; "
            f"{shutil.disk_usage(existing).free / 2**30:.1f} GiB free).\n"
            "Give another folder with training.feature_cache=PATH, or training.feature_cache=off."
        ) from error


def _map_tokens(path: Path) -> np.ndarray:
    """Map a `.npy` file of float32 into memory.

    Unlike `np.load(path, mmap_mode="r")` this keeps no file open: a million samples are hundreds of shards,
    and a process may often have no more than 1024 files open.
    """
    with path.open("rb") as stream:
        np.lib.format.read_magic(stream)
        shape, _, _ = np.lib.format.read_array_header_1_0(stream)
        start = stream.tell()
    content = torch.from_file(str(path), shared=False, size=path.stat().st_size, dtype=torch.uint8)
    return content[start:].view(torch.float32).view(shape).numpy()


def _with_mask(tokens: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    longest = _longest(lengths)
    mask = torch.arange(longest)[None, :] < lengths[:, None]
    return tokens[:, :longest], mask


def _longest(lengths: Tensor | np.ndarray) -> int:
    """Return at least 1, so that poolings always have a token to look at, be it a masked one."""
    return max(1, int(lengths.max()))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
