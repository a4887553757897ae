"""From features to words: prefix, decoder, generation."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field

from edge_glass.config.sections.base import OneOf, Section
from edge_glass.config.sections.encoders import PerceiverConfig
from edge_glass.core.registry import Registry

DECODERS: Final = Registry("edge_glass.decoders.kinds", "decoder")
"""One file each; see `edge_glass.decoders.decoder.DecoderKind`."""


class PrefixConfig(Section):
    """From what the encoders give to the tokens that a decoder reads before its words."""

    projector: Literal["linear", "mlp"] = Field("mlp", description="Map into the decoder's embedding space.")
    standardize: bool = Field(
        True, description="Bring each number of the features to one scale, measured on training rows."
    )
    perceiver: PerceiverConfig | None = Field(
        None, description="Resample each modality to a fixed number of tokens first."
    )
    blind: bool = Field(
        False, description="Leave the prefix out: how far do words alone get? A run to compare with."
    )


class LoraConfig(Section):
    """Adapters on the linear layers of a causal LM."""

    rank: int = Field(16, ge=1, description="Width of the adapters.")
    alpha: float = Field(32.0, gt=0.0, description="Their contribution is multiplied by alpha / rank.")
    dropout: float = Field(0.0, ge=0.0, lt=1.0, description="On the input of the adapters.")
    targets: list[str] = Field(
        default=["attention", "mlp"],
        min_length=1,
        description="attention, mlp, all-linear, or ends of layer names such as q_proj.",
    )
    rslora: bool = Field(False, description="Scale by the root of the rank instead.")
    dora: bool = Field(False, description="Train the magnitudes of the weights too.")


class SmallDecoderConfig(Section):
    """Sizes of a decoder that is trained from scratch (trm, plain)."""

    width: int = Field(256, ge=2, description="Numbers per token; heads divide it.")
    heads: int = Field(4, ge=1, description="Attention heads.")
    layers: int = Field(2, ge=1, description="Layers; those of a TRM are applied again and again.")
    hidden: int = Field(0, ge=0, description="Width inside the feed-forward; 0: 8/3 of the width.")


class RecursionConfig(Section):
    """How often a TRM thinks (Jolicoeur-Martineau 2025, arXiv 2510.04871)."""

    refinements: int = Field(2, ge=1, description="n: times the latent z is refined before the answer y is.")
    cycles: int = Field(2, ge=1, description="T: cycles, of which the last carries gradient.")
    supervision_steps: int = Field(2, ge=1, description="Times the answer is read and supervised.")
    halting: bool = Field(False, description="Learn to stop after fewer of them.")
    halting_weight: float = Field(0.5, ge=0.0, description="Weight of the halting loss.")


class DecoderConfig(Section):
    """What writes the answer."""

    kind: Annotated[str, OneOf(DECODERS)] = Field(
        "causal_lm",
        description="A pretrained language model, a Tiny Recursive Model, or a plain small transformer.",
    )
    source: str = Field(
        "asset:smollm2-135m-instruct",
        description="causal_lm: asset:NAME, a local folder (safetensors or GGUF) or a Hugging Face hub id.",
    )
    mode: Literal["frozen", "lora", "full"] = Field("lora", description="causal_lm: what of it is trained.")
    lora: LoraConfig = LoraConfig()
    quantization: Literal["none", "8bit", "4bit"] = Field(
        "none", description="causal_lm: bitsandbytes; slow on a CPU. Only the language model is quantised."
    )
    attention: Literal["sdpa", "flash", "eager"] = Field("sdpa", description="causal_lm: attention kernels.")
    gradient_checkpointing: bool = Field(
        False, description="causal_lm: compute activations again in the backward pass, to save memory."
    )
    dtype: Literal["float32", "bfloat16"] = Field("float32", description="causal_lm: of frozen weights.")
    tokenizer: str | None = Field(
        None, description="trm, plain: take the tokenizer of this source; default: learn one from the texts."
    )
    vocabulary: int = Field(2048, ge=261, description="trm, plain: most tokens of a learned tokenizer.")
    size: SmallDecoderConfig = SmallDecoderConfig()
    recursion: RecursionConfig = RecursionConfig()


class GenerationConfig(Section):
    """How answers are written, when measuring and when asked."""

    max_new_tokens: int | None = Field(
        None, ge=1, description="Longest answer in tokens; default: dataset.max_answer_length."
    )
    do_sample: bool = Field(False, description="Draw tokens instead of taking the best.")
    temperature: float = Field(1.0, gt=0.0, description="Of the sampling.")
    top_p: float = Field(1.0, gt=0.0, le=1.0, description="Of the sampling.")
    num_beams: int = Field(1, ge=1, description="Beam search; 1 is greedy.")
    batch_size: int = Field(64, ge=1, description="Questions answered at a time.")
