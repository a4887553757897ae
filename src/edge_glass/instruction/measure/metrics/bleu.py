"""BLEU-4 by sacreBLEU, as a share: a property of a set, not a mean over answers.

It says little about answers of fewer than four words.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from edge_glass.config.metrics import Metric
from edge_glass.core.extras import optional_module

METRIC = Metric(
    "bleu",
    "BLEU",
    note="phrases of up to four words shared; says little about short answers",
    package="sacrebleu",
    extra="text",
)
PLACE = 6
ORDER: Final = 4


def counts(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> np.ndarray:
    """Return matched and all n-grams of each answer, its length and its reference's: int64 `[N, 2 * 4 + 2]`.

    Raises:
        ConfigError: sacrebleu is not installed.
    """
    scorer = optional_module("sacrebleu.metrics", "text").BLEU(effective_order=True)
    found = [
        scorer.sentence_score(said, list(right)) for said, right in zip(predictions, references, strict=True)
    ]
    return np.array([[*one.counts, *one.totals, one.sys_len, one.ref_len] for one in found], dtype=np.int64)


def of_counts(summed: np.ndarray) -> float:
    """Return BLEU of summed counts `[10]`, as a share."""
    compute = optional_module("sacrebleu.metrics", "text").BLEU.compute_bleu
    numbers = [int(count) for count in summed]
    matched, total = numbers[:ORDER], numbers[ORDER : 2 * ORDER]
    return float(compute(matched, total, *numbers[-2:], smooth_method="exp").score) / 100
