"""Conversations whose pictures and sounds are cached features: whole batches at once, nothing is decoded."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from edge_glass.data.captions import ABSENT
from edge_glass.data.conversation_batches import ConversationCollator
from edge_glass.data.features import CachedFeatures
from edge_glass.data.transforms import sample_generator
from edge_glass.instruction.data.datasets import ConversationDataset


class ConversationRows(Dataset):
    """A list of `(epoch, index)` keys, perhaps none, gives a whole batch.

    Batches are those of `ConversationCollator`, with `{"tokens" [n, N, D], "mask" [n, N]}` as the inputs of
    the n distinct pictures (or sounds) of the batch.

    Args:
        dataset: The conversations, without pictures in its items.
        source: Filled with the pictures and sounds of its table; None for words alone.
        collate: Makes batches of words.
    """

    def __init__(
        self, dataset: ConversationDataset, source: CachedFeatures | None, collate: ConversationCollator
    ) -> None:
        self.dataset, self.collate = dataset, collate
        # Not the source itself: data workers need no encoders.
        self.features = {} if source is None else source.tables
        self.places = {
            name: [[source.index[name][key] for key in keys] for keys in dataset.table.keys(name)]
            for name in self.features
            if source is not None
        }

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Any]:
        return self.__getitems__([key])

    def __getitems__(self, keys: list[tuple[int, int]]) -> dict[str, Any]:
        batch = self.collate([self.dataset[key] for key in keys])
        for name, places in self.places.items():
            shown = np.array([self._shown(places[row], epoch, row) for epoch, row in keys], dtype=np.int64)
            distinct, place = np.unique(shown[shown != ABSENT], return_inverse=True)
            if not len(distinct):
                continue
            tokens, mask = self.features[name].gather(distinct)
            rows = np.full(len(keys), -1, dtype=np.int64)
            rows[shown != ABSENT] = place
            batch["inputs"][name] = {"tokens": tokens, "mask": mask}
            batch["place"][name] = torch.from_numpy(rows)
        return batch

    def _shown(self, places: list[int], epoch: int, row: int) -> int:
        """Which of its takes a row shows: the one that `ConversationDataset` draws."""
        if len(places) < 2 or not self.dataset.training:
            return places[0] if places else ABSENT
        generator = sample_generator(self.dataset.seed, epoch, f"{row} {self.dataset.table.ids[row]}")
        return places[int(generator.integers(len(places)))]
