"""The causal block of the small decoders, with rotary positions and room for cached keys and values.

Pre-norm with RMSNorm (Zhang & Sennrich 2019, https://arxiv.org/abs/1910.07467), rotary positions
(Su et al. 2021, https://arxiv.org/abs/2104.09864), SwiGLU (Shazeer 2020, https://arxiv.org/abs/2002.05202).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edge_glass.core.errors import ConfigError
from edge_glass.encoders.perceiver import real_positions


class KeyValueCache:
    """Keys and values of every attention application of a decoder, for prompts and what follows.

    A tied layer that is applied many times has one slot per application: what it saw differs each time.

    Args:
        slots: Applications of attention in one pass.
        room: Longest sequence, prompt and answer together.
    """

    keys: Tensor  # `[slots, B, heads, room, d]`, made when the first keys come
    values: Tensor

    def __init__(self, slots: int, room: int) -> None:
        self.slots, self.room = slots, room
        self.length = 0  # positions that are filled; the pass in progress writes behind them

    def extend(self, slot: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Store `[B, heads, new, d]` behind what is there; give back all, `[B, heads, length + new, d]`."""
        if self.length == slot == 0:
            rows, heads, _, width = key.shape
            self.keys = key.new_zeros(self.slots, rows, heads, self.room, width)
            self.values = torch.zeros_like(self.keys)
        end = self.length + key.shape[2]
        self.keys[slot, :, :, self.length : end] = key
        self.values[slot, :, :, self.length : end] = value
        return self.keys[slot, :, :, :end], self.values[slot, :, :, :end]

    def reorder(self, rows: Tensor) -> None:
        """Make row i a copy of row `rows[i]`; there may be more rows afterwards, or fewer."""
        self.keys, self.values = self.keys[:, rows], self.values[:, rows]


class AttentionContext:
    """What one pass needs beside its vectors: angles, who sees whom, the cache.

    Args:
        mask: `[B, T]` bool over everything so far, True at real tokens; the pass is about the last `new`.
        new: Positions of the pass.
        rotary: Gives the angles.
        cache: None outside generation.
    """

    def __init__(self, mask: Tensor, new: int, rotary: Rotary, cache: KeyValueCache | None = None) -> None:
        total = mask.shape[1]
        self.cosine, self.sine = rotary(real_positions(mask)[:, total - new :])
        row = torch.arange(total - new, total, device=mask.device)[:, None]
        column = torch.arange(total, device=mask.device)
        # Padding sees itself as well: a softmax over nothing is NaN in some kernels, and spreads from there.
        self.seen = ((mask[:, None] & (column <= row)) | (column == row))[:, None]
        self.cache = cache
        self._slot = 0

    def next_slot(self) -> int:
        """Return the index of the attention application of this pass that is about to run."""
        self._slot += 1
        return self._slot - 1


class Rotary(nn.Module):
    """Angles of positions, a geometric series of frequencies over half the numbers of a head."""

    frequencies: Tensor

    def __init__(self, head_width: int, base: float = 10_000.0) -> None:
        super().__init__()
        exponents = torch.arange(0, head_width, 2) / head_width
        self.register_buffer("frequencies", base**-exponents, persistent=False)

    def forward(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Map `[B, S]` int64 → cosines and sines `[B, S, 1, 1, d / 2]` float32."""
        angles = positions[..., None, None, None] * self.frequencies.float()
        return angles.cos(), angles.sin()


def rotate(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Turn the pairs (i, i + d / 2) of `[B, S, any, H, d]` by their angles."""
    first, second = x.chunk(2, dim=-1)
    cosine, sine = cosine.to(x.dtype), sine.to(x.dtype)
    return torch.cat([first * cosine - second * sine, second * cosine + first * sine], dim=-1)


class CausalLayer(nn.Module):
    """Attention to what came before, then a SwiGLU; both pre-norm and residual.

    Args:
        width: D, divisible by `heads`; a head is an even number wide.
        heads: Attention heads.
        hidden: Width inside the SwiGLU.
    """

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        if heads < 1 or width % heads or (width // heads) % 2:
            raise ConfigError(f"decoder: expected heads of an even width, got {heads} heads in width {width}")
        self.heads = heads
        self.attention_norm = nn.RMSNorm(width, eps=1e-6)
        self.to_heads = nn.Linear(width, 3 * width, bias=False)
        self.from_heads = nn.Linear(width, width, bias=False)
        self.feed_norm = nn.RMSNorm(width, eps=1e-6)
        self.feed_in = nn.Linear(width, 2 * hidden, bias=False)
        self.feed_out = nn.Linear(hidden, width, bias=False)
        for linear in (self.to_heads, self.from_heads, self.feed_in, self.feed_out):
            nn.init.normal_(linear.weight, std=linear.in_features**-0.5)

    def forward(self, x: Tensor, context: AttentionContext) -> Tensor:
        """Map `[B, S, D]` → `[B, S, D]`."""
        x = x + self._attend(self.attention_norm(x), context)
        gate, value = self.feed_in(self.feed_norm(x)).chunk(2, dim=-1)
        return x + self.feed_out(F.silu(gate) * value)

    def _attend(self, x: Tensor, context: AttentionContext) -> Tensor:
        parts = self.to_heads(x).unflatten(-1, (3, self.heads, -1))
        turned = rotate(parts[:, :, :2], context.cosine, context.sine)
        query, key, value = (
            one.transpose(1, 2) for one in (turned[:, :, 0], turned[:, :, 1], parts[:, :, 2])
        )
        if context.cache is not None:
            key, value = context.cache.extend(context.next_slot(), key, value)
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=context.seen)
        return self.from_heads(mixed.transpose(1, 2).flatten(2))


class CausalBlock(nn.Module):
    """Layers and a norm at the end, so that what comes out has the scale of what went in, however often."""

    def __init__(self, width: int, heads: int, hidden: int, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(CausalLayer(width, heads, hidden) for _ in range(layers))
        self.norm = nn.RMSNorm(width, eps=1e-6)

    def forward(self, x: Tensor, context: AttentionContext) -> Tensor:
        """Map `[B, S, D]` → `[B, S, D]`."""
        for layer in self.layers:
            x = layer(x, context)
        return self.norm(x)
