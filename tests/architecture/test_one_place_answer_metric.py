"""One place: a metric of answers is one new file, which an experiment names and a validation measures."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_glass.config import load_config
from edge_glass.core.errors import ConfigError
from edge_glass.instruction.measure import metrics
from edge_glass.instruction.measure.text import AnswerSet, estimate_answers
from edge_glass.instruction.task import InstructionTask

EASY_VQA = Path(__file__).parents[2] / "configs" / "easy_vqa_trm.yaml"
TOY = '''
"""Share of answers as long as the right one."""
from edge_glass.config.metrics import Metric

METRIC = Metric("same_length", "same length", by_part=True)


def score(prediction, references):
    return float(len(prediction) == len(references[0]))
'''


def test_a_metric_is_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    override = ["evaluation.primary_metric=same_length", "training.report_to=[]"]
    with pytest.raises(ConfigError, match=r"exact_match.*; got 'same_length'"):
        load_config(EASY_VQA, override, tiny=True)
    (tmp_path / "same_length.py").write_text(TOY)
    monkeypatch.setattr(metrics, "__path__", [*metrics.__path__, str(tmp_path)])
    config = load_config(EASY_VQA, override, tiny=True)
    task = InstructionTask(config, progress=False)
    values = task.evaluate(task.model, "val")
    assert 0.0 <= values[config.evaluation.primary_metric] <= 1.0
    answers = AnswerSet(["red", "blue", "a"], [["big"], ["blue"], ["on"]], [0, 1, 2], ["x", "x", "y"])
    estimates = estimate_answers(answers, ["same_length"], samples=20)
    assert {name: one.value for name, one in estimates.items()} == pytest.approx(
        {"same_length": 2 / 3, "same_length/type/x": 1.0, "same_length/type/y": 0.0}
    )
