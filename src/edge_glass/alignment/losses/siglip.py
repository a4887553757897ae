"""SigLIP: does this caption belong to this picture? Every pair is a question of its own."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from edge_glass.alignment.model.loss import Rows, diagonal
from edge_glass.core.gathering import Shares


def start(temperature: float) -> dict[str, float]:
    """Return the paper's start; `temperature` is InfoNCE's and is not read."""
    return {"logit_scale": math.log(10.0), "logit_bias": -10.0}


def losses(cuts: Sequence[Rows], scale: Tensor, logit_bias: Tensor) -> list[Tensor]:
    """Return the loss of the same rows at each dimension."""
    return [siglip(cut.x, cut.y, scale, logit_bias, cut.excluded, cut.shares) for cut in cuts]


def siglip(
    x: Tensor, y: Tensor, scale: Tensor, bias: Tensor, excluded: Tensor, shares: Shares | None = None
) -> Tensor:
    """Compute the sigmoid loss: every pair is a yes or no of its own; their sum is divided by B.

    Excluded pairs have no term; the divisor stays B, as in the paper, so that they weigh nothing elsewhere.
    Arguments and result as for `infonce`, and `bias`, a learned scalar.

    Source: Zhai et al., Sigmoid Loss for Language Image Pre-Training, 2023, algorithm 1.
    """
    mine = (shares or Shares((len(x),))).mine
    logits = scale * x @ y.T + bias
    sign = torch.full_like(logits, -1.0, requires_grad=False)
    diagonal(sign, mine).fill_(1.0)
    return -F.logsigmoid(sign * logits).masked_fill(excluded, 0.0).sum() / len(y)
