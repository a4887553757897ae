"""Every token as it is."""

from __future__ import annotations

from torch import Tensor

from edge_glass.encoders.features import TokenFeatures
from edge_glass.encoders.pooling import Pooling, PoolingOptions


class KeepTokens(Pooling):
    """Every token as it is."""

    keeps_tokens = True

    def forward(self, tokens: Tensor, mask: Tensor) -> TokenFeatures:
        """Map `[B, N, D]`, `[B, N]` bool → the same."""
        return TokenFeatures(tokens, mask)


def build(width: int, options: PoolingOptions) -> KeepTokens:
    """Return it for tokens of `width` numbers."""
    return KeepTokens()
