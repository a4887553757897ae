"""What pretrained language and vision-language models share: adapters, number formats, writing."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from edge_glass.config.sections.base import Section


class LoraOptions(Section):
    """Adapters beside linear layers; which layers, the sections built on this say."""

    rank: int = Field(16, ge=1, description="Width of the adapters.")
    alpha: float = Field(32.0, gt=0.0, description="Their contribution is multiplied by alpha / rank.")
    dropout: float = Field(0.0, ge=0.0, lt=1.0, description="On the input of the adapters.")
    rslora: bool = Field(False, description="Scale by the root of the rank instead.")
    dora: bool = Field(False, description="Train the magnitudes of the weights too.")


class LargeModelOptions(Section):
    """How a pretrained model is loaded, and what of it is trained."""

    mode: Literal["frozen", "lora", "full"] = Field("lora", description="What of it is trained.")
    quantization: Literal["none", "8bit", "4bit"] = Field(
        "none",
        description="bitsandbytes; slow on a CPU. Only the language model's layers: vision tower, projector "
        "and head stay bfloat16.",
    )
    attention: Literal["sdpa", "flash", "eager"] = Field("sdpa", description="Attention kernels.")
    gradient_checkpointing: bool = Field(
        False, description="Compute activations again in the backward pass, to save memory."
    )
    dtype: Literal["float32", "bfloat16"] = Field("float32", description="Of frozen weights.")


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
