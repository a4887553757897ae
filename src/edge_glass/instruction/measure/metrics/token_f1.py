"""F1 over words, as SQuAD has it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from edge_glass.config.metrics import Metric
from edge_glass.instruction.measure.answers import best_f1

METRIC = Metric("token_f1", "token F1", note="words shared with the right answer", by_part=True)
PLACE = 3


def score(prediction: str, references: Sequence[str]) -> float:
    """Return the harmonic mean of precision and recall over words, with the best reference."""
    return best_f1(prediction, references, lambda said, right: sum((Counter(said) & Counter(right)).values()))
