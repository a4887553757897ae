"""CIDEr-D by aac-metrics, as a share of its largest value, 10 (Vedantam et al. 2015, arXiv:1411.5726).

Phrases of one to four words count the more the fewer rows have them in their references, so a score belongs
to its set of rows, and is 0 in a set of one. Words are those of the other metrics, not those of the PTB
tokenizer, which needs Java. It says little about answers of fewer than four words.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from edge_glass.config.metrics import Metric
from edge_glass.core.extras import optional_module
from edge_glass.instruction.measure.answers import words_of

METRIC = Metric(
    "cider",
    "CIDEr-D",
    note="a tenth of CIDEr-D: phrases shared, rare ones counting more; one right word alone counts 0.25",
    package="aac_metrics",  # which takes seconds to import
    extra="cider",
)
PLACE = 7
LARGEST: Final = 10


def scores(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> np.ndarray:
    """Return CIDEr-D of each answer among the others, float64 `[N]`.

    Raises:
        ConfigError: aac-metrics is not installed.
    """
    if len(predictions) < 2:
        return np.zeros(len(predictions))
    score = optional_module("aac_metrics.functional.cider_d", "cider").cider_d
    said = list(map(_plain, predictions))
    _, rows = score(said, [list(map(_plain, right)) for right in references])
    return np.asarray(rows["cider_d"]) / LARGEST


def _plain(text: str) -> str:
    return " ".join(words_of(text))
