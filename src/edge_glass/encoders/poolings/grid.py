"""Means over the fields of a grid, which keep what is where."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor

from edge_glass.core.errors import ConfigError
from edge_glass.encoders.features import TokenFeatures
from edge_glass.encoders.pooling import Pooling, PoolingOptions, clean


class GridPooling(Pooling):
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

    keeps_tokens = True

    def __init__(self, side: int) -> None:
        super().__init__()
        if side < 1:
            raise ConfigError(f"grid pooling: expected a side of at least 1; got {side}")
        self.side = side

    @property
    def fingerprint(self) -> str:
        return f"{type(self).__name__} {self.side}"

    def require_places(self, tokens: int) -> int:
        """Return the places per side among so many tokens of a picture.

        Raises:
            ConfigError: There is no grid to be pooled.
        """
        places = math.isqrt(tokens)
        if places < min(self.side, 2):
            raise ConfigError(
                "pooling_type grid: expected an encoder that gives a token for each place of a picture; "
                f"got {tokens} token{'s' * (tokens != 1)}. With feature_layers that is always so: leave them "
                "out, or set pooling_type to none or mean"
            )
        return places

    def forward(self, tokens: Tensor, mask: Tensor) -> TokenFeatures:
        """Map `[B, N, D]`, `[B, N]` bool → `[B, side², D]`; fields of nothing but padding are padding.

        Raises:
            ConfigError: One token, as `require_places`.
        """
        places = self.require_places(tokens.shape[1])
        first = tokens.shape[1] - places**2
        grid = clean(tokens, mask)[:, first:].transpose(1, 2).unflatten(2, (places, places))
        real = mask[:, first:].to(tokens.dtype).view(-1, 1, places, places)
        means, share = (F.adaptive_avg_pool2d(one, self.side).flatten(2) for one in (grid, real))
        seen = share.squeeze(1) > 0
        return TokenFeatures((means / share.masked_fill(share == 0, 1.0)).transpose(1, 2), seen)


def build(width: int, options: PoolingOptions) -> GridPooling:
    """Return it for tokens of `width` numbers."""
    return GridPooling(options.grid_size)
