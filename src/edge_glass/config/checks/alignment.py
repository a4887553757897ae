"""Checks across fields for the task alignment."""

from __future__ import annotations

from collections.abc import Iterator

from edge_glass.config.problems import Problem
from edge_glass.config.schema import ExperimentConfig
from edge_glass.config.yaml_loader import KeyPath

_MANY_TOKENS = ("none", "grid")


def matryoshka(config: ExperimentConfig) -> Iterator[Problem]:
    """The dimensions fit into the embedding, and the loss that needs them has some."""
    encoder, losses = config.vision_encoder, config.losses
    path: KeyPath = ("vision_encoder", "mrl_dimensions")
    for dimension in encoder.mrl_dimensions:
        if dimension > encoder.projection_dim:
            yield Problem(
                path, f"{dimension} is larger than vision_encoder.projection_dim ({encoder.projection_dim})"
            )
        if dimension < 1:
            yield Problem(path, f"{dimension} is not a dimension; expected whole numbers of at least 1")
    if encoder.mrl_dimensions:
        return
    example = [encoder.projection_dim // share for share in (2, 4, 8) if encoder.projection_dim >= 2 * share]
    if losses.mrl > 0:
        yield Problem(
            ("losses", "mrl"),
            f"is {losses.mrl:g}, but vision_encoder.mrl_dimensions is empty; "
            f"give dimensions such as {example}, or set losses.mrl to 0",
        )
    if losses.sample_single_mrl_dim:
        yield Problem(
            ("losses", "sample_single_mrl_dim"),
            f"there is nothing to draw from: vision_encoder.mrl_dimensions is empty; "
            f"give dimensions such as {example}, or set it to false",
        )


def loss_weights(config: ExperimentConfig) -> Iterator[Problem]:
    """Something is minimised."""
    if config.losses.contrastive == 0 and config.losses.mrl == 0:
        yield Problem(
            ("losses", "contrastive"),
            "is 0 and losses.mrl is 0 too: nothing would be trained; set one above 0",
        )


def batch(config: ExperimentConfig) -> Iterator[Problem]:
    """A row needs another one to be told apart from."""
    size = config.dataset.batch_size
    if size < 2:
        yield Problem(
            ("dataset", "batch_size"),
            f"expected a whole number of at least 2, found {size}: "
            "the other rows of a batch are what a row is compared with",
        )


def accumulation(config: ExperimentConfig) -> Iterator[Problem]:
    """Accumulated batches never see each other, so they add no negatives."""
    steps = config.training.gradient_accumulation_steps
    if steps > 1:
        yield Problem(
            ("training", "gradient_accumulation_steps"),
            f"is {steps}, but losses.kind {config.losses.kind} takes its negatives from within one batch, so "
            "accumulation adds none; set it to 1 and raise dataset.batch_size",
        )


def pooling(config: ExperimentConfig) -> Iterator[Problem]:
    """Tokens become one vector; use_attention_pooling and a pooling without attention contradict."""
    for name in ("vision_encoder", "audio_encoder"):
        encoder = getattr(config, name)
        if encoder is not None and encoder.pooling_type in _MANY_TOKENS:
            yield Problem(
                (name, "pooling_type"),
                f"is {encoder.pooling_type}, which keeps several tokens, but the task alignment compares one "
                "vector a row; use mean, or another pooling",
            )
    vision = config.vision_encoder
    if vision.use_attention_pooling and vision.pooling_type in ("cls", "mean"):
        yield Problem(
            ("vision_encoder", "use_attention_pooling"),
            f"is true, but vision_encoder.pooling_type {vision.pooling_type} has no attention; "
            "set pooling_type to simple or multihead, or use_attention_pooling to false",
        )


def closed_form(config: ExperimentConfig) -> Iterator[Problem]:
    """What is measured on frozen features stays true only while they and their pooling stay as they are."""
    for name in ("vision_encoder", "text_encoder", "audio_encoder"):
        encoder = getattr(config, name)
        if encoder is None:
            continue
        learned = encoder.pooling_type in ("simple", "multihead", "perceiver") or getattr(
            encoder, "use_attention_pooling", False
        )
        changing = "is trained" if not encoder.frozen else "has a learned pooling" if learned else None
        if changing and encoder.head.components is not None:
            yield Problem(
                (name, "head", "components"),
                f"is measured once on frozen, pooled features, but {name} {changing}; set it to null, "
                "or use frozen: true with pooling_type mean",
            )
        if config.training.warm_start == "closed_form" and (changing or encoder.head.kind == "mlp"):
            reason = changing or "has head.kind mlp, which is not linear"
            yield Problem(
                ("training", "warm_start"),
                f"is closed_form, a linear solution for frozen, pooled features, but {name} {reason}; "
                "set it to none",
            )
    for index, strength in enumerate(config.evaluation.closed_form_regularization):
        if strength <= 0:
            yield Problem(
                ("evaluation", "closed_form_regularization", index),
                f"expected a number above 0, found {strength}",
            )


def modalities(config: ExperimentConfig) -> Iterator[Problem]:
    """Every modality is compared with another one, and a fusion has something to look for."""
    weights = config.losses.pairs.model_dump()
    sides = ("vision", "text") if config.audio_encoder is None else ("vision", "text", "audio")
    blamed: set[str] = set()
    for side in sides:
        pairs = [pair for pair in weights if side in pair and ("audio" in sides or "audio" not in pair)]
        if not any(weights[pair] for pair in pairs) and pairs[0] not in blamed:
            blamed.add(pairs[0])
            yield Problem(
                ("losses", "pairs", pairs[0]),
                f"is 0, which leaves {side}_encoder without a partner; "
                "give one of its pairs a weight above 0",
            )
    if config.fusion is not None and config.audio_encoder is None:
        yield Problem(
            ("fusion",),
            "joins two modalities into a query for the third, but there are only pictures and words; "
            "give an audio_encoder, or leave fusion out",
        )
