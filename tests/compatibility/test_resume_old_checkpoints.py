"""Half-finished runs made by a1cb8ce, by the trainer of transformers, end as its finished runs did."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from edge_glass.config import load_config
from edge_glass.experiment.run import train

OLD = Path(__file__).parent / "made_by_a1cb8ce"
WEIGHTS = {
    "alignment": "model/heads.safetensors",
    "instruction": "model/trained.safetensors",
    "detection": "model/vlm/model.safetensors",
}


INTERVALS = {"low", "high", "status"}
"""What follows from an interval, which is another one today: wider where groups are few."""


def lines_of(folder: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl without the clock."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "time"} for line in lines]


def assert_close(found: Any, expected: Any, where: str) -> None:
    """Compare nested results; numbers may differ in their last digits, as machines do."""
    if isinstance(expected, dict):
        assert found.keys() >= expected.keys(), where
        for name in expected.keys() - INTERVALS:
            assert_close(found[name], expected[name], f"{where}.{name}")
    elif isinstance(expected, list):
        assert len(found) == len(expected), where
        for number, (one, other) in enumerate(zip(found, expected, strict=True)):
            assert_close(one, other, f"{where}[{number}]")
    elif isinstance(expected, float) and math.isfinite(expected):
        assert found == pytest.approx(expected, rel=1e-3, abs=1e-4), where
    else:
        assert found == expected or (found != found and expected != expected), where


@pytest.mark.parametrize("task", WEIGHTS)
def test_a_half_finished_run_goes_on(task: str, tmp_path: Path) -> None:
    run, finished = tmp_path / "run", OLD / task / "finished"
    shutil.copytree(OLD / task / "half", run)
    train(load_config(run / "config.yaml"), output=run, resume="latest", progress=False)
    ours, theirs = load_file(run / WEIGHTS[task]), load_file(finished / WEIGHTS[task])
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        torch.testing.assert_close(ours[name], value, rtol=1e-4, atol=1e-5)
    assert_close(lines_of(run), lines_of(finished), "metrics.jsonl")
    found, expected = (json.loads((each / "results.json").read_text()) for each in (run, finished))
    for results in (found, expected):
        del results["seconds"], results["cost"]
    assert_close(found, expected, "results.json")
