"""Training and validation rows as cached features: whole batches at once, without decoding anything."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from edge_glass.data.captions import ABSENT
from edge_glass.data.datasets import ContentGroups, choosers
from edge_glass.data.feature_cache import FeatureTable
from edge_glass.data.features import CachedFeatures
from edge_glass.data.samples import SampleTable
from edge_glass.encoders.features import TokenFeatures
from edge_glass.encoders.tower import Tower

MOST_VECTOR_BYTES = 2 * 2**30


class FeatureRows(Dataset):
    """Rows as cached features. A list of `(epoch, index)` keys, perhaps none, gives a whole batch at once.

    Batches are those of `collate_samples`, with `{"tokens" [B, N, D], "mask" [B, N]}` for each modality, or
    `{"vectors" [B, K]}` where a tower has a normaliser (already fitted).

    Args:
        table: The rows.
        source: Filled with them.
        vectors: What `normalized_vectors` gives.
        training: Draw captions and takes.
        seed: Seed of the draws.
        text_dropout_prob: See `Chooser`.
    """

    def __init__(
        self,
        table: SampleTable,
        source: CachedFeatures,
        vectors: Mapping[str, Tensor],
        training: bool = False,
        seed: int = 0,
        text_dropout_prob: float = 0.0,
    ) -> None:
        self.table = table
        towers = source.live.towers
        self.choosers = choosers(table, list(towers), training, seed, text_dropout_prob)
        self.groups = ContentGroups(table, self.choosers)
        self.vectors = vectors
        # Not the source itself: data workers need no encoders.
        self.features = source.tables
        self.places = {
            name: np.array([source.index[name][item] for item in chooser.items], dtype=np.int64)
            for name, chooser in self.choosers.items()
        }

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Any]:
        return self.__getitems__([key])

    def __getitems__(self, keys: list[tuple[int, int]]) -> dict[str, Any]:
        epoch = keys[0][0] if keys else 0
        indices = np.array([index for _, index in keys], dtype=np.int64)
        batch: dict[str, Any] = {"ids": [self.table.ids[i] for i in indices], "rows": {}, "groups": {}}
        for name, chooser in self.choosers.items():
            numbers = chooser.numbers(epoch)[indices]
            present = np.flatnonzero(numbers != ABSENT)
            batch[name] = self._inputs(name, self.places[name][numbers[present]])
            batch["rows"][name] = torch.from_numpy(present)
            batch["groups"][name] = torch.from_numpy(self.groups.of(name, epoch, indices[present]))
        return batch

    def _inputs(self, modality: str, rows: np.ndarray) -> dict[str, Tensor]:
        if modality in self.vectors:
            return {"vectors": self.vectors[modality][torch.from_numpy(rows)]}
        tokens, mask = self.features[modality].gather(rows)
        return {"tokens": tokens, "mask": mask}


def normalized_vectors(source: CachedFeatures) -> dict[str, Tensor]:
    """Return all features as the projections expect them, `[N, K]` by modality, where that pays.

    That is where a tower makes them once and for all (a fitted normaliser over a pooling that learns nothing)
    and they fit into memory.
    """
    vectors = {}
    for name, tower in source.live.towers.items():
        table = source.tables[name]
        if not isinstance(tower, Tower) or tower.normalizer is None or tower.pooling.learned:
            continue
        if len(table) * tower.normalizer.out_dim * 4 <= MOST_VECTOR_BYTES:
            vectors[name] = _normalized(tower, table)
    return vectors


@torch.no_grad()
def _normalized(tower: Tower, table: FeatureTable) -> Tensor:
    parts = []
    for rows in np.array_split(np.arange(len(table)), max(1, len(table) // 1024)):
        tokens, mask = table.gather(rows)
        features = TokenFeatures(tokens.to(tower.device), mask.to(tower.device))
        parts.append(tower.normalized(tower.pooled(features)).cpu())
    return torch.cat(parts)
