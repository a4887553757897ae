"""A few rows by heart, or the reason why not."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

import edge_glass
from detection_runs import FULL, scene_config
from edge_glass.cli import main
from edge_glass.config import load_config
from edge_glass.core.errors import ConfigError
from edge_glass.experiment.overfit import Course, _reason

torch.set_num_threads(1)

CONFIGS = Path(__file__).parents[2] / "configs"
LEARNS = (*FULL, "generation.max_new_tokens=48", "optimization.lr=3e-3")


@pytest.mark.slow
def test_boxes_are_learned_by_heart() -> None:
    found = edge_glass.overfit(scene_config("qwen2_vl", *LEARNS), rows=1, steps=150, progress=False)
    assert found.learned and found.courses[-1].metrics["mean_iou"] > 0.9
    assert found.courses[0].metrics["mean_iou"] < 0.5
    assert "the setup fits together" in found.lines()[-1]


@pytest.mark.slow
def test_answers_are_learned_by_heart() -> None:
    overrides = ["optimization.lr=3e-3", "generation.max_new_tokens=32"]
    config = load_config(CONFIGS / "easy_vqa_trm.yaml", overrides, tiny=True)
    found = edge_glass.overfit(config, rows=4, steps=200, progress=False)
    assert found.learned and found.metric == "vqa_accuracy"


def test_a_rate_that_is_far_too_low_is_named() -> None:
    config = scene_config("qwen2_vl", *FULL, "optimization.lr=1e-9")
    found = edge_glass.overfit(config, rows=2, steps=3, progress=False)
    assert not found.learned and "the loss hardly fell" in found.reason
    assert any("expected:" in line for line in found.lines())


@pytest.mark.parametrize(
    ("last", "says"),
    [
        ({"loss": float("nan")}, "not finite"),
        ({"loss": 20.0}, "the loss rose"),
        ({"loss": 1.0, "never_ended": 1.0}, "never ended"),
        ({"loss": 1.0, "unparsable": 0.5}, "cannot be read as boxes"),
        ({"loss": 0.001}, "read in another way"),
        ({"loss": 1.0}, "still falling"),
    ],
)
def test_reasons(last: dict[str, float], says: str) -> None:
    courses = [Course(0, {"loss": 5.0, "mean_iou": 0.0}), Course(25, {"loss": 3.0, "mean_iou": 0.0})]
    assert says in _reason([*courses, Course(50, {"mean_iou": 0.1, **last})], "mean_iou")


def test_what_has_no_answers_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"is of task alignment; .* `overfit`: detection and instruction"):
        edge_glass.overfit(load_config(CONFIGS / "quickstart.yaml", tiny=True))


def test_on_the_command_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    file = str(CONFIGS / "detection_assistant_only.yaml")
    arguments = ["overfit", file, "--tiny", "-n", "1", "--steps", "1", "generation.max_new_tokens=4"]
    monkeypatch.setattr(sys, "argv", ["edge-glass", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 4
    assert "not learned" in capsys.readouterr().out


def test_scenes_are_inspected_on_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.html"
    file = str(CONFIGS / "detection_qwen3_vl.yaml")
    monkeypatch.setattr(
        sys, "argv", ["edge-glass", "inspect", file, "--tiny", "-n", "2", "--page", str(page)]
    )
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    said = capsys.readouterr().out
    assert "boxes" in said and "2 of 2" in said
    assert page.stat().st_size > 10_000
