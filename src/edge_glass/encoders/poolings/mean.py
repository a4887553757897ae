"""The mean of the real tokens."""

from __future__ import annotations

from torch import Tensor

from edge_glass.encoders.pooling import Pooling, PoolingOptions, clean


class MeanPooling(Pooling):
    """The mean of the real tokens (class token and special tokens included)."""

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Map `[B, N, D]`, `[B, N]` bool → `[B, D]`."""
        count = mask.sum(dim=1, keepdim=True).clamp(min=1)
        return clean(tokens, mask).sum(dim=1) / count


def build(width: int, options: PoolingOptions) -> MeanPooling:
    """Return it for tokens of `width` numbers."""
    return MeanPooling()
