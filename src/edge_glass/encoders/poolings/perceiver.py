"""The mean of the latents of a Perceiver."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from edge_glass.core.errors import ConfigError
from edge_glass.encoders.perceiver import PerceiverResampler
from edge_glass.encoders.pooling import Pooling, PoolingOptions

OPTIONS = ("num_latents", "depth", "num_heads", "positions", "max_tokens")


class PerceiverPooling(Pooling):
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
        """Map `[B, N, D]`, `[B, N]` bool → `[B, D]`."""
        return self.resampler(tokens, mask).tokens.mean(dim=1)


def build(width: int, options: PoolingOptions) -> PerceiverPooling:
    """Return it for tokens of `width` numbers.

    Raises:
        ConfigError: An option that a resampler does not have.
    """
    chosen = {"num_heads": options.num_heads, **options.perceiver}
    unknown = [name for name in chosen if name not in OPTIONS]
    if unknown:
        raise ConfigError(f"perceiver: expected options among {', '.join(OPTIONS)}; got {unknown[0]!r}")
    return PerceiverPooling(width, **chosen)
