"""`PrefixTower`: one modality's way into the tokens that a decoder reads before its words."""

from __future__ import annotations

import torch
from torch import Tensor

from edge_glass.config.schema import PrefixConfig
from edge_glass.core.errors import ConfigError
from edge_glass.decoders.projector import Projector
from edge_glass.encoders.features import TokenFeatures
from edge_glass.encoders.normalization import Standardizer
from edge_glass.encoders.perceiver import PerceiverResampler
from edge_glass.encoders.pooling import Pooling, build_pooling, pooled_width
from edge_glass.encoders.tower import Encoder, EncoderTower, Raw, seeded


class PrefixTower(EncoderTower[Encoder]):
    """Encoder → pooling (→ standardiser) → projector (with a Perceiver, where wanted).

    Args:
        encoder: Gives token features.
        pooling: Keeps all tokens, fewer, or one; nothing in it is learned.
        projector: Features → the decoder's embedding space.
        standardizer: Brings each of the features' numbers to one scale first: what only a few small numbers
            tell, such as a colour, is then learned as soon as the rest.
    """

    def __init__(
        self,
        encoder: Encoder,
        pooling: Pooling,
        projector: Projector,
        standardizer: Standardizer | None = None,
    ) -> None:
        super().__init__(encoder, pooling)
        self.projector = projector
        self.standardizer = standardizer

    @property
    def device(self) -> torch.device:
        return self.projector.scale.device

    def forward(self, raw: Raw) -> TokenFeatures:
        """What `features` takes, or gives → prefix tokens `[n, P, width]` with their mask."""
        tokens, mask = self.features(raw)
        if self.standardizer is not None:
            tokens = self.standardizer(tokens)
        return self.projector(TokenFeatures(tokens, mask))


def build_prefix_tower(
    name: str,
    encoder: Encoder,
    pooling_type: str,
    grid_size: int,
    prefix: PrefixConfig,
    width: int,
    scale: float,
    seed: int,
) -> PrefixTower[Encoder]:
    """A tower with a fresh projector.

    Args:
        name: Of the modality.
        encoder: Its encoder.
        pooling_type: none, grid, mean, cls or mean_max.
        grid_size: Of grid.
        prefix: Shape of the projector.
        width: Of the decoder's embeddings.
        scale: Their RMS.
        seed: Of the first weights.

    Raises:
        ConfigError: Class-token pooling over an encoder without one, or sizes that do not fit.
    """
    if pooling_type == "cls" and not getattr(encoder, "has_cls_token", False):
        raise ConfigError(
            f"{name}_encoder.pooling_type is cls, but this encoder has no class token; use mean"
        )
    pooling = build_pooling(pooling_type, encoder.width, grid_size=grid_size)
    if pooling.learned or pooling.measured:
        raise ConfigError(
            f"{name}_encoder.pooling_type: expected one with nothing to learn or measure, such as mean; got "
            f"{pooling_type}. prefix.perceiver learns what the decoder reads"
        )
    inner = pooled_width(pooling, encoder.width)
    with seeded(seed, f"prefix.{name}"):
        perceiver = None
        if prefix.perceiver is not None:
            narrow = min(inner, width)  # as wide as a large language model it would be larger than all else
            perceiver = PerceiverResampler(narrow, input_width=inner, **prefix.perceiver.model_dump())
        projector = Projector(inner, width, prefix.projector, scale, perceiver)
    return PrefixTower(encoder, pooling, projector, Standardizer(inner) if prefix.standardize else None)


def spread(distinct: TokenFeatures, place: Tensor) -> TokenFeatures:
    """Tokens of a batch's distinct items `[n, P, D]` → of its rows `[B, P, D]`; -1 in `place` is none."""
    tokens, mask = distinct
    nothing = tokens.new_zeros(1, *tokens.shape[1:])
    return TokenFeatures(
        torch.cat([tokens, nothing])[place], torch.cat([mask, mask.new_zeros(1, mask.shape[1])])[place]
    )
