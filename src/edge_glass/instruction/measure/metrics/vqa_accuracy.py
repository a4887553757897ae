"""Accuracy of the VQA benchmark (Goyal et al. 2017, github.com/GT-Vision-Lab/VQA, vqaEval.py)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edge_glass.config.metrics import Metric
from edge_glass.instruction.measure.answers import normalize_answer

METRIC = Metric(
    "vqa_accuracy", "VQA accuracy", note="right, whatever its case, punctuation and articles", by_part=True
)
PLACE = 2


def score(prediction: str, references: Sequence[str]) -> float:
    """Return 1 when three people say the same, a third when one does.

    Averaged over leaving each person out, as the benchmark does. With a single reference: 1 when equal. Both
    sides are normalised (`normalize_answer`).
    """
    said = normalize_answer(prediction)
    agrees = [normalize_answer(reference) == said for reference in references]
    if len(agrees) == 1:
        return float(agrees[0])
    total = sum(agrees)
    return float(np.mean([min(1.0, (total - own) / 3) for own in agrees]))
