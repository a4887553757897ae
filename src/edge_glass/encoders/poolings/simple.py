"""Attention of one learned query."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from edge_glass.encoders.pooling import Pooling, PoolingOptions, clean


class SimpleAttentionPooling(Pooling):
    """One learned query q: the mean of the tokens k weighted by softmax(q·k / √D).

    The query starts at zero, so that training starts from mean pooling.
    """

    learned = True

    def __init__(self, width: int) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.zeros(width))

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Map `[B, N, D]`, `[B, N]` bool → `[B, D]`."""
        tokens = clean(tokens, mask)
        scores = tokens @ self.query / math.sqrt(tokens.shape[-1])
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
        # 0 at padding; a row of nothing but padding is weighted evenly, and is zeros.
        weights = scores.softmax(dim=1)
        return (weights.unsqueeze(1) @ tokens).squeeze(1)


def build(width: int, options: PoolingOptions) -> SimpleAttentionPooling:
    """Return it for tokens of `width` numbers."""
    return SimpleAttentionPooling(width)
