"""Checks across fields for the task instruction: prefix, decoder, generation, comparisons."""

from __future__ import annotations

from collections.abc import Iterator

from edge_glass.config.checks import large_models
from edge_glass.config.problems import Problem
from edge_glass.config.schema import ExperimentConfig

_POOLINGS = {
    "vision_encoder": (None, "none", "grid", "mean", "cls"),
    "audio_encoder": ("none", "mean", "mean_max"),
}
_WHOLE_PICTURE = ("grid", "cls")


def prefix_pooling(config: ExperimentConfig) -> Iterator[Problem]:
    """Poolings before the prefix have nothing to learn; a Perceiver stands in the prefix itself."""
    for name, allowed in _POOLINGS.items():
        encoder = getattr(config, name)
        if encoder is not None and encoder.pooling_type not in allowed:
            *first, last = filter(None, allowed)
            yield Problem(
                (name, "pooling_type"),
                f"is {encoder.pooling_type}, which the task instruction does not have; expected "
                f"{', '.join(first)} or {last}; prefix.perceiver is the pooling that learns",
            )
    vision = config.vision_encoder
    if vision.feature_layers and vision.pooling_type in _WHOLE_PICTURE:
        yield Problem(
            ("vision_encoder", "pooling_type"),
            f"is {vision.pooling_type}, but vision_encoder.feature_layers are pooled over their places "
            "already, into one token; leave one of the two out",
        )


def prefix_fusion(config: ExperimentConfig) -> Iterator[Problem]:
    """A fusion has two modalities to join."""
    if config.fusion is not None and config.audio_encoder is None:
        yield Problem(
            ("fusion",),
            "joins pictures and sounds, but there are only pictures; "
            "give an audio_encoder, or leave fusion out",
        )


def blindness(config: ExperimentConfig) -> Iterator[Problem]:
    """Without a prefix there is still something to train."""
    if config.decoder.kind != "causal_lm" or config.decoder.mode != "frozen":
        return
    if config.prefix.blind:
        yield Problem(
            ("prefix", "blind"),
            "is true and decoder.mode is frozen: nothing would be trained; set decoder.mode to lora",
        )
    elif "blind" in config.evaluation.compare_with:
        yield Problem(
            ("evaluation", "compare_with"),
            "has blind, a run without the prefix, but with decoder.mode frozen only the prefix is trained; "
            "leave blind out",
        )


def comparisons(config: ExperimentConfig) -> Iterator[Problem]:
    """What a run is compared with exists, and differs from it."""
    path = ("evaluation", "compare_with")
    named = config.evaluation.compare_with
    for index, name in enumerate(named):
        if name in named[:index]:
            yield Problem((*path, index), f"{name} stands twice; keep one")
        elif name != "blind" and config.decoder.kind != "trm":
            yield Problem(
                (*path, index),
                f"{name} is a plain decoder beside a trm, but decoder.kind is {config.decoder.kind}; "
                "leave it out",
            )
        elif name == "blind" and config.prefix.blind:
            yield Problem((*path, index), "blind is what this run is (prefix.blind); leave it out")


def decoder_sizes(config: ExperimentConfig) -> Iterator[Problem]:
    """Attention heads divide the width of a small decoder; a language model's is known when it is loaded."""
    if config.decoder.kind == "causal_lm":
        return
    size = config.decoder.size
    width, heads = size.width, size.heads
    if width % heads or (width // heads) % 2:
        odd = f"makes heads of {width // heads} numbers, which must be even (rotary positions)"
        wrong = f"does not divide decoder.size.width ({width})" if width % heads else odd
        yield Problem(("decoder", "size", "heads"), f"is {heads}, which {wrong}")
    others = {
        ("prefix", "perceiver", "num_heads"): config.prefix.perceiver and config.prefix.perceiver.num_heads,
        ("fusion", "num_heads"): config.fusion
        and config.fusion.kind == "cross_attention"
        and config.fusion.num_heads,
    }
    for path, number in others.items():
        if number and width % number:
            yield Problem(path, f"is {number}, which does not divide the decoder's width, {width}")


def decoder_on_gpu(config: ExperimentConfig) -> Iterator[Problem]:
    """Quantised weights and flash attention need a GPU; quantised weights cannot be trained."""
    if config.decoder.kind == "causal_lm":
        yield from large_models.trained_quantized(config, "decoder")
        yield from large_models.without_gpu(config, "decoder")


def decoder_packages(config: ExperimentConfig) -> Iterator[Problem]:
    """What quantization and flash attention need is installed."""
    if config.decoder.kind == "causal_lm":
        yield from large_models.missing_packages(config, "decoder")


def generation(config: ExperimentConfig) -> Iterator[Problem]:
    """Words are drawn, or searched for with beams."""
    if config.generation.do_sample and config.generation.num_beams > 1:
        yield Problem(
            ("generation", "do_sample"),
            f"is true, but generation.num_beams is {config.generation.num_beams}; "
            "sample, or search with beams",
        )
