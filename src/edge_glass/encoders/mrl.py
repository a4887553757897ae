"""Matryoshka embeddings: one projection whose first d numbers are an embedding of their own."""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edge_glass.core.errors import ConfigError


def truncate_and_normalize(x: Tensor, dim: int | None = None) -> Tensor:
    """Cut to the first `dim` numbers, then L2-normalise: the one way an embedding is ever made.

    The other order would give vectors shorter than 1, whose dot product is no cosine.

    Args:
        x: `[..., D]` un-normalised.
        dim: 1 to D; None for D.

    Returns:
        `[..., dim]` of norm 1 (a zero vector stays zero).

    Raises:
        ConfigError: `dim` is out of range.
    """
    width = x.shape[-1]
    dim = width if dim is None else dim
    if not 1 <= dim <= width:
        raise ConfigError(f"embedding dimension {dim} asked for; this embedding has 1 to {width}")
    return F.normalize(x[..., :dim], dim=-1)


def matryoshka_dimensions(full: int, dimensions: Iterable[int]) -> list[int]:
    """Sort dimensions: descending, unique, with the full one first.

    Raises:
        ConfigError: A dimension below 1 or above `full`.
    """
    wrong = [dim for dim in dimensions if not 1 <= dim <= full]
    if wrong:
        raise ConfigError(
            f"mrl_dimensions: expected values from 1 to projection_dim ({full}), got {wrong[0]}"
        )
    return sorted({full, *dimensions}, reverse=True)


class MRLProjection(nn.Module):
    """Pooled features → shared embedding space.

    Args:
        in_dim: Width of the pooled features.
        out_dim: Width of the embedding.
        mrl_dimensions: Matryoshka dimensions; the full one is always among them.
        kind: linear (dropout, linear), mlp (dropout, linear, GELU, dropout, linear) or residual (their sum).
        hidden_dim: Width of the hidden layer of the mlp.
        dropout: On the features and inside the mlp.

    Attributes:
        dimensions: Descending, unique, `out_dim` first.
    """

    def __init__(
        self,
        in_dim: int,
        out_dim: int,
        mrl_dimensions: Iterable[int] = (),
        kind: str = "linear",
        hidden_dim: int = 1024,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.dimensions = matryoshka_dimensions(out_dim, list(mrl_dimensions))
        self.net = build_head(kind, in_dim, out_dim, hidden_dim, dropout)

    @property
    def out_dim(self) -> int:
        """Width of the full embedding."""
        return self.dimensions[0]

    def forward(self, x: Tensor) -> Tensor:
        """Map `[B, in_dim]` → `[B, out_dim]`, not normalised."""
        return self.net(x)

    @torch.no_grad()
    def start_from(self, weights: Tensor, offset: Tensor) -> None:
        """Set the linear map to `x @ weights - offset`; columns that `weights` lacks become zero.

        Args:
            weights: `[in_dim, k]`; columns beyond `out_dim` are left out.
            offset: `[k]`.

        Raises:
            ConfigError: An mlp, which has no linear map.
        """
        part = self.net.linear if isinstance(self.net, ResidualHead) else self.net
        if not (isinstance(part, nn.Sequential) and isinstance(part[-1], nn.Linear) and len(part) == 2):
            raise ConfigError(
                "training.warm_start needs head.kind linear or residual; an mlp has no linear map"
            )
        linear = part[-1]
        columns = min(weights.shape[1], self.out_dim)
        linear.weight.zero_()
        linear.weight[:columns] = weights[:, :columns].T.to(linear.weight)
        linear.bias.zero_()
        linear.bias[:columns] = -offset[:columns].to(linear.bias)

    def embed(self, x: Tensor, dim: int | None = None) -> Tensor:
        """Map `[B, in_dim]` → `[B, dim]` of norm 1; `dim` None is the full one."""
        return truncate_and_normalize(self(x), dim)


def build_head(kind: str, in_dim: int, out_dim: int, hidden_dim: int, dropout: float) -> nn.Module:
    """Make the trained layers of a projection.

    Raises:
        ConfigError: An unknown kind.
    """
    if kind == "linear":
        return nn.Sequential(nn.Dropout(dropout), nn.Linear(in_dim, out_dim))
    if kind == "mlp":
        return nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(in_dim, hidden_dim),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(hidden_dim, out_dim),
        )
    if kind == "residual":
        return ResidualHead(in_dim, out_dim, hidden_dim, dropout)
    raise ConfigError(f"head.kind: expected linear, mlp or residual, got {kind!r}")


class ResidualHead(nn.Module):
    """A linear map plus an mlp whose last layer starts at zero: it begins as the linear map alone."""

    def __init__(self, in_dim: int, out_dim: int, hidden_dim: int, dropout: float) -> None:
        super().__init__()
        self.linear = build_head("linear", in_dim, out_dim, hidden_dim, 0.0)
        self.mlp = build_head("mlp", in_dim, out_dim, hidden_dim, dropout)
        for parameter in self.mlp[-1].parameters():  # type: ignore[index]
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        """Map `[B, in_dim]` → `[B, out_dim]`."""
        return self.linear(x) + self.mlp(x)
