"""Perceiver: any number of tokens → a fixed number of latents.

Jaegle et al. 2021, "Perceiver", https://arxiv.org/abs/2103.03206, in the form of the resampler of
Alayrac et al. 2022, "Flamingo", section 3.1, https://arxiv.org/abs/2204.14198.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edge_glass.core.errors import ConfigError
from edge_glass.encoders.features import TokenFeatures


class CrossAttention(nn.Module):
    """Multi-head attention of queries to keys, which are the values too; a query without keys gets zeros.

    Args:
        width: Numbers per query and key, divisible by `num_heads`.
        num_heads: Attention heads.

    Raises:
        ConfigError: `width` is not divisible.
    """

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        if num_heads < 1 or width % num_heads:
            raise ConfigError(f"attention: expected heads that divide the width {width}, got {num_heads}")
        self.num_heads = num_heads
        self.to_query = nn.Linear(width, width, bias=False)
        self.to_key = nn.Linear(width, width, bias=False)
        self.to_value = nn.Linear(width, width, bias=False)
        self.out = nn.Linear(width, width, bias=False)  # without a bias, nothing in is nothing out
        for linear in (self.to_query, self.to_key, self.to_value, self.out):
            nn.init.xavier_uniform_(linear.weight)

    def forward(self, queries: Tensor, keys: Tensor, mask: Tensor) -> Tensor:
        """Map `[B, Q, D]`, `[B, N, D]` finite, `[B, N]` bool (True: a real key) → `[B, Q, D]`."""
        query, key, value = self.to_query(queries), self.to_key(keys), self.to_value(keys)
        if query.numel() and key.numel():
            nothing = ~mask.any(dim=1, keepdim=True)
            seen = (mask | nothing)[:, None, None]  # softmax over no key at all would be NaN
            heads = (self._split(query), self._split(key), self._split(value))
            mixed = F.scaled_dot_product_attention(*heads, attn_mask=seen).transpose(1, 2).flatten(2)
            mixed = mixed.masked_fill(nothing.unsqueeze(-1), 0.0)
        else:
            # Not every kernel takes an empty batch. The sums keep all weights in the graph, with gradient
            # zero: a rank that has no rows must still take part in the averaging of gradients.
            mixed = 0.0 * (query + key.sum() + value.sum())
        return self.out(mixed)

    def _split(self, x: Tensor) -> Tensor:
        """Map `[B, N, D]` → `[B, heads, N, D / heads]`."""
        return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)


class FourierPositions(nn.Module):
    """Sines and cosines of the position, which runs from -1 to 1 over the real tokens of a row, projected.

    Works for any length. The frequencies grow geometrically from one half-wave over the row to a wave per
    two tokens at `max_tokens`, so that short and long rows both find bands that tell neighbours apart
    (Perceiver spaces them evenly, which suits one length only).
    """

    frequencies: Tensor

    def __init__(self, width: int, max_tokens: int, num_bands: int = 32) -> None:
        super().__init__()
        frequencies = torch.logspace(0.0, math.log10(max(max_tokens / 2, 1.0)), num_bands)
        self.register_buffer("frequencies", frequencies, persistent=False)
        self.project = nn.Linear(2 * num_bands + 1, width)

    def forward(self, mask: Tensor) -> Tensor:
        """Map `[B, N]` bool → `[B, N, D]`; what stands at padding is finite and without meaning."""
        count = mask.sum(dim=1, keepdim=True).clamp(min=1)
        position = (2 * real_positions(mask) + 1) / count - 1
        position = position.to(torch.float32).unsqueeze(-1)
        angles = math.pi * position * self.frequencies.float()
        features = torch.cat([position, angles.sin(), angles.cos()], dim=-1)
        return self.project(features.to(self.project.weight.dtype))


class LearnedPositions(nn.Module):
    """A learned vector per position, for up to `max_tokens` real tokens."""

    def __init__(self, width: int, max_tokens: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(max_tokens, width) * 0.1)  # a tenth of the tokens' scale

    def forward(self, mask: Tensor) -> Tensor:
        """Map `[B, N]` bool → `[B, N, D]`.

        Raises:
            ConfigError: A row has more real tokens than the table.
        """
        limit = len(self.table)
        # The count is looked at only where it can matter: it makes a GPU wait.
        if mask.shape[1] > limit and (mask.sum(dim=1) > limit).any():
            raise ConfigError(
                f"perceiver: expected at most {limit} tokens a row (max_tokens), where positions end; "
                f"got {int(mask.sum(dim=1).max())}. Raise max_tokens, or use positions fourier"
            )
        return self.table[real_positions(mask).clamp(max=limit - 1)]


def real_positions(mask: Tensor) -> Tensor:
    """Map `[B, N]` bool → `[B, N]` int64: a token's index among the real ones; padding moves nothing."""
    return (mask.long().cumsum(dim=1) - 1).clamp(min=0)


