"""Rows of a batch taken apart again: their tokens, their pixels, and the boxes that their labels say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from edge_glass.data.labels import NOT_TRAINED
from edge_glass.detection.boxes.codec import BoxCodec, SeenSize, seen_size
from edge_glass.detection.boxes.parsing import ParsedAnswer
from edge_glass.detection.collators.chat import Prompt, end_of_turn, read_prompt


@dataclass(frozen=True)
class InspectedRow:
    """One row of a batch, without padding.

    Attributes:
        given: The conversation row it was made of.
        ids: int64 `[L]`.
        labels: int64 `[L]`.
        pixels: Float `[patches, D]`.
        grid: int64 `[3]`: time, rows and columns in patches.
        seen: The size that the model sees, in pixels.
        prompt: What stands before the answer.
        start: Where the answer begins.
        stop: Where its end token stands, or the end of the row where it has none.
        read: The boxes that the trained tokens of the answer say.
    """

    given: Mapping[str, Any]
    ids: Tensor
    labels: Tensor
    pixels: Tensor
    grid: Tensor
    seen: SeenSize
    prompt: Prompt
    start: int
    stop: int
    read: ParsedAnswer

    @property
    def source(self) -> tuple[int, int]:
        """Width and height of the source picture."""
        return int(self.given["width"]), int(self.given["height"])


def rows_of_batch(
    batch: Mapping[str, Tensor], rows: Sequence[Mapping[str, Any]], processor: Any, codec: BoxCodec
) -> Iterator[InspectedRow]:
    """Each row of a batch that was made of `rows`; see `inspected_detections`."""
    first = 0
    merged = processor.image_processor.merge_size**2
    for place, given in enumerate(rows):
        grid = batch["image_grid_thw"][place]
        patches = int(grid.prod())
        real = batch["attention_mask"][place].bool()
        ids, labels = batch["input_ids"][place][real], batch["labels"][place][real]
        prompt = read_prompt(processor, given["messages"])
        start = min(prompt.length(patches // merged), len(ids))
        ends = (ids[start:] == end_of_turn(processor)).nonzero()
        stop = start + int(ends[0]) if len(ends) else len(ids)
        seen = seen_size(grid, processor.image_processor.patch_size)
        trained = labels[start:stop][labels[start:stop] != NOT_TRAINED]
        text = processor.tokenizer.decode(trained, clean_up_tokenization_spaces=False)
        source = int(given["width"]), int(given["height"])
        yield InspectedRow(
            given,
            ids,
            labels,
            batch["pixel_values"][first : first + patches],
            grid,
            seen,
            prompt,
            start,
            stop,
            codec.read(text, source, seen),
        )
        first += patches


def seen_picture(pixels: Tensor, grid: Any, image_processor: Any) -> Image.Image:
    """The picture that the model sees, put together again from the patches it is given.

    Args:
        pixels: Float `[patches, D]` of one picture, as Qwen's image processors cut and normalise
            them: patches that become one token stand together, and each holds its moments in time.
        grid: Its row `[3]` of `image_grid_thw`.
        image_processor: That made them.
    """
    moments, rows, columns = (int(number) for number in grid)
    side, merged = image_processor.patch_size, image_processor.merge_size
    shape = (
        *(moments, rows // merged, columns // merged, merged, merged),
        *(3, image_processor.temporal_patch_size, side, side),
    )
    patches = pixels.detach().float().cpu().numpy().reshape(shape)[0, ..., 0, :, :]
    values = patches.transpose(0, 2, 5, 1, 3, 6, 4).reshape(rows * side, columns * side, 3)
    mean, std = (np.asarray(getattr(image_processor, name)) for name in ("image_mean", "image_std"))
    return Image.fromarray(np.rint((values * std + mean) * 255).clip(0, 255).astype(np.uint8))
