"""Every experiment that finds things passes `--tiny` on the command line, with its report and its model."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch

from edge_glass.cli import main
from edge_glass.config import load_config
from edge_glass.vlm.folder import load_detection_model

pytestmark = pytest.mark.slow

torch.set_num_threads(1)

CONFIGS = Path(__file__).parents[2] / "configs"
FILES = [
    file
    for file in sorted([*CONFIGS.glob("*.yaml"), *CONFIGS.glob("lora_configs/*.yaml")])
    if load_config(file, tiny=True).task == "detection"
]


def test_all_of_them_are_here() -> None:
    assert {file.stem for file in FILES} >= {
        *("detection_base", "detection_all_tokens", "detection_assistant_only", "aggressive", "lightweight"),
        *("detection_qwen2_5_vl", "detection_qwen3_vl", "emoji_scenes_qwen2_vl"),
    }


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_config_passes_tiny(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["train", str(file), "--tiny", "--output", str(tmp_path), "training.epochs=1"]
    monkeypatch.setattr(sys, "argv", ["edge-glass", *arguments, "evaluation.test_rows=4"])
    with pytest.raises(SystemExit) as ended:
        main()
    printed = capsys.readouterr()
    assert ended.value.code in (0, None), printed.err
    assert str(tmp_path / "report.html") in printed.out and "Traceback" not in printed.err
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["task"] == "detection" and results["verdict"]["metric"] == "mean_iou"
    assert {"mean_iou", "f1_50", "f1_75", "unparsable", "boxes_per_picture"} <= results["baseline"].keys()
    assert (tmp_path / "report.html").stat().st_size > 10_000
    model, read = load_detection_model(tmp_path / "model")
    assert read.tiny and not model.training
    logged = (tmp_path / "metrics.jsonl").read_text()
    assert "train/grad_norm/llm" in logged and "val/mean_iou" in logged
