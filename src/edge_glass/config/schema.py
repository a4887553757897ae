"""The experiment file as types: every option of a run, declared once.

`ExperimentConfig` names the sections; each of them stands in sections/ with its options. Nothing here imports
torch, so that `edge-glass config check` answers at once.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from edge_glass.config.sections.answers import (
    DecoderConfig,
    GenerationConfig,
    LoraConfig,
    PrefixConfig,
    RecursionConfig,
    SmallDecoderConfig,
)
from edge_glass.config.sections.base import Section
from edge_glass.config.sections.data import DatasetConfig
from edge_glass.config.sections.detection import (
    DetectionConfig,
    VlmConfig,
    VlmLoraConfig,
    VlmSizeConfig,
)
from edge_glass.config.sections.encoders import (
    AudioEncoderConfig,
    FusionConfig,
    HeadConfig,
    PerceiverConfig,
    TextEncoderConfig,
    VisionEncoderConfig,
)
from edge_glass.config.sections.training import (
    AblationConfig,
    EvaluationConfig,
    LossesConfig,
    OptimizationConfig,
    PairWeightsConfig,
    TrainingConfig,
)

__all__ = [
    "ABLATION_METRICS",
    "PRIMARY_METRICS",
    "AblationConfig",
    "AudioEncoderConfig",
    "DatasetConfig",
    "DecoderConfig",
    "DetectionConfig",
    "EvaluationConfig",
    "ExperimentConfig",
    "FusionConfig",
    "GenerationConfig",
    "HeadConfig",
    "LoraConfig",
    "LossesConfig",
    "OptimizationConfig",
    "PairWeightsConfig",
    "PerceiverConfig",
    "PrefixConfig",
    "RecursionConfig",
    "Section",
    "SmallDecoderConfig",
    "TextEncoderConfig",
    "TrainingConfig",
    "VisionEncoderConfig",
    "VlmConfig",
    "VlmLoraConfig",
    "VlmSizeConfig",
]

PRIMARY_METRICS = {"alignment": "mean_r1", "instruction": "vqa_accuracy", "detection": "mean_iou"}
"""What chooses the best epoch and the verdict where the experiment does not say."""

ABLATION_METRICS = {
    "alignment": ["i2t_r1", "t2i_r1"],
    "instruction": ["exact_match", "vqa_accuracy"],
    "detection": ["mean_iou", "f1_50"],
}
"""Columns of an ablation's table where the experiment does not say."""


class ExperimentConfig(Section):
    """One experiment: what `edge-glass train FILE` reads."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="Names the run folder runs/NAME.")
    task: Literal["alignment", "instruction", "detection"] = Field(
        "alignment", description="What is trained."
    )
    seed: int = Field(0, ge=0, le=2**32 - 1, description="All randomness is a function of it.")
    output_dir: str = Field("runs", description="Where run folders go.")
    tiny: bool = Field(False, description="Toy-sized random models and generated rows; what --tiny sets.")
    dataset: DatasetConfig = DatasetConfig()
    vision_encoder: VisionEncoderConfig = VisionEncoderConfig()
    text_encoder: TextEncoderConfig = TextEncoderConfig()
    audio_encoder: AudioEncoderConfig | None = None
    fusion: FusionConfig | None = None
    losses: LossesConfig = LossesConfig()
    prefix: PrefixConfig = PrefixConfig()
    decoder: DecoderConfig = DecoderConfig()
    generation: GenerationConfig = GenerationConfig()
    vlm: VlmConfig = VlmConfig()
    detection: DetectionConfig = DetectionConfig()
    optimization: OptimizationConfig = OptimizationConfig()
    training: TrainingConfig = TrainingConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    ablation: AblationConfig | None = None

    @model_validator(mode="before")
    @classmethod
    def _defaults_by_task(cls, raw: Any) -> Any:
        """The metrics depend on the task, and are written down as resolved."""
        task = raw.get("task", "alignment") if isinstance(raw, dict) else None
        if not isinstance(task, str) or task not in PRIMARY_METRICS:
            return raw
        raw = dict(raw)
        if isinstance(evaluation := raw.get("evaluation", {}), dict):
            raw["evaluation"] = {"primary_metric": PRIMARY_METRICS[task]} | evaluation
        if isinstance(ablation := raw.get("ablation"), dict):
            raw["ablation"] = {"metrics": ABLATION_METRICS[task]} | ablation
        return raw
