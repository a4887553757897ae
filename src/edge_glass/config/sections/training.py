"""What is minimised and how, how the numbers are made, and what is varied."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import Field

from edge_glass.config.sections.base import OneOf, Section
from edge_glass.core.registry import Registry

OPTIMIZERS: Final = Registry("edge_glass.training.optimizers", "optimizer")
LOSSES: Final = Registry("edge_glass.alignment.losses", "loss")
TRACKERS: Final = Registry("edge_glass.training.trackers", "tracker")
OTHER_TRACKERS: Final = ("aim", "clearml", "comet_ml", "dvclive", "swanlab")
"""Trackers by their names, through accelerate, without a file of ours."""


def tracker_package(name: str) -> str:
    """Return what pip installs for a tracker: where there is one, an extra of edge-glass."""
    return f"'edge-glass[{name}]'" if name in ("mlflow", "trackio", "wandb") else name


class PairWeightsConfig(Section):
    """Weights of the losses between two modalities; 0 leaves a pair out."""

    vision_text: float = Field(1.0, ge=0.0, description="Pictures and words.")
    audio_text: float = Field(1.0, ge=0.0, description="Sounds and words, with an audio encoder.")
    vision_audio: float = Field(1.0, ge=0.0, description="Pictures and sounds, with an audio encoder.")


class LossesConfig(Section):
    """What is minimised: contrastive * L(full) + mrl * mean over dimensions of L(d)."""

    kind: Annotated[str, OneOf(LOSSES)] = Field(
        "infonce", description="Form of the contrastive loss: a file of edge_glass/alignment/losses."
    )
    contrastive: float = Field(0.25, ge=0.0, description="Weight of the loss on the full embedding.")
    mrl: float = Field(1.0, ge=0.0, description="Weight of the Matryoshka loss.")
    sample_single_mrl_dim: bool = Field(
        False, description="Draw one Matryoshka dimension per step instead of summing all of them."
    )
    temperature: float = Field(0.07, gt=0.0, description="Starting temperature; each pair learns its own.")
    pairs: PairWeightsConfig = PairWeightsConfig()


class OptimizationConfig(Section):
    """The optimizer and its schedule."""

    optimizer: Annotated[str, OneOf(OPTIMIZERS)] = Field(
        "adamw", description="A file of edge_glass/training/optimizers."
    )
    lr: float = Field(2e-4, gt=0.0, description="Peak learning rate.")
    weight_decay: float = Field(0.01, ge=0.0, description="Decay of matrices; never of the temperature.")
    betas: tuple[float, float] = Field((0.9, 0.95), strict=False, description="AdamW's two decays.")
    max_grad_norm: float = Field(1.0, ge=0.0, description="Gradients are clipped to this norm; 0 is off.")
    warmup_ratio: float = Field(0.1, ge=0.0, lt=1.0, description="Share of the steps that warm up.")
    schedule: Literal["cosine", "linear", "constant"] = Field("cosine", description="Shape after warm-up.")


class TrainingConfig(Section):
    """How long, how precisely, and what is kept."""

    epochs: int = Field(10, ge=1, description="Passes over the training rows.")
    max_steps: int | None = Field(None, ge=1, description="Stop after this many steps, whatever epochs says.")
    precision: Literal["auto", "fast", "fp32", "bf16", "fp16"] = Field(
        "auto",
        description="Number format of the trained part; auto: bf16 on GPUs that have it, else fp32; "
        "fast: on CPUs that have it too.",
    )
    gradient_accumulation_steps: int = Field(
        1, ge=1, description="Parts of a step; refused above 1 with in-batch negatives: it adds none."
    )
    eval_epochs: float = Field(1.0, gt=0.0, description="Measure and save every so many epochs.")
    logging_steps: int | None = Field(
        None, ge=1, description="Steps per log line; default: about 200 lines a run."
    )
    early_stopping_patience: int | None = Field(
        None, ge=1, description="Stop after this many evaluations without a better primary metric."
    )
    keep_checkpoints: int = Field(2, ge=1, description="Newest checkpoints kept, besides the best.")
    sharding: Literal["none", "fsdp"] = Field(
        "none",
        description="fsdp spreads weights, gradients and optimizer state over the processes, as ZeRO stage 3 "
        "of DeepSpeed does, which itself is not used.",
    )
    device: Literal["auto", "cpu"] = Field("auto", description="cpu keeps the run off the GPU.")
    num_threads: int | None = Field(None, ge=1, description="CPU threads of torch; default: torch's own.")
    compile: bool = Field(
        False, description="Compile the model's forward pass with torch.compile; the first step takes longer."
    )
    report_to: list[Annotated[str, OneOf(TRACKERS, OTHER_TRACKERS)]] = Field(
        default=["tensorboard"], description="Trackers besides metrics.jsonl."
    )
    wandb_project: str = Field("edge-glass", description="Project of the run in these trackers.")
    run_id: str | None = Field(
        None, description="The run's id in these trackers; default: made once per run folder and kept in it."
    )
    run_group: str | None = Field(None, description="Runs of one group are shown together.")
    run_tags: list[str] = Field(default=[], description="Words to find the run by.")


class CachedTrainingConfig(TrainingConfig):
    """Training on the features of frozen encoders."""

    feature_cache: str = Field(
        "auto", description="auto, off, or a folder: frozen features are computed once and kept there."
    )


class HeadTrainingConfig(CachedTrainingConfig):
    """Alignment: training of heads."""

    warm_start: Literal["none", "closed_form"] = Field(
        "none", description="Start the heads at random, or at the solution of regularised CCA."
    )


class EvaluationConfig(Section):
    """How the numbers are made."""

    primary_metric: str = Field("loss", description="Chooses the best epoch and the verdict.")
    bootstrap_samples: int = Field(2000, ge=100, description="Resamples behind each 95 % interval.")


class RetrievalEvaluationConfig(EvaluationConfig):
    """Alignment: searches, and the baseline that they have to beat."""

    primary_metric: str = Field(
        "mean_r1",
        description="Chooses the best epoch and the verdict, such as mean_r1, i2t_r1 or a2t_r10.",
    )
    closed_form_baseline: bool = Field(
        True, description="Also fit regularised CCA in closed form; a trained model has to beat it."
    )
    closed_form_regularization: tuple[float, float] = Field(
        (0.2, 1.0),
        strict=False,
        description="Ridge of pictures and of words, as multiples of their features' mean variance.",
    )
    closed_form_audio_regularization: float = Field(
        1.0, gt=0.0, description="Ridge of sounds, as a multiple of their features' mean variance."
    )


class GenerationEvaluationConfig(EvaluationConfig):
    """Tasks whose model writes: on how many rows."""

    validation_rows: int = Field(
        512, ge=1, description="Rows, evenly spread, whose answers are written at a validation."
    )
    test_rows: int | None = Field(
        None, ge=1, description="Rows whose answers are written for the final numbers; default: all."
    )


class AnswerEvaluationConfig(GenerationEvaluationConfig):
    """Instruction: answers, and the runs that they are compared with."""

    primary_metric: str = Field(
        "vqa_accuracy",
        description="Chooses the best epoch and the verdict: vqa_accuracy, exact_match, token_f1, rouge_l, "
        "meteor, bleu or cider.",
    )
    compare_with: list[Literal["blind", "same_size", "same_compute"]] = Field(
        default=[],
        description="Further runs, trained alike and reported beside this one: without the picture, and for "
        "a trm plain decoders of its size and of its compute.",
    )


class BoxEvaluationConfig(GenerationEvaluationConfig):
    """Detection: boxes."""

    primary_metric: str = Field(
        "mean_iou",
        description="Chooses the best epoch and the verdict: mean_iou, f1_50, f1_75, precision_50, recall_50 "
        "or map.",
    )


class AblationConfig(Section):
    """Variants of this experiment, run by `edge-glass ablate`."""

    variants: dict[str, dict[str, Any]] = Field(description="Name → dotted overrides.")
    seeds: list[int] = Field(default=[0, 1, 2], min_length=1, description="Each variant runs once per seed.")
    metrics: list[str] = Field(min_length=1, description="Columns of the table; default: two of the task.")
