"""Tokens → one vector, or fewer tokens: what a pooling is. The kinds are the files of `poolings/`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from edge_glass.config.sections.encoders import POOLINGS
from edge_glass.encoders.features import TokenFeatures


class Pooling(nn.Module, ABC):
    """Base of all poolings. Padding never changes a result; a row of nothing but padding gives zeros.

    Attributes:
        learned: Gradients train it, so that what it gives cannot be cached.
        measured: Its `fit` has to see tokens of training rows first.
        keeps_tokens: It gives `TokenFeatures` `[B, M, D]`, made for a prefix, instead of vectors `[B, D]`.
        out_dim: Numbers of what it gives; None: as many as a token has.
    """

    learned: bool = False
    measured: bool = False
    keeps_tokens: bool = False
    out_dim: int | None = None

    @property
    def fingerprint(self) -> str:
        """Name what is computed, in the key of the feature cache; only of a pooling that is not learned."""
        return type(self).__name__

    def fit(self, tokens: Tensor) -> None:
        """Look once at tokens `[N, D]` of training rows, where `measured`."""

    @abstractmethod
    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor | TokenFeatures:
        """Pool tokens `[B, N, D]` where `mask` `[B, N]` bool marks the real ones; B and N may be 0."""


@dataclass(frozen=True)
class PoolingOptions:
    """What an experiment says besides the kind; a pooling reads what it needs.

    Attributes:
        num_heads: Attention heads.
        perceiver: Options of a resampler: num_latents, depth, num_heads, positions, max_tokens.
        grid_size: Fields per side of a grid.
    """

    num_heads: int = 8
    perceiver: Mapping[str, Any] = field(default_factory=dict)
    grid_size: int = 3


def build_pooling(
    kind: str,
    width: int,
    num_heads: int = 8,
    perceiver: Mapping[str, Any] | None = None,
    grid_size: int = 3,
) -> Pooling:
    """Make a pooling by its name in the experiment file.

    Args:
        kind: A file of `poolings/`, such as mean.
        width: Numbers per token.
        num_heads: See `PoolingOptions`, as for the others.
        perceiver: None for its defaults.
        grid_size: Fields per side of grid.

    Raises:
        ConfigError: An unknown kind or option, or sizes that do not fit.
    """
    pooling: Pooling = POOLINGS.load(kind).build(width, PoolingOptions(num_heads, perceiver or {}, grid_size))
    return pooling


def pooled_width(pooling: Pooling, width: int) -> int:
    """Return the numbers of a pooled vector over tokens of `width` numbers."""
    return width if pooling.out_dim is None else pooling.out_dim


def clean(tokens: Tensor, mask: Tensor) -> Tensor:
    """Zero the padding; multiplying by the mask would let infinities through."""
    return tokens.masked_fill(~mask.unsqueeze(-1), 0.0)
