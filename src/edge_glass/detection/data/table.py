"""Rows of pictures with boxes: the table that detection is trained and measured on."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any, Self

import numpy as np
from torch.utils.data import Dataset

from edge_glass.core.errors import DataError
from edge_glass.data.samples import Rejected, SampleTable, join_tables
from edge_glass.detection.boxes.codec import BoxCodec, SeenSize
from edge_glass.detection.data.conversations import convert_to_conversation_format
from edge_glass.encoders.image_transform import to_rgb

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SkippedBox(Rejected):
    """A box that is left out of its row, and why; its row stays.

    Attributes:
        wrong: Whether its numbers are; else it is of a category that is not looked for.
    """

    wrong: bool = True


@dataclass(frozen=True)
class DetectionTable(SampleTable):
    """A `SampleTable` whose rows are pictures with boxes; a row may have none.

    `captions` is empty for every row; `groups` are barcodes or the like.

    Attributes:
        boxes: Of each row, float64 `[n, 4]` xyxy in pixels of the upright picture.
        labels: Of each row, the category of each box.
        sizes: Of each row, (width, height) of the upright picture.
        categories: What is looked for.
        skipped_boxes: Boxes that their rows are used without.
        relative: Whether the source writes boxes as shares of the sides.
    """

    boxes: Sequence[np.ndarray] = field(default=())
    labels: Sequence[tuple[str, ...]] = field(default=())
    sizes: Sequence[tuple[int, int]] = field(default=())
    categories: tuple[str, ...] = ()
    skipped_boxes: tuple[SkippedBox, ...] = ()
    relative: bool = True

    def contents(self) -> Sequence[Sequence[Any]]:
        """As `SampleTable.contents`, and the boxes with their labels."""
        return [*super().contents(), [each.tolist() for each in self.boxes], self.labels]

    def keys(self, modality: str) -> Sequence[Sequence[str]]:
        """As `SampleTable.keys`; of `group`, the name of each row's group."""
        if modality == "group":
            return [() if name is None else (name,) for name in self.groups or [None] * len(self)]
        return super().keys(modality)

    def select(self, indices: Sequence[int]) -> Self:
        """These rows in this order."""
        chosen = super().select(indices)
        return replace(
            chosen,
            boxes=[self.boxes[i] for i in indices],
            labels=[self.labels[i] for i in indices],
            sizes=[self.sizes[i] for i in indices],
        )

    def leave_out(self, indices: set[int], reason: str) -> DetectionTable:
        """All rows but these, which are added to `rejected`."""
        left = super().leave_out(indices, reason)
        assert isinstance(left, DetectionTable)
        return left

    def rgb(self, index: int) -> Any:
        """Decoded, upright picture of row `index` as RGB, white where it is transparent.

        Raises:
            DataError: It could be decoded when the table was made, and cannot any more.
        """
        return to_rgb(self.image(index))

    def example(self, index: int) -> dict[str, Any]:
        """What is known of row `index` but its picture: `id`, `boxes`, `labels`, `width` and `height`."""
        width, height = self.sizes[index]
        return {
            "id": self.ids[index],
            "boxes": self.boxes[index],
            "labels": list(self.labels[index]),
            "width": width,
            "height": height,
        }

    def used_categories(self) -> tuple[str, ...]:
        """Those of `categories` that some box is of."""
        used = set(chain(*self.labels))
        return tuple(name for name in self.categories if name in used)


class DetectionDataset(Dataset):
    """Pictures and what is asked and answered about them, as rows for a collator.

    An item is a dict: `id`, `messages` (the picture as placeholder), `images` (one, RGB), `boxes` float64
    `[n, 4]` xyxy in pixels of the source, `labels`, `width` and `height`. Keys are indices or (epoch, index);
    nothing is random.

    Args:
        table: The rows.
        codec: Writes boxes for the family of the model.
        prompt: What is asked; `{categories}` becomes the names of what is looked for.
        system_prompt: Said before; None for nothing.
        seen: (width, height) of a source picture → its size as the model sees it; needed by families that
            write boxes in pixels of that.
    """

    def __init__(
        self,
        table: DetectionTable,
        codec: BoxCodec,
        prompt: str,
        system_prompt: str | None = None,
        seen: Callable[[int, int], SeenSize] | None = None,
    ) -> None:
        self.table, self.codec, self.system_prompt, self.seen = table, codec, system_prompt, seen
        self.prompt = asked(prompt, table.categories)

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, key: int | tuple[int, int]) -> dict[str, Any]:
        return self._row(key[1] if isinstance(key, tuple) else key, answer=True)

    def prompt_row(self, index: int) -> dict[str, Any]:
        """Row `index` without its answer: the user's turn is the last."""
        return self._row(index, answer=False)

    def _row(self, index: int, answer: bool) -> dict[str, Any]:
        example = self.table.example(index)
        seen = self.seen(example["width"], example["height"]) if self.seen else None
        conversation = convert_to_conversation_format(
            example, self.codec, seen, self.prompt, self.system_prompt, answer
        )
        return {**example, "messages": conversation["messages"], "images": [self.table.rgb(index)]}


def asked(prompt: str, categories: Sequence[str]) -> str:
    """The prompt with the names of what is looked for in place of `{categories}`."""
    return prompt.replace("{categories}", ", ".join(categories))


def join_detections(tables: Sequence[DetectionTable]) -> DetectionTable:
    """The rows of these tables, one after the other."""
    if len(tables) == 1:
        return tables[0]
    plain = join_tables(tables)
    inherited = {name: getattr(plain, name) for name in SampleTable.__dataclass_fields__}
    groups = inherited["groups"] if any(table.groups for table in tables) else ()
    return DetectionTable(
        **{**inherited, "groups": groups, "sound_hashes": (), "sounds": None},
        boxes=list(chain(*(table.boxes for table in tables))),
        labels=list(chain(*(table.labels for table in tables))),
        sizes=list(chain(*(table.sizes for table in tables))),
        categories=tuple(dict.fromkeys(chain(*(table.categories for table in tables)))),
        skipped_boxes=tuple(chain(*(table.skipped_boxes for table in tables))),
        relative=tables[0].relative,
    )


def check_skipped_boxes(table: DetectionTable, max_bad_fraction: float) -> None:
    """Log the boxes that a table is used without, by row.

    Args:
        table: As read from its source.
        max_bad_fraction: Largest share of its boxes that may be wrong; those of categories that are not
            looked for do not count.

    Raises:
        DataError: More are.
    """
    wrong = [skipped for skipped in table.skipped_boxes if skipped.wrong]
    if others := len(table.skipped_boxes) - len(wrong):
        logger.info("%s: %d boxes are of categories that are not looked for", table.source, others)
    for skipped in wrong[:5]:
        logger.warning("%s: a box of %s is skipped: %s", table.source, skipped, skipped.reason)
    if len(wrong) > 5:
        logger.warning("%s: %d boxes are skipped in all", table.source, len(wrong))
    total = len(wrong) + sum(len(boxes) for boxes in table.boxes)
    if len(wrong) > max_bad_fraction * total:
        raise DataError(
            f"{table.source}: {len(wrong)} of {total} boxes cannot be used (first: {wrong[0]}: "
            f"{wrong[0].reason}).\nAt most {max_bad_fraction:.1%} may be bad (dataset.max_bad_fraction); "
            "dataset.box_spec says how boxes are read from parquet files."
        )
