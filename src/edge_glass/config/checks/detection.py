"""Checks across fields for the task detection: model, size of pictures, how boxes are asked for."""

from __future__ import annotations

import re
from collections.abc import Iterator

from edge_glass.config.checks import large_models
from edge_glass.config.problems import Problem
from edge_glass.config.schema import ExperimentConfig
from edge_glass.config.sections.detection import token_side

# Tokens a picture may take at most, at least. The demo scripts of Qwen's fine-tuning guide set 50,176 pixels,
# 64 tokens, at which small things are gone before the model looks.
FEWEST_TOKENS = 128

_PLACEHOLDER = re.compile(r"\{(\w*)\}")


def collator(config: ExperimentConfig) -> Iterator[Problem]:
    """The basic collator cannot tell prompt from answer."""
    if config.detection.collator == "v1" and config.detection.mask == "assistant_only":
        yield Problem(
            ("detection", "collator"),
            "is v1, which trains on all words, but detection.mask is assistant_only; use v2 or v3, "
            "or set detection.mask to all_tokens",
        )


def prompt(config: ExperimentConfig) -> Iterator[Problem]:
    """The prompt has no placeholder but {categories}; braces around other things, as in JSON, are text."""
    for name in _PLACEHOLDER.findall(config.detection.prompt):
        if name != "categories":
            yield Problem(
                ("detection", "prompt"),
                f"has {{{name}}}, which nothing is put in for; expected {{categories}}",
            )


def categories(config: ExperimentConfig) -> Iterator[Problem]:
    """Each category is looked for once."""
    names = [name.casefold() for name in config.dataset.categories or []]
    for index, name in enumerate(names):
        if name in names[:index]:
            yield Problem(("dataset", "categories", index), f"{name} stands twice; keep one")
        elif not name.strip():
            yield Problem(("dataset", "categories", index), "is empty; expected the name of a category")


def trained_part(config: ExperimentConfig) -> Iterator[Problem]:
    """Something is trained, and what is not trained means something already."""
    vlm = config.vlm
    lora = vlm.lora
    if vlm.mode == "frozen":
        yield Problem(("vlm", "mode"), "is frozen: nothing would be trained; set it to lora or full")
    elif vlm.mode == "lora" and not (lora.llm or lora.projector or lora.vision):
        yield Problem(
            ("vlm", "lora", "llm"),
            "is empty, and so are projector and vision: nothing would be trained; give attention or mlp",
        )
    elif vlm.mode == "lora" and vlm.source is None and not config.tiny:
        yield Problem(
            ("vlm", "mode"),
            "is lora, but without vlm.source the weights are random, and most of them would stay so; "
            "set it to full, or give vlm.source",
        )


def pixel_budget(config: ExperimentConfig) -> Iterator[Problem]:
    """Pictures keep enough pixels to find something in them."""
    vlm = config.vlm
    token = token_side(vlm.family) ** 2
    tokens, path = vlm.max_pixels // token, ("vlm", "max_pixels")
    if vlm.min_pixels > vlm.max_pixels:
        yield Problem(("vlm", "min_pixels"), f"is {vlm.min_pixels}, above vlm.max_pixels ({vlm.max_pixels})")
    elif tokens == 0:
        yield Problem(path, f"is {vlm.max_pixels}, less than one token of {vlm.family} ({token} pixels)")
    elif tokens < FEWEST_TOKENS and vlm.source is not None and vlm.min_pixels < vlm.max_pixels:
        yield Problem(
            path,
            f"is {vlm.max_pixels}, at most {tokens} tokens a picture, too coarse to find small things; give "
            f"{FEWEST_TOKENS * token} ({FEWEST_TOKENS} tokens) or more, or insist by setting vlm.min_pixels "
            "to the same",
        )
    most = config.detection.max_tokens
    fewest = -(-vlm.min_pixels // token)
    if most is not None and most <= fewest:
        yield Problem(
            ("detection", "max_tokens"),
            f"is {most}, but a picture alone takes {fewest} (vlm.min_pixels); raise it, or lower that",
        )


def model_sizes(config: ExperimentConfig) -> Iterator[Problem]:
    """Attention heads divide the widths of a model from random weights, with room for rotary positions."""
    if config.vlm.source is not None:
        return
    size = config.vlm.size
    for part, width, heads, multiple in (
        ("", size.width, size.heads, 2),
        ("vision_", size.vision_width, size.vision_heads, 4),  # positions of two axes
    ):
        if width % heads == 0 and width // heads % multiple == 0:
            continue
        wrong = f"does not divide vlm.size.{part}width ({width})"
        if width % heads == 0:
            needed = "even" if multiple == 2 else f"a multiple of {multiple}"
            wrong = f"makes heads of {width // heads} numbers, which must be {needed} (rotary positions)"
        yield Problem(("vlm", "size", f"{part}heads"), f"is {heads}, which {wrong}")


def precision(config: ExperimentConfig) -> Iterator[Problem]:
    """fp16 has too small a range for the activations of these models."""
    if config.training.precision == "fp16" and config.training.device != "cpu":
        yield Problem(
            ("training", "precision"), "is fp16, in which Qwen's activations overflow; use bf16 or auto"
        )


def model_on_gpu(config: ExperimentConfig) -> Iterator[Problem]:
    """Quantised weights and flash attention need a GPU; quantised weights exist, and stay as they are."""
    vlm = config.vlm
    yield from large_models.trained_quantized(config, "vlm")
    if vlm.quantization != "none" and vlm.mode != "full" and vlm.source is None:
        yield Problem(
            ("vlm", "quantization"),
            f"is {vlm.quantization}, but without vlm.source the weights are random; set it to none",
        )
    yield from large_models.without_gpu(config, "vlm")


def model_packages(config: ExperimentConfig) -> Iterator[Problem]:
    """What quantization and flash attention need is installed."""
    if config.task == "detection":
        yield from large_models.missing_packages(config, "vlm")
