"""One place: a new task is one new file, from its experiment file to its verdict and report."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import edge_glass
import edge_glass.experiment.tasks as tasks
from edge_glass.experiment.report import describe_run, metrics_table

FILE = '''
"""A line through numbers: y = slope · x, learned from pairs."""

import json
from types import SimpleNamespace

import numpy as np
import torch
from torch import nn

from edge_glass.config import ExperimentConfig
from edge_glass.config.sections.base import Section
from edge_glass.evaluation.intervals import estimate_mean
from edge_glass.evaluation.results import assemble_results
from edge_glass.tasks.registry import TaskKind


class NumbersConfig(Section):
    slope: float = 2.0


class LineConfig(ExperimentConfig):
    numbers: NumbersConfig = NumbersConfig()


class Line(nn.Module):
    def __init__(self, slope=0.0):
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(slope))

    def forward(self, x):
        return self.slope * x

    def parameter_counts(self):
        return [SimpleNamespace(component="slope", total=1, trained=1)]

    def print_parameter_counts(self):
        pass

    def trainable_state_dict(self):
        return self.state_dict()

    def load_trainable_state_dict(self, state):
        self.load_state_dict(dict(state))


class Pairs(torch.utils.data.Dataset):
    rejected = ()

    def __init__(self, slope, start, count):
        self.x = torch.linspace(start, start + 1, count)
        self.y = slope * self.x

    def __len__(self):
        return len(self.x)

    def __getitem__(self, key):
        _, row = key
        return row, self.x[row], self.y[row]


class LineExperiment:
    primary_metric = "closeness"
    greater_is_better = True

    def __init__(self, config, model=None):
        self.config, self.model = config, model or Line()
        slope = config.numbers.slope
        self.splits = {"train": Pairs(slope, 1, 32), "val": Pairs(slope, 2, 8), "test": Pairs(slope, 3, 8)}

    @property
    def train_dataset(self):
        return self.splits["train"]

    def collate(self, items):
        rows, x, y = zip(*items)
        return {"ids": [str(row) for row in rows], "x": torch.stack(x), "y": torch.stack(y)}

    def loss(self, model, batch, *, step, diagnostics):
        loss = (model(batch["x"]) - batch["y"]).square().mean()
        return loss, {"squared_error": loss.detach()}

    def evaluate(self, model, split):
        return {"closeness": float(self._closeness(model, split).mean())}

    def _closeness(self, model, split):
        pairs = self.splits[split]
        with torch.no_grad():
            return torch.exp(-(model(pairs.x) - pairs.y).abs()).numpy().astype(np.float64)

    def measure(self, split):
        return self._closeness(self.model, split)

    def untouched(self, folder):
        return self.measure("test")

    def estimates(self, measured, split="test"):
        return {"closeness": estimate_mean(measured, samples=100, seed=self.config.seed)}

    def prepare(self):
        pass

    def rebuild(self, state):
        self.model.load_trainable_state_dict(state)

    def callbacks(self, folder):
        return []

    def fingerprints(self):
        return {"slope": self.config.numbers.slope}

    def finish(self, folder, untouched, cost):
        (folder / "model").mkdir()
        record = {"config": {"task": "line"}, "slope": self.model.slope.item()}
        (folder / "model" / "model.json").write_text(json.dumps(record))
        return assemble_results(
            split="test",
            metric="closeness",
            trained=self.estimates(self.measure("test")),
            baseline=self.estimates(untouched),
            seconds=cost.seconds,
            samples=cost.samples,
        ) | {"task": "line"}


class LineKind(TaskKind):
    name = "line"
    config = LineConfig
    does = "continues a line"
    example = "python -c 'import edge_glass; edge_glass.load(\\"{folder}\\")(3.0)'"
    plots = "edge_glass.reporting.plots"

    def experiment(self, config, progress=True, model=None):
        return LineExperiment(config, model)

    def load_trained(self, config, folder):
        return Line(json.loads((folder / "model.json").read_text())["slope"])

    def load(self, folder):
        from edge_glass.tasks.finding import require_task

        line = self.load_trained(None, require_task(folder, "line").model)
        return lambda x: line(torch.tensor(x)).item()


KIND = LineKind()
'''

EXPERIMENT = """
name: a_line
task: line
numbers:
  slope: 3.0
dataset:
  batch_size: 8
optimization:
  lr: 0.1
evaluation:
  primary_metric: closeness
training:
  epochs: 40
  device: cpu
  report_to: []
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with the experiment; the task is one new file among the others."""
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "line.py").write_text(FILE, encoding="utf-8")
    (tmp_path / "a_line.yaml").write_text(EXPERIMENT, encoding="utf-8")
    monkeypatch.setattr(tasks, "__path__", [*tasks.__path__, str(tmp_path / "tasks")])
    yield tmp_path
    sys.modules.pop("edge_glass.experiment.tasks.line", None)
    vars(tasks).pop("line", None)


def test_a_task_is_one_file(folder: Path) -> None:
    config = edge_glass.load_config(folder / "a_line.yaml")
    result = edge_glass.train(config, output=folder / "run", progress=False)
    assert result.results["verdict"]["status"] == "improved"
    said = describe_run(result.folder)
    assert "Improved: closeness" in said and "try      python -c" in said
    page = (result.folder / "report.html").read_text(encoding="utf-8")
    assert "<td>closeness</td>" in page and "untouched model" in page
    assert edge_glass.load(result.folder)(4.0) == pytest.approx(12.0, abs=0.1)
    again = edge_glass.evaluate(result.folder, progress=False)
    assert again["metrics"] == result.results["metrics"]
    assert "closeness" in metrics_table(again) and metrics_table(again).startswith("test: ")
    with pytest.raises(edge_glass.ConfigError, match="a_line is of task line"):
        edge_glass.inspect(config)
    finished = edge_glass.train(config, output=result.folder, resume="latest")
    assert finished.results == result.results


def test_its_options_are_checked(folder: Path) -> None:
    with pytest.raises(edge_glass.ConfigError, match=r"numbers\.slop\b"):
        edge_glass.load_config(folder / "a_line.yaml", ["numbers.slop=2"])
    with pytest.raises(edge_glass.ConfigError, match="vision_encoder"):
        edge_glass.load_config(folder / "a_line.yaml", ["vision_encoder.source=timm:x"])


def test_without_the_file_the_tasks_are_named(tmp_path: Path) -> None:
    (tmp_path / "a_line.yaml").write_text(EXPERIMENT, encoding="utf-8")
    with pytest.raises(edge_glass.ConfigError, match=r"alignment.*detection.*instruction"):
        edge_glass.load_config(tmp_path / "a_line.yaml")