def build_positions(kind: str, width: int, max_tokens: int) -> nn.Module | None:
    """Make positions of a kind; None for none.

    Raises:
        ConfigError: An unknown kind.
    """
    kinds: dict[str, Callable[[], nn.Module | None]] = {
        "none": lambda: None,
        "fourier": lambda: FourierPositions(width, max_tokens),
        "learned": lambda: LearnedPositions(width, max_tokens),
    }
    if kind not in kinds:
        raise ConfigError(f"perceiver: expected positions none, fourier or learned; got {kind!r}")
    return kinds[kind]()


class PerceiverBlock(nn.Module):
    """Latents look at the tokens and at each other, then think; both steps are pre-norm and residual."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.attention = CrossAttention(width, num_heads)
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, latents: Tensor, tokens: Tensor, mask: Tensor) -> Tensor:
        """Map `[B, L, D]`, normalised `[B, N, D]`, `[B, N]` bool → `[B, L, D]`."""
        queries = self.norm(latents)
        # As in Flamingo the latents are keys beside the tokens: cross and self attention in one step.
        keys = torch.cat([tokens, queries], dim=1)
        seen = F.pad(mask, (0, latents.shape[1]), value=True)
        latents = latents + self.attention(queries, keys, seen)
        return latents + self.feed_forward(latents)


class PerceiverResampler(nn.Module):
    """Learned latents that read the tokens in `depth` blocks: `[B, N, D]`, any N → `[B, num_latents, D]`.

    A pooling (`PerceiverPooling`), and a compressor before a language model: 1,500 audio tokens become 32.

    It has about 12 · depth · D² parameters (39 M at D 1280, 3.5 M at D 384, depth 2), and a row takes about
    2 · depth · D · (N + L) · (D + L) + 10 · depth · D² · L multiply-adds, L latents: linear in N, where
    self attention is quadratic.

    The tokens are normalised once, then get their positions; the scale that a norm in each block would
    learn is part of that block's key and value weights.

    Args:
        width: Numbers per latent, divisible by `num_heads`.
        num_latents: Tokens out.
        depth: Blocks.
        num_heads: Attention heads.
        positions: none (the tokens are a set), fourier or learned.
        max_tokens: Longest row for learned positions; sets the highest frequency of fourier ones.
        input_width: Width of the tokens when it is not `width`; a linear map comes first then.

    Raises:
        ConfigError: Sizes that do not fit, unknown positions.
    """

    def __init__(
        self,
        width: int,
        num_latents: int = 32,
        depth: int = 2,
        num_heads: int = 8,
        positions: str = "none",
        max_tokens: int = 1500,
        input_width: int | None = None,
    ) -> None:
        super().__init__()
        for name, value in (("num_latents", num_latents), ("depth", depth), ("max_tokens", max_tokens)):
            if value < 1:
                raise ConfigError(f"perceiver: expected {name} of at least 1, got {value}")
        if num_heads < 1 or width % num_heads:
            raise ConfigError(f"perceiver: expected heads that divide the width {width}, got {num_heads}")
        self.width = width
        self.num_latents = num_latents
        self.input_width = width if input_width is None else input_width
        self.read = nn.Identity() if self.input_width == width else nn.Linear(self.input_width, width)
        self.token_norm = nn.LayerNorm(width)
        self.positions = build_positions(positions, width, max_tokens)
        # Half the scale of the tokens: at 1.0 the first output says little about the tokens, and at
        # Perceiver's 0.02 all latents read nearly the same.
        self.latents = nn.Parameter(torch.randn(num_latents, width) * 0.5)
        self.blocks = nn.ModuleList(PerceiverBlock(width, num_heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width)

    def forward(self, tokens: Tensor, mask: Tensor) -> TokenFeatures:
        """Compress a batch; an empty batch and rows of no tokens are fine.

        Args:
            tokens: `[B, N, input_width]`.
            mask: `[B, N]` bool.

        Returns:
            `[B, num_latents, width]`, mask True; zeros and mask False for rows without a real token.

        Raises:
            ConfigError: Tokens of another width, or more of them than learned positions.
        """
        if tokens.shape[-1] != self.input_width:
            raise ConfigError(
                f"perceiver: expected tokens of width {self.input_width}, got {tokens.shape[-1]}"
            )
        tokens = tokens.masked_fill(~mask.unsqueeze(-1), 0.0)  # zero times infinity would not be zero
        tokens = self.token_norm(self.read(tokens))
        if self.positions is not None:
            tokens = tokens + self.positions(mask)
        latents = self.latents.expand(len(tokens), -1, -1)
        for block in self.blocks:
            latents = block(latents, tokens, mask)
        something = mask.any(dim=1, keepdim=True)
        latents = self.norm(latents).masked_fill(~something.unsqueeze(-1), 0.0)
        return TokenFeatures(latents, something.expand(-1, self.num_latents))
