"""Where features come from: the towers as they run, or the cache that was filled by them.

Both give the same thing for the same question, so that training, evaluation and the closed form need not know
which one it is.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from edge_glass.data.captions import CaptionChooser
from edge_glass.data.feature_cache import FeatureCache, FeatureTable
from edge_glass.data.pairs import PairTable, group_numbers
from edge_glass.data.scan import progress_bar
from edge_glass.encoders.allocator import keep_freed_memory
from edge_glass.encoders.features import TokenFeatures
from edge_glass.encoders.text import TextEncoder
from edge_glass.encoders.vision import VisionEncoder
from edge_glass.models.alignment import Tower

logger = logging.getLogger(__name__)

CPU_ROWS = 8  # few enough to stay in the processor's cache
GPU_ROWS = 64
TEXT_ROWS = 64
MOST_VECTOR_BYTES = 2 * 2**30


class FeatureSource(Protocol):
    """Frozen features of pictures and captions."""

    def images(self, table: PairTable, indices: Sequence[int]) -> TokenFeatures:
        """Features of these rows' pictures: tokens `[n, N, D]`, mask `[n, N]`."""
        ...

    def texts(self, texts: Sequence[str]) -> TokenFeatures:
        """Features of these captions: tokens `[n, N, D]`, mask `[n, N]`."""
        ...


class LiveFeatures:
    """Runs the towers each time it is asked, without gradients."""

    def __init__(self, vision: Tower[VisionEncoder], text: Tower[TextEncoder]) -> None:
        self.vision, self.text = vision, text
        self.device = next(vision.encoder.parameters()).device

    def images(self, table: PairTable, indices: Sequence[int]) -> TokenFeatures:
        preprocess = self.vision.encoder.preprocess
        return self.pixels(torch.stack([preprocess(table.image(i)) for i in indices]))

    @torch.no_grad()
    def pixels(self, pixels: Tensor) -> TokenFeatures:
        """Features of preprocessed pictures `[n, 3, H, W]`."""
        return self.vision.features({"pixels": pixels.to(self.device)})

    @torch.no_grad()
    def texts(self, texts: Sequence[str]) -> TokenFeatures:
        tokenized = self.text.encoder.tokenize(list(texts))
        return self.text.features({name: ids.to(self.device) for name, ids in tokenized.items()})


