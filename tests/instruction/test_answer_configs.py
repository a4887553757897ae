"""Every experiment that answers passes `--tiny` on the command line, with its companions and its report."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch

import edge_glass.experiment.run as run
from edge_glass.cli import main
from edge_glass.config import load_config
from edge_glass.instruction.model.folder import load_answering_model

pytestmark = pytest.mark.slow

torch.set_num_threads(1)

CONFIGS = Path(__file__).parents[2] / "configs"
FILES = [
    file for file in sorted(CONFIGS.glob("*.yaml")) if load_config(file, tiny=True).task == "instruction"
]


def test_all_of_them_are_here() -> None:
    assert {file.stem for file in FILES} >= {
        *("vision_text_qwen", "trimodal_qwen", "trimodal_trm", "trm_vlm_qa", "instruction_tuning"),
        *("trm_small_decoder", "easy_vqa_trm", "easy_vqa_smollm2", "emoji_caption_smollm2"),
    }


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_config_passes_tiny(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In one process, its companions too: they have a test of their own processes."""
    monkeypatch.setattr(run, "in_own_process", lambda function, *arguments: function(*arguments))
    monkeypatch.setattr(sys, "argv", ["edge-glass", "train", str(file), "--tiny", "--output", str(tmp_path)])
    with pytest.raises(SystemExit) as ended:
        main()
    printed = capsys.readouterr()
    assert ended.value.code in (0, None), printed.err
    assert str(tmp_path / "report.html") in printed.out and "Traceback" not in printed.err
    config = load_config(file, tiny=True)
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["task"] == "instruction"
    assert results["verdict"]["metric"] == config.evaluation.primary_metric
    assert (tmp_path / "report.html").stat().st_size > 10_000
    compared = {path.name for path in (tmp_path / "compared").glob("*") if (path / "results.json").exists()}
    assert compared == set(config.evaluation.compare_with)
    for folder in (tmp_path, *(tmp_path / "compared" / name for name in compared)):
        model, read = load_answering_model(folder / "model")
        assert read.tiny and not model.training
