"""From features to words: prefix and decoder."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Final, Literal

from pydantic import Field

from edge_glass.config.sections.base import OneOf, Section
from edge_glass.config.sections.encoders import PerceiverConfig
from edge_glass.config.sections.large_models import LargeModelOptions, LoraOptions
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


class LoraConfig(LoraOptions):
    """Adapters on the linear layers of a causal LM."""

    targets: list[str] = Field(
        default=["attention", "mlp"],
        min_length=1,
        description="attention, mlp, all-linear, or ends of layer names such as q_proj.",
    )


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


class DecoderConfig(LargeModelOptions):
    """What writes the answer. The options of a large model are those of a causal_lm."""

    kind: Annotated[str, OneOf(DECODERS)] = Field(
        "causal_lm",
        description="A pretrained language model, a Tiny Recursive Model, or a plain small transformer.",
    )
    source: str = Field(
        "asset:smollm2-135m-instruct",
        description="causal_lm: asset:NAME, a local folder (safetensors or GGUF) or a Hugging Face hub id.",
    )
    lora: LoraConfig = LoraConfig()
    tokenizer: str | None = Field(
        None, description="trm, plain: take the tokenizer of this source; default: learn one from the texts."
    )
    vocabulary: int = Field(2048, ge=261, description="trm, plain: most tokens of a learned tokenizer.")
    size: SmallDecoderConfig = SmallDecoderConfig()
    recursion: RecursionConfig = RecursionConfig()

    @property
    def pretrained(self) -> bool:
        """Return whether it is a language model that was trained before; its width is not known yet."""
        return self.kind == "causal_lm"

    def unread(self) -> Iterator[tuple[tuple[str, ...], str]]:
        """Yield options that nothing reads, with the reason."""
        read = READ_BY_KIND.get(self.kind, READ_BY_KIND["trm"])
        others = (name for name in DecoderConfig.model_fields if name not in ("kind", *read))
        yield tuple(others), f"with decoder.kind {self.kind}"
        if "lora" in read and self.mode != "lora":
            yield ("lora",), f"with decoder.mode {self.mode}"
        if "dtype" in read and self.mode == "full":
            yield ("dtype",), "with decoder.mode full: trained weights are float32"
        if "tokenizer" in read and self.tokenizer is not None:
            yield ("vocabulary",), "with decoder.tokenizer"
        if "recursion" in read and not self.recursion.halting:
            yield ("recursion.halting_weight",), "without decoder.recursion.halting"


READ_BY_KIND: Final = {
    "causal_lm": ("source", "lora", *LargeModelOptions.model_fields),
    "trm": ("tokenizer", "vocabulary", "size", "recursion"),
    "plain": ("tokenizer", "vocabulary", "size"),
}
"""The options that a kind of decoder reads; of one that is added, those of trm."""
