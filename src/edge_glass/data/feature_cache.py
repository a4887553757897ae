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
import json
import logging
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from edge_glass.errors import DataError

logger = logging.getLogger(__name__)

SHARD_ROWS = 2048
Encode = Callable[[list[int]], tuple[Tensor, Tensor]]


class FeatureTable:
    """Features of `n` samples, gathered from memory-mapped shards.

    `gather(indices)` gives tokens float32 `[B, N, D]` and mask bool `[B, N]`, N being the longest of them.
    """

    def __init__(
        self, shards: list[tuple[np.ndarray, np.ndarray]], shard_of: np.ndarray, row_of: np.ndarray
    ) -> None:
        self.shards = shards
        self.shard_of = shard_of
        self.row_of = row_of

    def __len__(self) -> int:
        return len(self.shard_of)

    def gather(self, indices: Sequence[int] | np.ndarray) -> tuple[Tensor, Tensor]:
        """Tokens and mask of these samples."""
        indices = np.asarray(indices)
        shards, rows = self.shard_of[indices], self.row_of[indices]
        used = np.unique(shards)
        if len(used) == 1:
            tokens, lengths = self.shards[used[0]]
            return _with_mask(
                torch.from_numpy(np.take(tokens, rows, axis=0)), torch.from_numpy(lengths[rows])
            )
        lengths = np.empty(len(indices), dtype=np.int64)
        for shard in used:
            here = shards == shard
            lengths[here] = self.shards[shard][1][rows[here]]
        width = self.shards[used[0]][0].shape[2]
        tokens = np.zeros((len(indices), int(lengths.max()), width), dtype=np.float32)
        for shard in used:
            here = shards == shard
            part = self.shards[shard][0][rows[here]][:, : tokens.shape[1]]
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
    ) -> FeatureTable:
        """Features of samples named by `keys`, computing those that are not there yet.

        Args:
            about: What the features depend on besides the sample; its hash names the folder.
            keys: Content hash of each sample; equal keys are computed once.
            encode: Indices into `keys` → tokens `[n, N, D]` and token counts `[n]`.
            on_progress: Called with the number of samples done.

        Raises:
            DataError: The disk is full or not writable.
        """
        folder = self.root / _digest(json.dumps(about, sort_keys=True))[:24]
        first = {key: index for index, key in reversed(list(enumerate(keys)))}
        known = {key for keys_there, _, _ in _read_shards(folder) for key in keys_there}
        missing = [index for key, index in first.items() if key not in known]
        try:
            if missing:
                folder.mkdir(parents=True, exist_ok=True)
                (folder / "about.json").write_text(json.dumps(dict(about), indent=1), encoding="utf-8")
            for start in range(0, len(missing), SHARD_ROWS):
                chunk = missing[start : start + SHARD_ROWS]
                tokens, lengths = encode(chunk)
                _write_shard(
                    folder, [keys[index] for index in chunk], tokens.float().numpy(), lengths.numpy()
                )
                if on_progress is not None:
                    on_progress(len(chunk))
        except OSError as error:
            raise DataError(
                f"{folder}: features could not be written ({error.strerror or error}; "
                f"{shutil.disk_usage(_existing(folder)).free / 2**30:.1f} GiB free).\n"
                "Give another folder with training.feature_cache=PATH, or training.feature_cache=off."
            ) from error
        return _table(folder, keys)


def clear_cache(root: Path) -> int:
    """Delete all features under a cache folder; returns the bytes freed."""
    freed = sum(size for _, _, size in cache_entries(root))
    shutil.rmtree(Path(root) / "features", ignore_errors=True)
    return freed


def cache_entries(root: Path) -> list[tuple[dict[str, Any], int, int]]:
    """Per key: what it stands for, the number of samples, bytes on disk."""
    entries = []
    for folder in sorted((Path(root) / "features").glob("*/")):
        samples = sum(len(keys) for keys, _, _ in _read_shards(folder))
        about_file = folder / "about.json"
        about = json.loads(about_file.read_text(encoding="utf-8")) if about_file.exists() else {}
        entries.append((about, samples, sum(file.stat().st_size for file in folder.iterdir())))
    return entries


def _table(folder: Path, keys: Sequence[str]) -> FeatureTable:
    shards, places = [], {}
    for number, (shard_keys, lengths, path) in enumerate(_read_shards(folder)):
        shards.append((np.load(path, mmap_mode="r", allow_pickle=False), lengths))
        places.update({key: (number, row) for row, key in enumerate(shard_keys)})
    found = [places[key] for key in keys]
    shard_of = np.array([shard for shard, _ in found], dtype=np.int64)
    row_of = np.array([row for _, row in found], dtype=np.int64)
    return FeatureTable(shards, shard_of, row_of)


def _read_shards(folder: Path) -> list[tuple[list[str], np.ndarray, Path]]:
    shards = []
    for file in sorted(folder.glob("*.json")):
        if file.name == "about.json":
            continue
        try:
            index = json.loads(file.read_text(encoding="utf-8"))
            tokens = file.with_suffix(".tokens.npy")
            if tokens.stat().st_size == index["bytes"]:
                shards.append((index["keys"], np.array(index["lengths"], dtype=np.int64), tokens))
                continue
        except (OSError, ValueError, KeyError):
            pass
        logger.warning("%s: a broken shard is ignored and computed again", file)
    return shards


def _write_shard(folder: Path, keys: list[str], tokens: np.ndarray, lengths: np.ndarray) -> None:
    name = _digest("\n".join(keys))[:24]
    final = folder / f"{name}.tokens.npy"
    temporary = folder / f".{name}-{os.getpid()}.npy"
    index = folder / f".{name}-{os.getpid()}.json"
    try:
        np.save(temporary, np.ascontiguousarray(tokens))
        record = {"keys": keys, "lengths": lengths.tolist(), "bytes": temporary.stat().st_size}
        index.write_text(json.dumps(record), encoding="utf-8")
        temporary.replace(final)
        index.replace(folder / f"{name}.json")
    finally:
        temporary.unlink(missing_ok=True)
        index.unlink(missing_ok=True)


def _with_mask(tokens: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    longest = int(lengths.max()) if len(lengths) else 0
    mask = torch.arange(longest)[None, :] < lengths[:, None]
    return tokens[:, :longest], mask


def _existing(folder: Path) -> Path:
    return folder if folder.exists() else _existing(folder.parent)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
