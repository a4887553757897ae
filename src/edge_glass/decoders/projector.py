"""Token features of an encoder → a prefix in the embedding space of a decoder, at the decoder's scale."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from edge_glass.core.errors import ConfigError
from edge_glass.encoders.features import TokenFeatures
from edge_glass.encoders.perceiver import PerceiverResampler

# The mean of GELU(x)² over standard normal x: what is left of the variance after it.
_GELU_POWER = 0.425


class Projector(nn.Module):
    """`[B, N, in_width]` → `[B, N, out_width]`, or → `[B, num_latents, out_width]` with a Perceiver before.

    A decoder's embeddings are small (0.02 to 0.2 per number, by model) and a prefix fifty times as large
    drowns the words beside it for the first hundreds of steps. The tokens are normalised here, weights
    keep the variance, and the result is multiplied by `scale`: from the first step on the prefix has the RMS
    of the embeddings, whatever the scale of the encoder. The factor stands outside of the weights, so that
    Adam's steps, which do not know scale, are small beside them.

    Args:
        in_width: Numbers per token that come in.
        out_width: Numbers per embedding of the decoder.
        kind: linear, or mlp (linear, GELU, linear, `out_width` wide inside, as LLaVA 1.5).
        scale: RMS of the result at the start: `QwenDecoder.embedding_rms`.
        perceiver: Compresses the tokens first; its `input_width` is `in_width`.

    Raises:
        ConfigError: An unknown kind, widths that do not fit, or a scale that is not above 0.
    """

    scale: Tensor

    def __init__(
        self,
        in_width: int,
        out_width: int,
        kind: str = "mlp",
        scale: float = 1.0,
        perceiver: PerceiverResampler | None = None,
    ) -> None:
        super().__init__()
        for name, value in (("in_width", in_width), ("out_width", out_width)):
            if value < 1:
                raise ConfigError(f"projector: {name}: expected 1 or more, got {value}")
        if not (math.isfinite(scale) and scale > 0):
            raise ConfigError(f"projector: scale: expected a number above 0, got {scale}")
        if perceiver is not None and perceiver.input_width != in_width:
            raise ConfigError(
                f"projector: expected a perceiver that reads {in_width} numbers, got {perceiver.input_width}"
            )
        self.in_width = in_width
        self.width = out_width
        self.perceiver = perceiver
        inner = in_width if perceiver is None else perceiver.width
        self.norm = nn.LayerNorm(inner)
        self.project = _build(kind, inner, out_width)
        self.register_buffer("scale", torch.tensor(float(scale)))

    def forward(self, features: TokenFeatures) -> TokenFeatures:
        """Project a batch; an empty batch and rows of no tokens are fine.

        Args:
            features: Tokens `[B, N, in_width]` and their mask `[B, N]`.

        Returns:
            `[B, M, out_width]`, zero where the mask is False.

        Raises:
            ConfigError: Tokens of another width.
        """
        if features.tokens.shape[-1] != self.in_width:
            raise ConfigError(
                f"projector: expected tokens that are {self.in_width} wide, got {features.tokens.shape[-1]}"
            )
        if self.perceiver is not None:
            features = self.perceiver(features.tokens, features.mask)
        padding = ~features.mask.unsqueeze(-1)
        tokens = features.tokens.masked_fill(padding, 0.0)  # zero times infinity would not be zero
        projected = self.project(self.norm(tokens)) * self.scale
        return TokenFeatures(projected.masked_fill(padding, 0.0), features.mask)


def _build(kind: str, in_width: int, out_width: int) -> nn.Module:
    kinds: dict[str, Callable[[], nn.Module]] = {
        "linear": lambda: _linear(in_width, out_width, 1.0),
        "mlp": lambda: nn.Sequential(
            _linear(in_width, out_width, 1.0), nn.GELU(), _linear(out_width, out_width, _GELU_POWER)
        ),
    }
    if kind not in kinds:
        raise ConfigError(f"projector: kind: expected linear or mlp, got {kind!r}")
    return kinds[kind]()


def _linear(in_width: int, out_width: int, power: float) -> nn.Linear:
    """Build a linear map whose results have variance 1 when the mean square of its inputs is `power`."""
    linear = nn.Linear(in_width, out_width)
    nn.init.normal_(linear.weight, std=1.0 / math.sqrt(in_width * power))
    nn.init.zeros_(linear.bias)
    return linear
