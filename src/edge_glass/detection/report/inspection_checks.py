"""What must hold of every row that boxes are learned from, checked one by one and said in words."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from edge_glass.data.labels import NOT_TRAINED
from edge_glass.detection.boxes.codec import BoxCodec
from edge_glass.detection.collators.chat import picture_tokens
from edge_glass.detection.report.inspected_rows import InspectedRow
from edge_glass.detection.report.matching import best_pairs

Check = tuple[str, str | None]
"""What must hold, and what is wrong; None where it holds."""


def checks_of_row(row: InspectedRow, processor: Any, codec: BoxCodec, mask: str) -> tuple[Check, ...]:
    """All checks of one row.

    Args:
        row: Of a batch.
        processor: That made it.
        codec: How the family writes boxes.
        mask: `assistant_only` or `all_tokens`.
    """
    checks: list[Check] = [
        ("each label is the id of its own token; none stands on the picture", _labels(row, processor)),
        ("the picture has all of its tokens", _picture(row, processor)),
        ("the prompt is that of generation, token for token", _prompt(row, processor)),
    ]
    if mask == "assistant_only":
        before = int((row.labels[: row.start] != NOT_TRAINED).sum())
        fault = f"{before} tokens before it are" if before else None
        checks.append(("nothing is trained before the answer", fault))
    return (
        *checks,
        ("the answer is trained to its end, the end too", _answer(row)),
        ("the boxes that the trained tokens say are those of the row", _boxes(row, codec)),
    )


def _labels(row: InspectedRow, processor: Any) -> str | None:
    trained = row.labels != NOT_TRAINED
    other = int((trained & (row.labels != row.ids)).sum())
    if other:
        return f"{other} labels are not the ids of their tokens"
    pictured = int((trained & torch.isin(row.ids, picture_tokens(processor))).sum())
    return f"{pictured} tokens of the picture or its markers have labels" if pictured else None


def _picture(row: InspectedRow, processor: Any) -> str | None:
    wanted = int(row.grid.prod()) // processor.image_processor.merge_size**2
    found = int((row.ids == processor.image_token_id).sum())
    return None if found == wanted else f"{found} of {wanted}"


def _prompt(row: InspectedRow, processor: Any) -> str | None:
    count = int(row.grid.prod()) // processor.image_processor.merge_size**2
    before, behind = row.prompt.ids[: row.prompt.picture], row.prompt.ids[row.prompt.picture + 1 :]
    wanted = [*before, *[processor.image_token_id] * count, *behind]
    return None if row.ids[: row.start].tolist() == wanted else "training has other tokens before the answer"


def _answer(row: InspectedRow) -> str | None:
    if row.stop >= len(row.ids):
        return "its end token is missing: the row is cut off"
    without = int((row.labels[row.start : row.stop + 1] == NOT_TRAINED).sum())
    return f"{without} of its {row.stop + 1 - row.start} tokens have no label" if without else None


def _boxes(row: InspectedRow, codec: BoxCodec) -> str | None:
    """Read back, they may be off by the rounding of the format."""
    if row.read.problem is not None:
        return f"they cannot be read: {row.read.problem}"
    boxes, labels = np.asarray(row.given["boxes"], dtype=np.float64).reshape(-1, 4), row.given["labels"]
    if sorted(row.read.labels) != sorted(label.strip() for label in labels):
        said, right = (", ".join(names) or "nothing" for names in (row.read.labels, labels))
        return f"they name {said}; the row has {right}"
    if not len(boxes):
        return None
    found, true, _ = best_pairs(row.read.boxes, boxes)
    apart = np.abs(row.read.boxes[found] - boxes[true])
    allowed = np.tile(codec.worst_error(row.source, row.seen), 2)
    if (apart <= allowed).all():
        return None
    worst = int((apart / allowed).max(axis=1).argmax())
    read, real = (np.round(many, 1).tolist() for many in (row.read.boxes[found[worst]], boxes[true[worst]]))
    return f"they say {read} where the row has {real}: off by {apart.max():.1f} pixels"
