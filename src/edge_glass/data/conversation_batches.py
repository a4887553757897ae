"""Batches of conversations: padded on the right to train on, prompts padded on the left to answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from edge_glass.core.labels import NOT_TRAINED
from edge_glass.data.datasets import Collate


class ConversationCollator:
    """Items of `ConversationDataset` → batch.

    A batch has `ids`, the names of its rows; `input_ids` int64, `attention_mask` bool and `labels` int64, all
    `[B, L]`; and `opening` int64 `[B]`: how many of a row's tokens stand before its pictures and sounds.
    Padding is known by the mask, never by its id: many tokenizers pad with the token that ends an answer.

    A picture is in a batch once: `inputs` maps a modality to what its `collate` makes of the distinct items,
    and `place` maps it to int64 `[B]`, which of them each row has, -1 where it has none.

    Args:
        pad: Id to pad with.
        prompts: Give what stands before the last answer, padded on the left, to be answered. `labels` is then
            -100 throughout.
        collate: Modality → what makes a batch of its inputs, such as stacking; modalities that are not named
            are left out.
    """

    def __init__(self, pad: int, prompts: bool = False, collate: Mapping[str, Collate] | None = None) -> None:
        self.pad, self.prompts = pad, prompts
        self.collate = dict(collate or {"vision": stack_pixels})

    def __call__(self, items: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        ids = [item["ids"][: item["prompt"]] if self.prompts else item["ids"] for item in items]
        labels = [
            torch.full_like(row, NOT_TRAINED) if self.prompts else item["labels"]
            for row, item in zip(ids, items, strict=True)
        ]
        kept = [torch.ones(len(row), dtype=torch.bool) for row in ids]
        batch: dict[str, Any] = {
            "ids": [item["id"] for item in items],
            "input_ids": pad_rows(ids, self.pad, left=self.prompts),
            "attention_mask": pad_rows(kept, False, left=self.prompts),
            "labels": pad_rows(labels, NOT_TRAINED, left=self.prompts),
            "opening": torch.tensor([item["opening"] for item in items], dtype=torch.int64),
        }
        return batch | self._inputs(items)

    def _inputs(self, items: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        names = {"vision": "pixels", "audio": "mel"}
        inputs, place = {}, {}
        for modality, make in self.collate.items():
            distinct: list[Any] = []
            known: dict[int, int] = {}
            rows = []
            for item in items:
                found = item.get(names[modality])
                if found is None:
                    rows.append(-1)
                    continue
                at = known.get(item["group"])
                # Augmented pictures of one group differ: only equal ones are shared.
                if at is None or not torch.equal(distinct[at], found):
                    at = len(distinct)
                    distinct.append(found)
                    known[item["group"]] = at
                rows.append(at)
            if distinct:
                inputs[modality] = make(distinct)
                place[modality] = torch.tensor(rows, dtype=torch.int64)
        return {"inputs": inputs, "place": place}


def pad_rows(rows: Sequence[Tensor], value: float, left: bool = False) -> Tensor:
    """Pad rows `[L_i]` of one type to `[B, max L_i]`, with a value behind them, or before them."""
    longest = max((len(row) for row in rows), default=0)
    kind = rows[0].dtype if rows else torch.int64
    padded = torch.full((len(rows), longest), value, dtype=kind)
    for number, row in enumerate(rows):
        start = longest - len(row) if left else 0
        padded[number, start : start + len(row)] = row
    return padded


def stack_pixels(items: Sequence[Tensor]) -> dict[str, Tensor]:
    """Stack pictures `[3, H, W]` to `{"pixels": [n, 3, H, W]}`."""
    return {"pixels": torch.stack(list(items))}
