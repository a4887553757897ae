"""Toy detection experiments for tests."""

from __future__ import annotations

from pathlib import Path

from edge_glass.config import ExperimentConfig, load_config

CONFIGS = Path(__file__).parents[1] / "configs"
FAMILIES = {
    "qwen2_vl": "detection_assistant_only",
    "qwen2_5_vl": "detection_qwen2_5_vl",
    "qwen3_vl": "detection_qwen3_vl",
}
CHEAP = (
    *("training.num_threads=1", "training.report_to=[]", "training.epochs=2"),
    *("evaluation.validation_rows=2", "evaluation.test_rows=4", "generation.max_new_tokens=4"),
)


FULL = ("vlm.mode=full", "vlm.quantization=none", "vlm.lora={}", "vlm.dtype=float32")
"""All weights are trained, whatever a configuration for a large model says."""


def scene_config(family: str = "qwen2_vl", *overrides: str) -> ExperimentConfig:
    """A toy experiment of a family; answers are cut short, so that measuring costs little."""
    return load_config(CONFIGS / f"{FAMILIES[family]}.yaml", [*CHEAP, *overrides], tiny=True)
