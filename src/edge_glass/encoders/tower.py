"""`Tower`: one modality's way into the shared space."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from edge_glass.config.schema import HeadConfig, PerceiverConfig
from edge_glass.core.errors import ConfigError
from edge_glass.encoders.audio import AudioEncoder
from edge_glass.encoders.features import TokenFeatures, fast_dtype
from edge_glass.encoders.mrl import MRLProjection
from edge_glass.encoders.normalization import FeatureNormalizer
from edge_glass.encoders.pooling import Pooling, build_pooling, pooled_width
from edge_glass.encoders.text import TextEncoder
from edge_glass.encoders.vision import VisionEncoder

Raw = Mapping[str, Tensor]
Encoder = TypeVar("Encoder", VisionEncoder, AudioEncoder, TextEncoder)


class EncoderTower(nn.Module, ABC, Generic[Encoder]):
    """Encoder → pooling: the part of a modality's way that a cache may keep when the encoder is frozen.

    Args:
        encoder: Gives token features.
        pooling: Tokens → one vector, or fewer tokens.
    """

    encoder: Encoder

    def __init__(self, encoder: Any, pooling: Pooling) -> None:
        super().__init__()
        self.encoder = encoder
        self.pooling = pooling

    @property
    def frozen_dtype(self) -> torch.dtype:
        """Arithmetic of a frozen encoder: one rule for training, cache, evaluation and search."""
        return fast_dtype(self.device)

    @property
    @abstractmethod
    def device(self) -> torch.device:
        """Where the trained part is; an encoder of another library may have no parameters of torch's."""

    def features(self, raw: Raw) -> TokenFeatures:
        """Compute the part that a feature cache may keep when the encoder is frozen.

        Args:
            raw: `{"pixels"}`, `{"mel", "frames"}` or `{"input_ids", "attention_mask"}`; `{"tokens", "mask"}`
                are features already.

        Returns:
            Tokens `[B, N, D]`; pooled (to N = 1, or fewer tokens) when the pooling has nothing to learn. What
            is pooled stays so.
        """
        features = self.tokens(raw)
        already = features.tokens.shape[-1] != self.encoder.width
        if self.pooling.learned or already:
            return features
        pooled = self.pooling(*features)
        if isinstance(pooled, TokenFeatures):
            return pooled
        return TokenFeatures(pooled.unsqueeze(1), features.mask.any(dim=1, keepdim=True))

    def tokens(self, raw: Raw) -> TokenFeatures:
        """Return what the encoder gives, not pooled: tokens `[B, N, D]`; `raw` as for `features`."""
        if "tokens" in raw:
            return TokenFeatures(raw["tokens"], raw["mask"])
        if not len(next(iter(raw.values()))):  # libraries differ in what they make of no rows
            nothing = torch.zeros(0, 1, self.encoder.width, device=self.device)
            return TokenFeatures(nothing, nothing[..., 0].bool())
        inputs: Any = raw.get("pixels", raw)
        if self.encoder.frozen:
            return self.encoder.frozen_forward(inputs, dtype=self.frozen_dtype)
        return self.encoder(inputs)


class Tower(EncoderTower[Encoder]):
    """Encoder → pooling (→ normaliser) → projection, for one modality.

    Args:
        encoder: Gives token features.
        pooling: Tokens → one vector.
        projection: Vector → embedding.
        normalizer: Brings pooled features to one scale before the projection.
    """

    def __init__(
        self,
        encoder: Encoder,
        pooling: Pooling,
        projection: MRLProjection,
        normalizer: FeatureNormalizer | None = None,
    ) -> None:
        super().__init__(encoder, pooling)
        self.normalizer = normalizer
        self.projection = projection

    @property
    def device(self) -> torch.device:
        return next(self.projection.parameters()).device

    def embed(self, features: TokenFeatures) -> Tensor:
        """Map tokens `[B, N, D]`, pooled or not → `[B, out_dim]`, not normalised."""
        return self.projection(self.normalized(self.pooled(features)))

    def pooled(self, features: TokenFeatures) -> Tensor:
        """Map tokens `[B, N, D]`, pooled or not → one vector a row."""
        if self.pooling.learned:
            return self.pooling(*features)
        return self.features(features._asdict()).tokens.squeeze(1)

    def normalized(self, pooled: Tensor) -> Tensor:
        """Bring pooled features `[B, D]` to what the projection expects."""
        return pooled if self.normalizer is None else self.normalizer(pooled)

    def forward(self, raw: Raw) -> Tensor:
        """Return `[B, out_dim]`, not normalised, of what `features` takes, or of `{"vectors"}`."""
        if "vectors" in raw:
            return self.projection(raw["vectors"])
        return self.embed(self.features(raw))


@contextmanager
def seeded(seed: int, component: str) -> Iterator[None]:
    """Draw a component's first weights from (seed, its name), leaving the global generator alone."""
    digest = hashlib.sha256(f"{seed}-{component}".encode()).digest()
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(int.from_bytes(digest[:8], "big"))
        yield


def build_tower(
    name: str,
    encoder: Encoder,
    pooling_type: str,
    perceiver: PerceiverConfig,
    head: HeadConfig,
    dimensions: list[int],
    seed: int,
) -> Tower[Encoder]:
    """Make a tower with fresh pooling and projection.

    Raises:
        ConfigError: A pooling that does not fit the encoder, a tower or its head.
    """
    if pooling_type == "cls" and not encoder.has_cls_token:
        raise ConfigError(
            f"{name}.pooling_type: expected mean or another, got cls; this encoder has no class token"
        )
    with seeded(seed, f"{name}.pooling"):
        pooling = build_pooling(pooling_type, encoder.width, perceiver=perceiver.model_dump())
    if pooling.keeps_tokens:
        raise ConfigError(
            f"{name}.pooling_type: expected one that gives one vector, such as mean; got {pooling_type}, "
            "which gives several tokens"
        )
    if pooling.learned and head.components is not None:
        raise ConfigError(
            f"{name}.head.components: expected null with a learned pooling; got {head.components}. They are "
            f"measured once, and pooling_type {pooling_type} goes on changing"
        )
    with seeded(seed, f"{name}.normalizer"):
        width = pooled_width(pooling, encoder.width)
        normalizer = FeatureNormalizer(width, head.components) if head.components else None
    with seeded(seed, f"{name}.projection"):
        projection = MRLProjection(
            width if normalizer is None else normalizer.out_dim,
            dimensions[0],
            dimensions,
            kind=head.kind,
            hidden_dim=head.hidden_dim,
            dropout=head.dropout,
        )
    return Tower(encoder, pooling, projection, normalizer)
