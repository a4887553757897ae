"""Tokens → one vector. Padding never changes a result; a row without real tokens gives zeros."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edge_glass.encoders.codebook import CodebookPooling
from edge_glass.encoders.perceiver import PerceiverResampler
from edge_glass.errors import ConfigError


def _clean(tokens: Tensor, mask: Tensor) -> Tensor:
    """Zero the padding; multiplying by the mask would let infinities through."""
    return tokens.masked_fill(~mask.unsqueeze(-1), 0.0)


class ClsPooling(nn.Module):
    """The first real token."""

    learned = False

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """`[B, N, D]`, `[B, N]` bool → `[B, D]`."""
        if not tokens.shape[1]:
            return tokens.sum(dim=1)  # zeros; argmax over nothing is an error
        first = mask.int().argmax(dim=1)
        return _clean(tokens, mask)[torch.arange(len(tokens), device=tokens.device), first]


class MeanPooling(nn.Module):
    """The mean of the real tokens (class token and special tokens included)."""

    learned = False

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """`[B, N, D]`, `[B, N]` bool → `[B, D]`."""
        count = mask.sum(dim=1, keepdim=True).clamp(min=1)
        return _clean(tokens, mask).sum(dim=1) / count


class MeanMaxPooling(nn.Module):
    """Mean and maximum of the real tokens side by side: what lasts, and what occurs at any time."""

    learned = False

    def __init__(self, width: int) -> None:
        super().__init__()
        self.out_dim = 2 * width

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """`[B, N, D]`, `[B, N]` bool → `[B, 2 D]`."""
        if not tokens.shape[1]:  # there is no maximum over nothing
            tokens, mask = F.pad(tokens, (0, 0, 0, 1)), F.pad(mask, (0, 1))
        highest = tokens.masked_fill(~mask.unsqueeze(-1), -math.inf).amax(dim=1)
        highest = highest.masked_fill(~mask.any(dim=1, keepdim=True), 0.0)
        return torch.cat([MeanPooling()(tokens, mask), highest], dim=1)


class SimpleAttentionPooling(nn.Module):
    """One learned query q: the mean of the tokens k weighted by softmax(q·k / √D).

    The query starts at zero, so that training starts from mean pooling.
    """

    learned = True

    def __init__(self, width: int) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.zeros(width))

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """`[B, N, D]`, `[B, N]` bool → `[B, D]`."""
        tokens = _clean(tokens, mask)
        scores = tokens @ self.query / math.sqrt(tokens.shape[-1])
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
        weights = scores.softmax(
            dim=1
        )  # 0 at padding; even over a row of nothing but padding, which is zeros
        return (weights.unsqueeze(1) @ tokens).squeeze(1)


class AttentionPooling(nn.Module):
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
                f"attention pooling: {num_heads} heads do not divide the encoder's width {width}"
            )
        self.queries = nn.Parameter(torch.randn(num_queries, width) / math.sqrt(width))
        self.attention = nn.MultiheadAttention(width, num_heads, batch_first=True)

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """`[B, N, D]`, `[B, N]` bool → `[B, D]`."""
        rows = len(tokens)
        if (
            not tokens.numel()
        ):  # MultiheadAttention refuses an empty batch: lend it a row and a token of padding
            tokens, mask = F.pad(tokens, (0, 0, 0, 1, 0, 1)), F.pad(mask, (0, 1, 0, 1))
        tokens = _clean(tokens, mask)
        nothing = ~mask.any(dim=1, keepdim=True)
        ignored = ~mask & ~nothing  # a row without real tokens may look everywhere: softmax over none is NaN
        queries = self.queries.expand(len(tokens), -1, -1)
        pooled, _ = self.attention(queries, tokens, tokens, key_padding_mask=ignored, need_weights=False)
        return pooled.mean(dim=1).masked_fill(nothing, 0.0)[:rows]


class PerceiverPooling(nn.Module):
    """The mean of the latents of a `PerceiverResampler`.

    Args:
        width: Numbers per token.
        **options: See `PerceiverResampler`.

    Raises:
        ConfigError: Options that do not fit.
    """

    learned = True

    def __init__(self, width: int, **options: Any) -> None:
        super().__init__()
        self.resampler = PerceiverResampler(width, **options)

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """`[B, N, D]`, `[B, N]` bool → `[B, D]`."""
        return self.resampler(tokens, mask).tokens.mean(dim=1)


def pooled_width(pooling: nn.Module, width: int) -> int:
    """Numbers of a pooled vector over tokens of `width` numbers."""
    return getattr(pooling, "out_dim", width)


Pooling = (
    ClsPooling
    | MeanPooling
    | MeanMaxPooling
    | CodebookPooling
    | SimpleAttentionPooling
    | AttentionPooling
    | PerceiverPooling
)
PERCEIVER_OPTIONS = ("num_latents", "depth", "num_heads", "positions", "max_tokens")


def build_pooling(
    kind: str, width: int, num_heads: int = 8, perceiver: Mapping[str, Any] | None = None
) -> Pooling:
    """Make a pooling by its name in the experiment file.

    Args:
        kind: cls, mean, mean_max, codebook, simple, multihead or perceiver.
        width: Numbers per token.
        num_heads: Heads of multihead, and of perceiver where its options do not say.
        perceiver: Options of perceiver: num_latents, depth, num_heads, positions, max_tokens.

    Raises:
        ConfigError: An unknown kind or option, or sizes that do not fit.
    """
    if kind == "cls":
        return ClsPooling()
    if kind == "mean":
        return MeanPooling()
    if kind == "mean_max":
        return MeanMaxPooling(width)
    if kind == "codebook":
        return CodebookPooling(width)
    if kind == "simple":
        return SimpleAttentionPooling(width)
    if kind == "multihead":
        return AttentionPooling(width, num_heads)
    if kind == "perceiver":
        options = {"num_heads": num_heads, **(perceiver or {})}
        unknown = [name for name in options if name not in PERCEIVER_OPTIONS]
        if unknown:
            raise ConfigError(
                f"perceiver has no option {unknown[0]!r}; it has {', '.join(PERCEIVER_OPTIONS)}"
            )
        return PerceiverPooling(width, **options)
    raise ConfigError(
        f"pooling_type is {kind!r}; cls, mean, mean_max, codebook, simple, multihead or perceiver is right"
    )
