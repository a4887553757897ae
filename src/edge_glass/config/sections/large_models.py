"""What pretrained language and vision-language models share: options, and checks of them."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from edge_glass.config.sections.base import Problem, Section
from edge_glass.config.sections.training import TrainingConfig


class LoraOptions(Section):
    """Adapters beside linear layers; which layers, the sections built on this say."""

    rank: int = Field(16, ge=1, description="Width of the adapters.")
    alpha: float = Field(32.0, gt=0.0, description="What adapters add is multiplied by alpha / rank.")
    dropout: float = Field(0.0, ge=0.0, lt=1.0, description="Dropout on the input of the adapters.")
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
    dtype: Literal["float32", "bfloat16"] = Field("float32", description="Number format of frozen weights.")


class WritingOptions(Section):
    """How words are chosen; greedy by default."""

    max_new_tokens: int | None = Field(
        None, ge=1, description="Longest answer in tokens; default: dataset.max_answer_length."
    )
    do_sample: bool = Field(False, description="Draw tokens instead of taking the best.")
    temperature: float = Field(1.0, gt=0.0, description="Sampling: above 1 is more random, below less.")
    top_p: float = Field(
        1.0, gt=0.0, le=1.0, description="Sampling: the likeliest tokens of this total probability."
    )
    num_beams: int = Field(1, ge=1, description="Beam search; 1 is greedy.")


class GenerationConfig(WritingOptions):
    """How answers are written, when measuring and when asked."""

    batch_size: int = Field(64, ge=1, description="Questions answered at a time.")


def large_model_settings(name: str, model: LargeModelOptions, training: TrainingConfig) -> Iterator[Problem]:
    """Yield quantised weights that are trained, and what needs a GPU in a run that is kept off it.

    Args:
        name: The section that the model stands in.
        model: The section.
        training: Says on which device.
    """
    quantized = model.quantization != "none"
    if quantized and model.mode == "full":
        yield Problem(
            (name, "quantization"),
            f"is {model.quantization}, but {name}.mode full trains the weights themselves; "
            "set it to none, or mode to lora",
        )
    if training.device != "cpu":
        return
    if quantized:
        yield Problem(
            (name, "quantization"),
            f"is {model.quantization}, which uses a GPU where there is one, but training.device is cpu; "
            "leave training.device at auto, or set it to none",
        )
    if model.attention == "flash":
        yield Problem(
            (name, "attention"), "is flash, which needs a GPU, but training.device is cpu; use sdpa"
        )


def large_model_packages(name: str, model: LargeModelOptions) -> Iterator[Problem]:
    """Yield packages that quantization and flash attention need and that are not installed."""
    if model.quantization != "none" and importlib.util.find_spec("bitsandbytes") is None:
        yield Problem(
            (name, "quantization"),
            f"is {model.quantization}, which needs bitsandbytes, which is not installed; "
            "pip install 'edge-glass[quantization]', or set it to none",
        )
    if model.attention == "flash" and importlib.util.find_spec("flash_attn") is None:
        yield Problem(
            (name, "attention"),
            "is flash, which needs a GPU and flash-attn, which is not installed; "
            "pip install flash-attn, or use sdpa",
        )


def generation_settings(generation: GenerationConfig) -> Iterator[Problem]:
    """Yield sampling beside beam search."""
    if generation.do_sample and generation.num_beams > 1:
        yield Problem(
            ("generation", "do_sample"),
            f"is true, but generation.num_beams is {generation.num_beams}; sample, or search with beams",
        )
