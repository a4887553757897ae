"""What was found on pictures: read from answers, and written as COCO."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_glass.decoders.decoder import GenerationSettings
from edge_glass.detection.boxes.codec import BoxCodec, SeenSize, seen_size
from edge_glass.detection.boxes.scores import box_log_probs
from edge_glass.detection.collators import prompt_batch

if TYPE_CHECKING:
    from edge_glass.vlm.model import DetectionModel


@dataclass(frozen=True)
class Detection:
    """What was found on one picture.

    Attributes:
        boxes: Float64 `[n, 4]`, x1, y1, x2, y2 in pixels of the upright picture.
        labels: `n` names.
        scores: `n` numbers, 0 to 1: the mean probability of the tokens that a box is written with. They put
            boxes in order, and are no chance of being right.
        text: The answer as the model wrote it.
        problem: What is wrong with the answer, in words; None where it could be read.
        cut_off: Whether it stopped in the middle, such as for want of tokens.
        size: Width and height of the picture.
        ended: Whether the answer ended by itself, and not because it had no tokens left.
        dropped: Boxes that were written and cannot be used.
    """

    boxes: np.ndarray
    labels: list[str]
    scores: list[float]
    text: str
    problem: str | None
    cut_off: bool
    size: tuple[int, int]
    ended: bool = True
    dropped: int = 0

    @property
    def parsed(self) -> bool:
        """Whether the answer could be read: it holds a usable box, or says that there is none."""
        return self.problem is None or len(self.labels) > 0


def read_answer(
    codec: BoxCodec,
    tokenizer: Any,
    tokens: Sequence[int],
    log_probs: Sequence[float],
    ended: bool,
    source: tuple[int, int],
    seen: SeenSize,
) -> Detection:
    """The boxes of a written answer.

    Args:
        codec: How the family writes boxes.
        tokenizer: Of the model.
        tokens: Ids of the answer.
        log_probs: Of each of them.
        ended: Whether the answer ended by itself.
        source: Width and height of the upright picture.
        seen: The size that the model saw it at.
    """
    pieces = [tokenizer.decode([token], skip_special_tokens=False) for token in tokens]
    text = tokenizer.decode(list(tokens), skip_special_tokens=False, clean_up_tokenization_spaces=False)
    read = codec.read(text, source, seen)
    scores = np.exp(box_log_probs(pieces, log_probs, read.spans))
    return Detection(
        boxes=read.boxes,
        labels=list(read.labels),
        scores=scores.tolist(),
        text=text.strip(),
        problem=read.problem,
        cut_off=read.cut_off or not ended,
        size=source,
        ended=ended,
        dropped=len(read.dropped),
    )


def find_boxes(
    model: DetectionModel,
    codec: BoxCodec,
    rows: Sequence[Mapping[str, Any]],
    settings: GenerationSettings,
) -> list[Detection]:
    """Ask a model about some pictures and read its answers: the one way, in training and afterwards.

    Args:
        model: Its processor makes the batch; left in its mode.
        codec: How its family writes boxes.
        rows: Conversation rows that end with the question, as many as fit into one batch.
        settings: How words are chosen.
    """
    processor = model.processor
    batch = prompt_batch(processor, rows)
    written = model.generate({name: values.to(model.device) for name, values in batch.items()}, settings)
    sizes = [seen_size(grid, processor.image_processor.patch_size) for grid in batch["image_grid_thw"]]
    sources = [(int(row["width"]), int(row["height"])) for row in rows]
    answers = zip(written.tokens, written.log_probs, written.ended, sources, sizes, strict=True)
    return [read_answer(codec, model.tokenizer, *answer) for answer in answers]


def to_coco(
    found: Sequence[Detection],
    names: Sequence[str | Path],
    categories: Sequence[str] | None = None,
) -> dict[str, Any]:
    """What was found as COCO JSON: `images`, `categories`, and `annotations` with scores.

    pycocotools loads the whole as annotations, and `annotations` alone as results. Boxes are
    `[x, y, width, height]` in pixels.

    Args:
        found: Of each picture.
        names: Their file names.
        categories: Names whose places give the ids, from 1; those that are found beside them follow, sorted.
    """
    labels = {label for one in found for label in one.labels}
    known = list(dict.fromkeys([*(categories or ()), *sorted(labels)]))
    ids = {label: place for place, label in enumerate(known, start=1)}
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, (one, name) in enumerate(zip(found, names, strict=True), start=1):
        width, height = one.size
        images.append({"id": number, "file_name": str(name), "width": width, "height": height})
        for box, label, score in zip(one.boxes.tolist(), one.labels, one.scores, strict=True):
            x, y, across, down = box[0], box[1], box[2] - box[0], box[3] - box[1]
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": ids[label],
                    "bbox": [round(value, 2) for value in (x, y, across, down)],
                    "area": round(across * down, 2),
                    "iscrowd": 0,
                    "score": round(score, 6),
                }
            )
    return {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": number, "name": label} for label, number in ids.items()],
    }
