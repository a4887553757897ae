"""Runs that learn to find things go on to bit-equal weights and numbers, full weights and LoRA, all families.

The library's own trainer loads almost nothing of Qwen2-VL and Qwen2.5-VL when it resumes: their checkpoints
have other names than the model in memory, and it asks for no strictness.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import TrainerCallback

import edge_glass
from detection_runs import FULL, scene_config
from edge_glass.config import ExperimentConfig
from edge_glass.detection import run as detection_run

pytestmark = pytest.mark.slow

OPTIONS = (
    *("training.eval_epochs=0.5", "training.logging_steps=1", "dataset.batch_size=4"),
    "training.gradient_accumulation_steps=1",
)
MODES = {
    "lora": ("vlm.lora.dropout=0.2",),
    "full": FULL,
}


class Broken(Exception):
    """What happens to the run."""


class Break(TrainerCallback):
    """Ends training in the middle of a step, when two checkpoints have been written."""

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == 8:
            raise Broken


def config_of(family: str, mode: str) -> ExperimentConfig:
    return scene_config(family, *OPTIONS, *MODES[mode])


def outcome(folder: Path) -> dict[str, Any]:
    """All but the clock."""
    results = json.loads((folder / "results.json").read_text())
    del results["seconds"], results["cost"]
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        del line["time"]
    return {"results": results, "metrics": lines}


def trained_tensors(folder: Path) -> dict[str, torch.Tensor]:
    newest = sorted((folder / "checkpoints").iterdir())[-1]
    return load_file(newest / "model.safetensors")


@pytest.mark.parametrize(
    ("family", "mode"),
    [
        ("qwen2_vl", "full"),
        ("qwen2_5_vl", "lora"),
        ("qwen3_vl", "lora"),
        pytest.param("qwen2_vl", "lora", marks=pytest.mark.long),
        pytest.param("qwen2_5_vl", "full", marks=pytest.mark.long),
        pytest.param("qwen3_vl", "full", marks=pytest.mark.long),
    ],
)
def test_a_broken_run_goes_on_as_if_nothing_had_happened(
    family: str, mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_of(family, mode)
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    edge_glass.train(config, output=whole, progress=False)
    usual = detection_run.DetectionExperiment.callbacks
    with monkeypatch.context() as patched:
        patched.setattr(
            detection_run.DetectionExperiment,
            "callbacks",
            lambda self, folder: [*usual(self, folder), Break()],
        )
        with pytest.raises(Broken):
            edge_glass.train(config, output=broken, progress=False)
    assert not (broken / "results.json").exists() and any((broken / "checkpoints").iterdir())
    edge_glass.train(config, output=broken, resume="latest", progress=False)
    ours, theirs = trained_tensors(whole), trained_tensors(broken)
    assert ours.keys() == theirs.keys() and ours
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert outcome(whole) == outcome(broken)
