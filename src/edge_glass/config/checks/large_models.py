"""Checks of the settings that language and vision-language models share: quantization, attention, writing."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator

from edge_glass.config.sections.base import Problem
from edge_glass.config.sections.large_models import GenerationConfig, LargeModelOptions
from edge_glass.config.sections.training import TrainingConfig


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
