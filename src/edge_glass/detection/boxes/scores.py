"""How sure a language model was of each box, from the probabilities of the tokens that it wrote.

Such a model gives no scores. The mean log-probability of the tokens that a box is written with, numbers and
brackets, is the nearest thing to one; it orders boxes for average precision, and is called by that name
wherever it is shown.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def box_log_probs(
    pieces: Sequence[str], log_probs: Sequence[float], spans: Sequence[tuple[int, int]]
) -> np.ndarray:
    """Mean log-probability of the tokens that each box is written with.

    Args:
        pieces: The tokens of an answer, each decoded by itself.
        log_probs: Of each token.
        spans: Where in the text the numbers of each box stand (`ParsedAnswer.spans`).

    Returns:
        float64 `[n]`, one of each span.
    """
    values = np.asarray(log_probs, dtype=np.float64)
    ends = np.cumsum([len(piece) for piece in pieces])
    starts = ends - [len(piece) for piece in pieces]
    means = [values[(starts < stop) & (ends > start)] for start, stop in spans]
    return np.array([mean.mean() if len(mean) else values.mean() for mean in means], dtype=np.float64)
