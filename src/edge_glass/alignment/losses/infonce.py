"""InfoNCE: which of all captions belongs to this picture, and which of all pictures to this caption?

Source: Radford et al., Learning Transferable Visual Models From Natural Language Supervision, 2021, figure 3.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from edge_glass.alignment.model.loss import Rows, diagonal
from edge_glass.core.gathering import Shares, column_logsumexp


def start(temperature: float) -> dict[str, float]:
    """Return where the temperature starts."""
    return {"logit_scale": math.log(1.0 / temperature)}


def losses(cuts: Sequence[Rows], scale: Tensor) -> list[Tensor]:
    """Return the loss of the same rows at each dimension."""
    pairs = [(cut.x, cut.y) for cut in cuts]
    return infonce_of(pairs, scale, cuts[0].excluded, cuts[0].shares)


def infonce(x: Tensor, y: Tensor, scale: Tensor, excluded: Tensor, shares: Shares | None = None) -> Tensor:
    """Compute symmetric InfoNCE: the mean of both directions, each the mean over the B rows of the batch.

    Excluded pairs leave the denominator; a row all of whose negatives are excluded costs nothing.

    Args:
        x: `[b, D]` of norm 1, the rows of this process.
        y: `[B, D]` of norm 1, the rows of all processes.
        scale: Inverse temperature, a scalar.
        excluded: `[b, B]` bool.
        shares: Who has which rows; None for one process.

    Returns:
        The part of these b rows; the parts of all processes sum to the loss of the batch.
    """
    return infonce_of([(x, y)], scale, excluded, shares)[0]


def infonce_of(
    cuts: Sequence[tuple[Tensor, Tensor]], scale: Tensor, excluded: Tensor, shares: Shares | None = None
) -> list[Tensor]:
    """Compute `infonce` of the same rows at several dimensions.

    Every pair is compared by one process only. The way back needs sums over columns, which the processes add
    up for all dimensions together: on slow connections it is the number of messages that costs.
    """
    rows, y_rows = cuts[0][0].shape[0], cuts[0][1].shape[0]
    shares = shares or Shares((rows,))
    matrices = [(scale * x @ y.T).masked_fill(excluded, -math.inf) for x, y in cuts]
    target = torch.arange(y_rows, device=excluded.device)[shares.mine]
    to_y = [F.cross_entropy(logits, target, reduction="sum") for logits in matrices]
    if len(shares.counts) == 1:
        to_x = [F.cross_entropy(logits.T, target, reduction="sum") for logits in matrices]
    else:
        columns = column_logsumexp(matrices, shares)[:, shares.mine]
        right = [diagonal(logits, shares.mine) for logits in matrices]
        to_x = [(column - own).sum() for column, own in zip(columns, right, strict=True)]
    return [(there / y_rows + back / y_rows) / 2 for there, back in zip(to_y, to_x, strict=True)]
