"""Rows as the collators read them: checked, their picture in its place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from edge_glass.core.errors import ConfigError, DataError
from edge_glass.data.conversations import ASSISTANT, USER
from edge_glass.detection.data.conversations import Conversation, pictures_of, restore_images_in_conversations
from edge_glass.vlm.family import load_family

if TYPE_CHECKING:
    from edge_glass.detection.boxes.codec import BoxCodec

Batch = dict[str, Tensor]

MASKS: Final = ("assistant_only", "all_tokens")


class Sample(NamedTuple):
    """A row, opened.

    Attributes:
        name: For messages: its id, or its number in the batch.
        conversation: Its turns with the PIL picture in place; the last is the assistant's, or the user's.
        picture: The same picture, RGB and upright.
        boxes: float64 `[n, 4]`, xyxy pixels of the source picture.
        labels: n names.
        source: Width and height of the source picture.
    """

    name: str
    conversation: Conversation
    picture: Image.Image
    boxes: np.ndarray
    labels: list[str]
    source: tuple[int, int]

    @property
    def answer(self) -> str:
        """What the assistant says."""
        return "".join(part["text"] for part in self.conversation[-1]["content"])


def open_rows(rows: Sequence[Mapping[str, Any]]) -> list[Sample]:
    """Rows to train on: one picture, one answer, which stands last.

    Raises:
        DataError: A row has no RGB picture or more than one, another size than it says, or not one answer.
    """
    return [_open(row, number, True) for number, row in enumerate(rows)]


def open_prompts(rows: Sequence[Mapping[str, Any]]) -> list[Sample]:
    """Rows to be answered; the answer is left out where there is one.

    Raises:
        DataError: See `open_rows`.
    """
    return [_open(row, number, False) for number, row in enumerate(rows)]


def check_processor(processor: Any, codec: BoxCodec, mask: str) -> None:
    """Refuse a processor and a codec of two families: boxes would be written in the wrong unit.

    Raises:
        ConfigError: They do not fit, or the mask is unknown.
    """
    wanted, found = load_family(codec.family).processor_class, type(processor).__name__
    if wanted not in [known.__name__ for known in type(processor).__mro__]:
        raise ConfigError(
            f"boxes are written as {codec.family} does, which has a {wanted}; this is a {found}"
        )
    if mask not in MASKS:
        raise ConfigError(f"detection.mask is {mask!r}; it is one of {', '.join(MASKS)}")


def empty_batch(processor: Any) -> Batch:
    """A batch without rows, as a rank gets it when there are fewer rows than ranks: all shapes but B are
    there."""
    images = processor.image_processor
    width = 3 * images.temporal_patch_size * images.patch_size**2
    words = {name: torch.zeros(0, 0, dtype=torch.int64) for name in ("input_ids", "attention_mask")}
    return {
        **words,
        "mm_token_type_ids": torch.zeros(0, 0, dtype=torch.int64),
        "pixel_values": torch.zeros(0, width),
        "image_grid_thw": torch.zeros(0, 3, dtype=torch.int64),
        "labels": torch.zeros(0, 0, dtype=torch.int64),
    }


def _open(row: Mapping[str, Any], number: int, answered: bool) -> Sample:
    name = str(row.get("id", f"{number} of the batch"))
    pictures = pictures_of(row)
    if len(pictures) != 1:
        raise DataError(f"row {name}: one picture was expected under 'images', found {len(pictures)}")
    try:
        conversation = restore_images_in_conversations([row["messages"]], [pictures])[0]
    except DataError as error:
        raise DataError(f"row {name}: {error}") from error
    picture = pictures[0]
    source = int(row["width"]), int(row["height"])
    if picture.mode != "RGB":
        raise DataError(f"row {name}: the picture is {picture.mode}; convert it to RGB before it is collated")
    if picture.size != source:
        raise DataError(
            f"row {name}: its boxes are in pixels of {source[0]}×{source[1]} but the picture has "
            f"{picture.width}×{picture.height}; turn it upright (EXIF) or correct width and height"
        )
    conversation = _check_turns(conversation, name, answered)
    boxes = np.asarray(row["boxes"], dtype=np.float64).reshape(-1, 4)
    return Sample(name, conversation, picture, boxes, [str(label).strip() for label in row["labels"]], source)


def _check_turns(conversation: Conversation, name: str, answered: bool) -> Conversation:
    roles = [turn["role"] for turn in conversation]
    if not answered and roles[-1:] == [ASSISTANT]:
        conversation, roles = conversation[:-1], roles[:-1]
    wanted = [USER, ASSISTANT] if answered else [USER]
    if roles[-len(wanted) :] != wanted or ASSISTANT in roles[:-1]:
        says = " and one answer at the end" if answered else " at the end"
        raise DataError(f"row {name}: there speak {', '.join(roles) or 'nobody'}; expected a question{says}")
    return conversation
