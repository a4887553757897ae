"""Checks of the settings that language and vision-language models share: quantization and attention."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from typing import Literal

from edge_glass.config.problems import Problem
from edge_glass.config.schema import ExperimentConfig

Section = Literal["decoder", "vlm"]


def trained_quantized(config: ExperimentConfig, name: Section) -> Iterator[Problem]:
    """Quantised weights stay as they are."""
    section = getattr(config, name)
    if section.quantization != "none" and section.mode == "full":
        yield Problem(
            (name, "quantization"),
            f"is {section.quantization}, but {name}.mode full trains the weights themselves; "
            "set it to none, or mode to lora",
        )


def without_gpu(config: ExperimentConfig, name: Section) -> Iterator[Problem]:
    """Flash attention needs a GPU, and quantised weights are loaded onto it where there is one."""
    section = getattr(config, name)
    if config.training.device != "cpu":
        return
    if section.quantization != "none":
        yield Problem(
            (name, "quantization"),
            f"is {section.quantization}, which uses a GPU where there is one, but training.device is cpu; "
            "leave training.device at auto, or set it to none",
        )
    if section.attention == "flash":
        yield Problem(
            (name, "attention"), "is flash, which needs a GPU, but training.device is cpu; use sdpa"
        )


def missing_packages(config: ExperimentConfig, name: Section) -> Iterator[Problem]:
    """What quantization and flash attention need is installed."""
    section = getattr(config, name)
    if section.quantization != "none" and importlib.util.find_spec("bitsandbytes") is None:
        yield Problem(
            (name, "quantization"),
            f"is {section.quantization}, which needs bitsandbytes, which is not installed; "
            "pip install 'edge-glass[quantization]', or set it to none",
        )
    if section.attention == "flash" and importlib.util.find_spec("flash_attn") is None:
        yield Problem(
            (name, "attention"),
            "is flash, which needs a GPU and flash-attn, which is not installed; "
            "pip install flash-attn, or use sdpa",
        )
