"""F1 over words, as SQuAD has it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from edge_glass.config.metrics import Metric
from edge_glass.instruction.measure.answers import words_of

METRIC = Metric("token_f1", "token F1", note="words shared with the right answer", by_part=True)
PLACE = 3


def score(prediction: str, references: Sequence[str]) -> float:
    """Return the harmonic mean of precision and recall over words, with the best reference."""
    said = words_of(prediction)
    return max(_f1(said, words_of(reference)) for reference in references)


def _f1(said: list[str], right: list[str]) -> float:
    if not said or not right:
        return float(said == right)
    shared = sum((Counter(said) & Counter(right)).values())
    return 2 * shared / (len(said) + len(right))
