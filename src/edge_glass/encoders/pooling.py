"""Tokens → one vector, or fewer tokens. Padding never changes a result; a row of padding gives zeros.

Most give vectors `[B, D]`. Those with `keeps_tokens` are made for a prefix: `TokenFeatures` of `[B, M, D]`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edge_glass.core.errors import ConfigError
from edge_glass.encoders.codebook import CodebookPooling
from edge_glass.encoders.features import TokenFeatures
from edge_glass.encoders.perceiver import PerceiverResampler


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


class KeepTokens(nn.Module):
    """Every token as it is."""

    learned = False
    keeps_tokens = True

    def forward(self, tokens: Tensor, mask: Tensor) -> TokenFeatures:
        """`[B, N, D]`, `[B, N]` bool → the same."""
        return TokenFeatures(tokens, mask)


class GridPooling(nn.Module):
    """Means over the fields of a square grid: what is where, in few tokens.

    The places of a square picture are the last tokens, row by row, the largest square number of them; tokens
    before these (class, registers) are left out. Fields are those of adaptive average pooling: they overlap
    where places do not divide by them, and repeat places where there are more fields. A grid of this size
    already stays as it is.

    Args:
        side: Fields per side.

    Raises:
        ConfigError: `side` is not 1 or more.
    """

    learned = False
    keeps_tokens = True

    def __init__(self, side: int) -> None:
        super().__init__()
        if side < 1:
            raise ConfigError(f"grid pooling: side is {side}; 1 or more would be right")
        self.side = side

    def require_places(self, tokens: int) -> int:
        """Places per side among so many tokens of a picture.

        Raises:
            ConfigError: There is no grid to be pooled.
        """
        places = math.isqrt(tokens)
        if places < min(self.side, 2):
            raise ConfigError(
                f"pooling_type grid needs the places of a picture, and the encoder gives {tokens} token"
                f"{'s' * (tokens != 1)}. With feature_layers that is always so: leave them out, or take "
                "pooling_type none or mean"
            )
        return places

    def forward(self, tokens: Tensor, mask: Tensor) -> TokenFeatures:
        """`[B, N, D]`, `[B, N]` bool → `[B, side², D]`; fields of nothing but padding are padding.

        Raises:
            ConfigError: One token, as `require_places`.
        """
        places = self.require_places(tokens.shape[1])
        first = tokens.shape[1] - places**2
        grid = _clean(tokens, mask)[:, first:].transpose(1, 2).unflatten(2, (places, places))
        real = mask[:, first:].to(tokens.dtype).view(-1, 1, places, places)
        means, share = (F.adaptive_avg_pool2d(one, self.side).flatten(2) for one in (grid, real))
        seen = share.squeeze(1) > 0
        return TokenFeatures((means / share.masked_fill(share == 0, 1.0)).transpose(1, 2), seen)


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
    | GridPooling
    | KeepTokens
)
PERCEIVER_OPTIONS = ("num_latents", "depth", "num_heads", "positions", "max_tokens")


def build_pooling(
    kind: str,
    width: int,
    num_heads: int = 8,
    perceiver: Mapping[str, Any] | None = None,
    grid_size: int = 3,
) -> Pooling:
    """Make a pooling by its name in the experiment file.

    Args:
        kind: cls, mean, mean_max, codebook, simple, multihead or perceiver; grid or none, which keep tokens.
        width: Numbers per token.
        num_heads: Heads of multihead, and of perceiver where its options do not say.
        perceiver: Options of perceiver: num_latents, depth, num_heads, positions, max_tokens.
        grid_size: Fields per side of grid.

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
    if kind == "grid":
        return GridPooling(grid_size)
    if kind == "none":
        return KeepTokens()
    raise ConfigError(
        f"pooling_type is {kind!r}; cls, mean, mean_max, codebook, simple, multihead, perceiver, grid or "
        "none is right"
    )
