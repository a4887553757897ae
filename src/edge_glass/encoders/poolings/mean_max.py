"""Mean and maximum of the real tokens, side by side."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from edge_glass.encoders.pooling import Pooling, PoolingOptions
from edge_glass.encoders.poolings.mean import MeanPooling


class MeanMaxPooling(Pooling):
    """Mean and maximum of the real tokens side by side: what lasts, and what occurs at any time."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.out_dim = 2 * width

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Map `[B, N, D]`, `[B, N]` bool → `[B, 2 D]`."""
        if not tokens.shape[1]:  # there is no maximum over nothing
            tokens, mask = F.pad(tokens, (0, 0, 0, 1)), F.pad(mask, (0, 1))
        highest = tokens.masked_fill(~mask.unsqueeze(-1), -math.inf).amax(dim=1)
        highest = highest.masked_fill(~mask.any(dim=1, keepdim=True), 0.0)
        return torch.cat([MeanPooling()(tokens, mask), highest], dim=1)


def build(width: int, options: PoolingOptions) -> MeanMaxPooling:
    """Return it for tokens of `width` numbers."""
    return MeanMaxPooling(width)
