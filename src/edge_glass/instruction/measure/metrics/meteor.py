"""METEOR by nltk, with exact and stemmed words, but without WordNet's synonyms, which would need a download.

Somewhat lower than a METEOR with synonyms: compare it with itself only.
"""

from __future__ import annotations

from collections.abc import Sequence

from edge_glass.config.metrics import Metric
from edge_glass.core.extras import optional_module
from edge_glass.instruction.measure.answers import words_of

METRIC = Metric(
    "meteor",
    "METEOR",
    note="words and stems shared; one right word alone counts 0.5",
    package="nltk",
    extra="text",
)
PLACE = 5


def score(prediction: str, references: Sequence[str]) -> float:
    """Return METEOR of one answer.

    Raises:
        ConfigError: nltk is not installed.
    """
    library = optional_module("nltk.translate.meteor_score", "text")
    kept = [words for words in map(words_of, references) if words]
    said = words_of(prediction)
    if not said or not kept:
        return float(not said and len(kept) < len(references))
    return float(library.meteor_score(kept, said, wordnet=_NoSynonyms()))


class _NoSynonyms:
    """What nltk asks for synonyms, without any."""

    def synsets(self, word: str) -> list[object]:
        return []
