"""Attention of learned queries with several heads."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edge_glass.core.errors import ConfigError
from edge_glass.encoders.pooling import Pooling, PoolingOptions, clean


class AttentionPooling(Pooling):
    """Multi-head attention of learned queries over the tokens; several queries are averaged.

    Args:
        width: Numbers per token, divisible by `num_heads`.
        num_heads: Attention heads.
        num_queries: Learned queries.

    Raises:
        ConfigError: `width` is not divisible.
    """

    learned = True

    def __init__(self, width: int, num_heads: int = 8, num_queries: int = 1) -> None:
        super().__init__()
        if width % num_heads:
            raise ConfigError(
                f"attention pooling: expected heads that divide the encoder's width {width}; got {num_heads}"
            )
        self.queries = nn.Parameter(torch.randn(num_queries, width) / math.sqrt(width))
        self.attention = nn.MultiheadAttention(width, num_heads, batch_first=True)

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Map `[B, N, D]`, `[B, N]` bool → `[B, D]`."""
        rows = len(tokens)
        if not tokens.numel():
            # MultiheadAttention refuses an empty batch: lend it a row and a token of padding.
            tokens, mask = F.pad(tokens, (0, 0, 0, 1, 0, 1)), F.pad(mask, (0, 1, 0, 1))
        tokens = clean(tokens, mask)
        nothing = ~mask.any(dim=1, keepdim=True)
        ignored = ~mask & ~nothing  # a row without real tokens may look everywhere: softmax over none is NaN
        queries = self.queries.expand(len(tokens), -1, -1)
        pooled, _ = self.attention(queries, tokens, tokens, key_padding_mask=ignored, need_weights=False)
        return pooled.mean(dim=1).masked_fill(nothing, 0.0)[:rows]


def build(width: int, options: PoolingOptions) -> AttentionPooling:
    """Return it for tokens of `width` numbers."""
    return AttentionPooling(width, options.num_heads)
