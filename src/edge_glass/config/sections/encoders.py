"""From pictures, words and sounds to features and embeddings."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field

from edge_glass.config.sections.base import OneOf, Section
from edge_glass.core.registry import Registry

POOLINGS: Final = Registry("edge_glass.encoders.poolings", "pooling")
"""One file each; see `edge_glass.encoders.pooling`."""

KEEP_TOKENS: Final = ("grid", "none")
"""Poolings that give several tokens, for a prefix; a new one is refused when a tower is built."""

LEARNED: Final = ("multihead", "perceiver", "simple")
"""Poolings that gradients train: never of a prefix, whose resampler is the prefix's own."""

MEASURED: Final = ("codebook",)
"""Poolings that look at training rows first, which the task instruction does not let them."""


class HeadConfig(Section):
    """The trained part on top of an encoder: pooled features → embedding."""

    kind: Literal["linear", "mlp", "residual"] = Field(
        "linear", description="Shape of the projection; residual is linear plus an mlp that starts at zero."
    )
    hidden_dim: int = Field(1024, ge=1, description="Width of the hidden layer (mlp, residual).")
    dropout: float = Field(0.0, ge=0.0, lt=1.0, description="Dropout on the features and inside the mlp.")
    components: int | None = Field(
        None,
        ge=1,
        description="Standardise the pooled features and keep so many principal components, measured on the "
        "training rows; default: features as they are.",
    )


class PerceiverConfig(Section):
    """A resampler: any number of tokens in, a fixed number of latents out."""

    num_latents: int = Field(
        16, ge=1, description="Latents: tokens of the prefix, or averaged into one vector (pooling_type)."
    )
    depth: int = Field(2, ge=1, description="Blocks of cross attention and feed-forward.")
    num_heads: int = Field(
        8, ge=1, description="Attention heads; they divide the encoder's width (prefix: the decoder's)."
    )
    positions: Literal["none", "fourier", "learned"] = Field(
        "none", description="What tells the latents where a token stands."
    )


class EncoderConfig(Section):
    """What every encoder has."""

    frozen: bool = Field(True, description="Keep the encoder's weights as they are.")


class VisionEncoderConfig(EncoderConfig):
    """The picture side: where the encoder comes from, and which of its features are used."""

    source: str = Field(
        "asset:efficientnet-lite0",
        description="asset:NAME, a local folder, timm/NAME or hf-hub:ID for timm, or a Hugging Face hub id.",
    )
    image_size: int | None = Field(
        None, ge=16, description="Side of the square picture; default: the encoder's."
    )
    feature_layers: list[str] = Field(
        default=[],
        description="Join features of these layers, each pooled over its places, instead of the last one; "
        "* stands for anything between two dots.",
    )
    layer_pooling: Literal["max", "mean"] = Field("max", description="How feature_layers are pooled.")


class AudioEncoderConfig(EncoderConfig):
    """The sound side: where the Whisper encoder comes from."""

    source: str = Field(
        "asset:whisper-tiny-en",
        description="asset:NAME, a local folder (transformers or CTranslate2 Whisper) or a hub id.",
    )


class TowerOptions(Section):
    """Alignment: what stands on an encoder, besides its pooling."""

    perceiver: PerceiverConfig = PerceiverConfig()
    head: HeadConfig = HeadConfig()


class VisionTowerConfig(VisionEncoderConfig, TowerOptions):
    """Alignment, the picture side: frozen encoder, pooling, projection, Matryoshka dimensions."""

    pooling_type: Annotated[str, OneOf(POOLINGS, but=KEEP_TOKENS)] | None = Field(
        None,
        description="How tokens become one vector: a file of edge_glass/encoders/poolings. Default: mean, or "
        "simple with use_attention_pooling.",
    )
    use_attention_pooling: bool = Field(
        False, description="Learn the pooling (simple unless pooling_type says)."
    )
    projection_dim: int = Field(1024, ge=1, le=4096, description="Width of the shared embedding space.")
    mrl_dimensions: list[int] = Field(
        default=[1024, 512, 256, 128], description="Matryoshka dimensions; the full one is always among them."
    )


class TextEncoderConfig(EncoderConfig, TowerOptions):
    """Alignment, the words side: frozen encoder, pooling, projection into the pictures' space."""

    source: str = Field("asset:all-minilm-l6-v2", description="asset:NAME, a local folder or a hub id.")
    feature_layers: list[int] = Field(
        default=[], description="Join the hidden states of these layers instead of the last; 0: embeddings."
    )
    pooling_type: Annotated[str, OneOf(POOLINGS, but=KEEP_TOKENS)] = Field(
        "mean", description="How tokens become one vector: a file of edge_glass/encoders/poolings."
    )


class AudioTowerConfig(AudioEncoderConfig, TowerOptions):
    """Alignment, the sound side: a Whisper encoder, pooling, projection into the pictures' space."""

    pooling_type: Annotated[str, OneOf(POOLINGS, but=(*KEEP_TOKENS, "cls"))] = Field(
        "mean_max",
        description="How tokens become one vector; codebook: their mean and a histogram of typical ones, "
        "measured on the training rows.",
    )


class VisionPrefixConfig(VisionEncoderConfig):
    """Instruction, the picture side: which of the encoder's tokens the prefix is made of."""

    pooling_type: Annotated[str, OneOf(POOLINGS, but=(*LEARNED, *MEASURED))] | None = Field(
        None,
        description="What is kept for the prefix: every token (none, the default), averages over grid_size x "
        "grid_size fields, or one vector.",
    )
    grid_size: int = Field(3, ge=1, description="Fields per side of pooling_type grid.")


class AudioPrefixConfig(AudioEncoderConfig):
    """Instruction, the sound side: which of the encoder's tokens the prefix is made of."""

    pooling_type: Annotated[str, OneOf(POOLINGS, but=(*LEARNED, *MEASURED, "cls", "grid"))] = Field(
        "mean_max",
        description="What is kept for the prefix: every token (none, for prefix.perceiver), or one vector.",
    )


class FusionConfig(Section):
    """Two modalities as one: the prefix of the task instruction."""

    kind: Literal["concat", "cross_attention", "gated"] = Field("gated", description="How they are joined.")
    num_heads: int = Field(8, ge=1, description="Attention heads of cross_attention.")


class QueryFusionConfig(FusionConfig):
    """Alignment: two modalities as one query for the third."""

    weight: float = Field(1.0, ge=0.0, description="Weight of the loss between fused queries and the third.")