class CachedFeatures:
    """Features of every picture and caption of a run, from the cache, which is filled first where needed."""

    def __init__(
        self,
        vision: Tower[VisionEncoder],
        text: Tower[TextEncoder],
        cache: FeatureCache,
        progress: bool = True,
    ) -> None:
        self.live = LiveFeatures(vision, text)
        self.cache = cache
        self.progress = progress
        self.image_index: dict[str, int] = {}
        self.text_index: dict[str, int] = {}

    def fill(self, tables: Iterable[PairTable]) -> None:
        """Cover all pictures and captions of these tables; only what is not in the cache is computed."""
        tables = list(tables)
        if self.live.device.type == "cpu":
            keep_freed_memory()
        first = {digest: (table, row) for table in tables for row, digest in enumerate(table.picture_hashes)}
        digests, places = list(first), list(first.values())
        with progress_bar("encoding pictures", len(digests), self.progress) as advance:
            self.image_table = self.cache.features(
                self._about(self.live.vision),
                digests,
                lambda chunk: self._encode_images([places[i] for i in chunk]),
                advance,
            )
        self.image_index = {digest: index for index, digest in enumerate(digests)}
        texts = list(
            dict.fromkeys(["", *(text for table in tables for row in table.captions for text in row)])
        )
        keys = [hashlib.sha256(text.encode()).hexdigest() for text in texts]
        with progress_bar("encoding captions", len(texts), self.progress) as advance:
            self.text_table = self.cache.features(
                self._about(self.live.text),
                keys,
                lambda chunk: self._encode_texts([texts[i] for i in chunk]),
                advance,
            )
        self.text_index = {text: index for index, text in enumerate(texts)}

    def images(self, table: PairTable, indices: Sequence[int]) -> TokenFeatures:
        return _gather(self.image_table, [self.image_index[table.picture_hashes[i]] for i in indices])

    def texts(self, texts: Sequence[str]) -> TokenFeatures:
        return _gather(self.text_table, [self.text_index[text] for text in texts])

    def _about(self, tower: Tower) -> dict[str, Any]:
        return {
            "encoder": tower.encoder.fingerprint,
            "transform": tower.encoder.transform_id,
            "dtype": str(tower.frozen_dtype),
            "pooling": "tokens" if tower.pooling.learned else type(tower.pooling).__name__,
        }

    def _encode_images(self, places: list[tuple[PairTable, int]]) -> tuple[Tensor, Tensor]:
        """Groups of pictures go through decoding and encoder in parallel, each on one thread.

        On CPUs this is faster than many threads on one picture, and far faster when other programs run.
        """
        rows = CPU_ROWS if self.live.device.type == "cpu" else GPU_ROWS
        groups = [places[start : start + rows] for start in range(0, len(places), rows)]
        with self._workers() as pool:
            tokens = torch.cat(list(pool.map(self._encode_group, groups)))
        return tokens, torch.full((len(tokens),), tokens.shape[1])

    def _workers(self) -> ThreadPoolExecutor:
        if self.live.device.type == "cpu":
            return ThreadPoolExecutor(torch.get_num_threads(), initializer=partial(torch.set_num_threads, 1))
        return ThreadPoolExecutor(os.cpu_count())

    def _encode_group(self, group: list[tuple[PairTable, int]]) -> Tensor:
        preprocess = self.live.vision.encoder.preprocess
        pixels = torch.stack([preprocess(table.image(row)) for table, row in group])
        return self.live.pixels(pixels).tokens.cpu()

    def _encode_texts(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        groups = [order[start : start + TEXT_ROWS] for start in range(0, len(order), TEXT_ROWS)]
        with self._workers() as pool:
            parts = list(pool.map(lambda rows: self.live.texts([texts[i] for i in rows]), groups))
        longest = max(part.tokens.shape[1] for part in parts)
        tokens = torch.zeros(len(texts), longest, parts[0].tokens.shape[2])
        lengths = torch.zeros(len(texts), dtype=torch.int64)
        for rows, part in zip(groups, parts, strict=True):
            tokens[rows, : part.tokens.shape[1]] = part.tokens.cpu()
            lengths[rows] = part.mask.sum(1).cpu()
        return tokens, lengths


class FeaturePairs(Dataset):
    """Training rows as cached features. A list of `(epoch, index)` keys gives a whole batch at once.

    Batches hold `image` and `text` as `{"tokens" [B, N, D], "mask" [B, N]}`, or as `{"vectors" [B, K]}` where
    a tower has a normaliser (already fitted), `image_group` and `text_group` int64 `[B]`, and `ids`.
    """

    def __init__(self, table: PairTable, captions: CaptionChooser, source: CachedFeatures) -> None:
        self.table, self.captions = table, captions
        self.vectors = {
            "image": _vectors(source.live.vision, source.image_table),
            "text": _vectors(source.live.text, source.text_table),
        }
        # Not the source itself: data workers need no encoders.
        self.image_table, self.text_table = source.image_table, source.text_table
        self.image_rows = np.array([source.image_index[digest] for digest in table.picture_hashes])
        self.text_rows = np.array([source.text_index[text] for text in captions.texts])
        self.image_groups = torch.from_numpy(group_numbers(table.picture_hashes))

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Any]:
        return self.__getitems__([key])

    def __getitems__(self, keys: list[tuple[int, int]]) -> dict[str, Any]:
        indices = np.array([index for _, index in keys])
        numbers = self.captions.numbers(keys[0][0])[indices]
        return {
            "ids": [self.table.ids[index] for index in indices],
            "image": self._features("image", self.image_table, self.image_rows[indices]),
            "text": self._features("text", self.text_table, self.text_rows[numbers]),
            "image_group": self.image_groups[indices],
            "text_group": torch.from_numpy(numbers),
        }

    def _features(self, modality: str, table: FeatureTable, rows: np.ndarray) -> dict[str, Tensor]:
        vectors = self.vectors[modality]
        if vectors is not None:
            return {"vectors": vectors[torch.from_numpy(rows)]}
        tokens, mask = table.gather(rows)
        return {"tokens": tokens, "mask": mask}


@torch.no_grad()
def _vectors(tower: Tower[Any], table: FeatureTable) -> Tensor | None:
    """All features as the projection expects them, `[N, K]`, if the tower makes them once and for all."""
    if tower.normalizer is None or tower.pooling.learned:
        return None
    if len(table) * tower.normalizer.out_dim * 4 > MOST_VECTOR_BYTES:
        return None
    device = next(tower.parameters()).device
    parts = []
    for rows in np.array_split(np.arange(len(table)), max(1, len(table) // 1024)):
        tokens, mask = table.gather(rows)
        parts.append(tower.normalized(tower.pooling(tokens.to(device), mask.to(device))).cpu())
    return torch.cat(parts)


def _gather(table: FeatureTable, rows: Sequence[int]) -> TokenFeatures:
    return TokenFeatures(*table.gather(rows))
