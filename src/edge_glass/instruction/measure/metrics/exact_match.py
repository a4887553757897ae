"""Exact match: right to the letter, but for case and blanks."""

from __future__ import annotations

from collections.abc import Sequence

from edge_glass.config.metrics import Metric

METRIC = Metric("exact_match", "exact match", note="right to the letter, but for its case", by_part=True)
PLACE = 1


def score(prediction: str, references: Sequence[str]) -> float:
    """Return 1 when the answer is one of the references; case and the number of blanks do not matter."""
    said = " ".join(prediction.casefold().split())
    return float(any(said == " ".join(reference.casefold().split()) for reference in references))
