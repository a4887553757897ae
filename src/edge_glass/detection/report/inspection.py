"""Rows of detection as the model receives them: its pixels, its tokens, and the boxes read back from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from edge_glass.config.detection import DetectionConfig
from edge_glass.data.labels import NOT_TRAINED
from edge_glass.detection.boxes.codec import BoxCodec
from edge_glass.detection.report.inspected_rows import InspectedRow, rows_of_batch, seen_picture
from edge_glass.detection.report.inspection_checks import checks_of_row
from edge_glass.reporting.boxes import shown_boxes
from edge_glass.reporting.inspection import InspectedInput, InspectedSample, inspected_tokens


def inspected_detections(
    batch: Mapping[str, Tensor],
    rows: Sequence[Mapping[str, Any]],
    processor: Any,
    codec: BoxCodec,
    *,
    split: str,
    mask: str,
) -> list[InspectedSample]:
    """The rows of a batch as samples to look at.

    Args:
        batch: What a collator made of `rows`, padded on the right; one picture a row.
        rows: Conversation rows, each with its picture under `images`.
        processor: Of the model.
        codec: How the family writes boxes.
        split: That the rows are from.
        mask: `assistant_only` or `all_tokens`.
    """
    return [
        _sample(row, processor, codec, split, mask) for row in rows_of_batch(batch, rows, processor, codec)
    ]


def detection_overview(
    config: DetectionConfig, processor: Any, codec: BoxCodec, categories: Sequence[str]
) -> dict[str, str]:
    """Facts about a detection experiment by name, for `Inspection`."""
    vlm, detection = config.vlm, config.detection
    whose = "a toy" if config.tiny else (vlm.source or "from random weights")
    numbers = "0 to 1000 of the picture's sides" if codec.relative else "pixels of the picture that is seen"
    written = "JSON" if codec.box_format == "json" else "<|box_start|>(x,y),(x,y)<|box_end|>"
    learned = "the answer" if detection.mask == "assistant_only" else "all words, never the picture"
    size = processor.image_processor.size
    return {
        "model": f"{vlm.family} ({whose}), {vlm.mode}",
        "looked for": ", ".join(categories) or "nothing",
        "boxes are written": f"as {written}, in {numbers}",
        "trained on": f"{learned} (mask {detection.mask}, collator {detection.collator})",
        "a picture is seen at": f"{size['shortest_edge']:,} to {size['longest_edge']:,} pixels, "
        f"sides multiples of {codec.factor}; {codec.factor} × {codec.factor} are one token",
        "tokenizer": f"{len(processor.tokenizer):,} tokens",
    }


def _sample(row: InspectedRow, processor: Any, codec: BoxCodec, split: str, mask: str) -> InspectedSample:
    trained = row.labels != NOT_TRAINED
    return InspectedSample(
        id=str(row.given["id"]),
        split=split,
        inputs=(_input(row, processor),),
        prompt=row.prompt.text,
        tokens=inspected_tokens(
            processor.tokenizer, row.ids.tolist(), trained.tolist(), special_ids(processor.tokenizer)
        ),
        prompt_tokens=row.start,
        trained_tokens=int(trained.sum()),
        checks=checks_of_row(row, processor, codec, mask),
        facts={"boxes": f"{len(row.given['labels'])}", "said": _boxes_in_words(row)},
    )


def special_ids(tokenizer: Any) -> set[int]:
    """Ids of the tokens that stand for no text."""
    added = getattr(tokenizer, "added_tokens_decoder", {})
    return {*tokenizer.all_special_ids, *(number for number, token in added.items() if token.special)}


def _input(row: InspectedRow, processor: Any) -> InspectedInput:
    source: Image.Image = row.given["images"][0]
    scale = np.array(row.seen, dtype=np.float64) / row.source
    return InspectedInput(
        "vision",
        0,
        source,
        seen_picture(row.pixels, row.grid, processor.image_processor),
        f"{source.width} × {source.height}",
        f"{row.seen.width} × {row.seen.height}",
        f"scaled by {scale[0]:.3f} across and {scale[1]:.3f} down",
        inside=int((row.ids == processor.image_token_id).sum()),
        source_boxes=shown_boxes("truth", row.given["boxes"], row.source, row.given["labels"]),
        seen_boxes=shown_boxes("trained", row.read.boxes * np.tile(scale, 2), row.seen, row.read.labels),
    )


def _boxes_in_words(row: InspectedRow) -> str:
    """The boxes that are taught, in pixels of the source."""
    said = [
        f"{label} {', '.join(f'{number:.0f}' for number in box)}"
        for label, box in zip(row.read.labels, row.read.boxes, strict=True)
    ]
    return "; ".join(said) or "nothing"
