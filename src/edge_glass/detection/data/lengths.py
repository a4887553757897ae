"""How many tokens pictures and answers of scenes have, looked at before anything is trained."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from edge_glass.core.errors import DataError
from edge_glass.data.lengths import LengthReport, say_lengths
from edge_glass.data.samples import Rejected
from edge_glass.detection.boxes.codec import BoxCodec
from edge_glass.detection.collators import planned_size, token_counts
from edge_glass.detection.collators.sizes import pixels_per_side
from edge_glass.detection.data.table import DetectionTable


def fit_answers(
    table: DetectionTable, processor: Any, codec: BoxCodec, max_answer: int, too_long: str
) -> DetectionTable:
    """The rows whose answers fit; lengths of all are logged first.

    Args:
        table: The rows.
        processor: Of the model.
        codec: How it writes boxes.
        max_answer: Most tokens of an answer, its end counted; none is ever cut.
        too_long: `leave_out` or `error`.

    Raises:
        DataError: Rows are too long and the policy is `error`, or no row is left.
    """
    report = length_report(table, processor, codec, max_answer)
    say_lengths(report, too_long)
    lost = set(np.flatnonzero(report.answers > max_answer).tolist())  # a picture is resized, never left out
    if len(lost) == len(table):
        raise DataError(f"{table.source}: no row is left; each answer has more than {max_answer} tokens")
    kept = table.select([row for row in range(len(table)) if row not in lost])
    return replace(kept, rejected=(*table.rejected, *report.left_out))


def length_report(table: DetectionTable, processor: Any, codec: BoxCodec, max_answer: int) -> LengthReport:
    """Tokens of every picture and every answer; pictures are known by their sizes and not opened."""
    sizes = list(table.sizes)
    pictures = token_counts(sizes, processor)
    texts = [
        codec.write(boxes, labels, size, planned_size(processor, *size))
        for boxes, labels, size in zip(table.boxes, table.labels, sizes, strict=True)
    ]
    ids = processor.tokenizer(texts, add_special_tokens=False)["input_ids"] if texts else []
    answers = np.array([len(one) + 1 for one in ids], dtype=np.int64)
    reason = "the answer has {} tokens; {} are allowed"
    lost = tuple(
        Rejected(table.positions[row], table.ids[row], reason.format(answers[row], max_answer))
        for row in np.flatnonzero(answers > max_answer).tolist()
    )
    most = processor.image_processor.size["longest_edge"] // pixels_per_side(processor) ** 2
    return LengthReport(
        table.source, pictures, answers, table.ids, most, max_answer, lost, ("picture", "answer"), "scenes"
    )
