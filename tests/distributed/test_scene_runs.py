"""Runs that learn to find things, shared by two processes: the curve, weights and numbers of one."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from world import run_well

import edge_glass
import edge_glass.experiment.run as run_module
from detection_runs import FULL, scene_config
from edge_glass.detection.data import splits as detection_sources
from edge_glass.detection.data.generated import generated_scenes
from edge_glass.detection.task import DetectionTask

torch.set_num_threads(1)

ROWS = 23  # 22 and 1: of the last batch, the second process gets nothing


def fewer_scenes() -> dict[str, Any]:
    """The generated scenes, less one row to train on."""
    tables = generated_scenes()
    return {**tables, "train": tables["train"].select(range(ROWS))}


def run_rank(folder: Path, home: str, mode: str, batch: int) -> list[dict[str, Any]]:
    """This rank's part of a run, without its report; gives the log."""
    os.environ["EDGE_GLASS_HOME"] = home
    run_module.write_report = lambda folder: folder
    detection_sources.generated_scenes = fewer_scenes
    options = FULL if mode == "full" else ()
    config = scene_config(
        "qwen2_5_vl",
        *options,
        *(f"dataset.batch_size={batch}", "training.gradient_accumulation_steps=1"),
        *("training.logging_steps=1", "optimization.lr=1e-3", "evaluation.test_rows=3"),
    )
    edge_glass.train(config, output=folder, progress=False)
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "time"} for line in lines]


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["lora", "full"])
def test_two_processes_draw_the_curve_of_one(tmp_path: Path, session_home: str, mode: str) -> None:
    alone = run_well(run_rank, tmp_path / "one", session_home, mode, 22, world_size=1)[0]
    together = run_well(run_rank, tmp_path / "two", session_home, mode, 11, world_size=2)[0]
    steps = [line["step"] for line in alone if "train/loss" in line]
    assert steps == [1, 2, 3, 4]
    for expected, found in zip(alone, together, strict=True):
        assert found == pytest.approx(expected, rel=2e-3, abs=2e-3)
    results = [json.loads((tmp_path / name / "results.json").read_text()) for name in ("one", "two")]
    assert results[0]["metrics"].keys() == results[1]["metrics"].keys()


def answered(home: str) -> list[Any]:
    """What a rank finds without training: of some rows, of one, and of none."""
    os.environ["EDGE_GLASS_HOME"] = home
    task = DetectionTask(scene_config("qwen2_vl", "generation.batch_size=2"), progress=False)
    return [task.answer(task.model, "test", rows) for rows in ([5, 0, 3], [4], [])]


def test_shares_give_the_boxes_of_one(session_home: str) -> None:
    alone = answered(session_home)
    assert [one.rows for one in alone] == [[5, 0, 3], [4], []]
    for rank in run_well(answered, session_home, world_size=2):
        assert [(one.rows, one.texts) for one in rank] == [(one.rows, one.texts) for one in alone]
