"""ROUGE-L (Lin 2004)."""

from __future__ import annotations

from collections.abc import Sequence

from edge_glass.config.metrics import Metric
from edge_glass.instruction.measure.answers import best_f1

METRIC = Metric("rouge_l", "ROUGE-L", note="words shared in the same order")
PLACE = 4


def score(prediction: str, references: Sequence[str]) -> float:
    """Return F1 by the longest common subsequence of words, with the best reference; not stemmed."""
    return best_f1(prediction, references, _longest_common)


def _longest_common(first: list[str], second: list[str]) -> int:
    """Return the length of the longest common subsequence."""
    row = [0] * (len(second) + 1)
    for word in first:
        before = 0
        for at, other in enumerate(second, start=1):
            above = row[at]
            row[at] = before + 1 if word == other else max(above, row[at - 1])
            before = above
    return row[-1]
