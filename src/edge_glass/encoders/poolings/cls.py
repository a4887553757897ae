"""The first real token."""

from __future__ import annotations

import torch
from torch import Tensor

from edge_glass.encoders.pooling import Pooling, PoolingOptions, clean


class ClsPooling(Pooling):
    """The first real token."""

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Map `[B, N, D]`, `[B, N]` bool → `[B, D]`."""
        if not tokens.shape[1]:
            return tokens.sum(dim=1)  # zeros; argmax over nothing is an error
        first = mask.int().argmax(dim=1)
        return clean(tokens, mask)[torch.arange(len(tokens), device=tokens.device), first]


def build(width: int, options: PoolingOptions) -> ClsPooling:
    """Return it for tokens of `width` numbers."""
    return ClsPooling()
