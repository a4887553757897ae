"""Adapters of a detection run are added to its model: the same boxes, in a plain Hugging Face folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import edge_glass
from detection_runs import FULL, scene_config
from edge_glass.config import dump_config
from edge_glass.core.errors import CheckpointError, ConfigError
from edge_glass.detection.data.generated import generated_scenes
from edge_glass.detection.run import DetectionExperiment
from edge_glass.detection.use import merge as merging_scenes
from edge_glass.detection.use.detect import DetectModel
from edge_glass.vlm.folder import save_detection_model

torch.set_num_threads(1)


def write_run(folder: Path, *overrides: str) -> DetectionExperiment:
    """config.yaml and model/ of a run whose trained weights are no longer the untouched ones."""
    task = DetectionExperiment(
        scene_config("qwen2_5_vl", "generation.max_new_tokens=8", "vlm.dtype=float32", *overrides), False
    )
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in task.model.parameters():
            if parameter.requires_grad:
                parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(dump_config(task.config), encoding="utf-8")
    save_detection_model(task.model, task._described(), folder / "model", task.canary(task.model))
    return task


def test_the_merged_model_finds_the_same_and_is_a_plain_folder(tmp_path: Path) -> None:
    from transformers import AutoModelForImageTextToText, AutoProcessor

    write_run(tmp_path / "run")
    merged = edge_glass.merge(tmp_path / "run", rows=3, progress=False)
    assert merged.rows == 3 and merged.equal == 1.0 and merged.logits < 1e-3
    assert merged.folder == tmp_path / "run" / "merged"
    plain, info = AutoModelForImageTextToText.from_pretrained(merged.folder, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    assert not any("lora" in name for name in plain.state_dict())
    assert AutoProcessor.from_pretrained(merged.folder).image_processor.size["longest_edge"] > 0
    pictures = [generated_scenes()["test"].rgb(row) for row in range(2)]
    before, after = (DetectModel(folder).detect_all(pictures) for folder in (tmp_path / "run", merged.folder))
    assert [one.text for one in before] == [one.text for one in after]
    assert any(one.text for one in before)
    again = edge_glass.merge(tmp_path / "run", rows=0, progress=False)  # an earlier one may be replaced
    assert again.rows == 0


def test_shorter_weights_look_in_float32_and_are_rounded_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_run(tmp_path / "run", "vlm.dtype=bfloat16")
    looked, usual = [], merging_scenes._look

    def noticed(detector: Any, *rest: Any) -> Any:
        looked.append({parameter.dtype for parameter in detector.model.parameters()})
        return usual(detector, *rest)

    monkeypatch.setattr(merging_scenes, "_look", noticed)
    found = edge_glass.merge(tmp_path / "run", rows=3, progress=False)
    assert looked == [{torch.float32}, {torch.float32}]
    assert {tensor.dtype for tensor in load_file(found.folder / "model.safetensors").values()} == {
        torch.bfloat16
    }


def test_a_model_that_looks_otherwise_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_run(tmp_path / "run")
    looks = iter(range(2))
    usual = merging_scenes._look

    def other(*arguments: object) -> list[object]:
        found = usual(*arguments)  # type: ignore[arg-type]
        return found if next(looks) == 0 else [replace(one, text="otherwise") for one in found]

    monkeypatch.setattr(merging_scenes, "_look", other)
    with pytest.raises(CheckpointError, match=r"0.0% of 3 test answers are equal"):
        edge_glass.merge(tmp_path / "run", rows=3, progress=False)
    assert not (tmp_path / "run" / "merged").exists()


def test_what_has_no_adapters_is_refused(tmp_path: Path) -> None:
    write_run(tmp_path / "run", *FULL)
    with pytest.raises(ConfigError, match=r"vlm.mode is full, so there are no adapters to merge"):
        edge_glass.merge(tmp_path / "run", progress=False)
