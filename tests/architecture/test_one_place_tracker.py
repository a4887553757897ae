"""One place: a new tracker is one new file, named in `training.report_to`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import edge_glass
import edge_glass.training.trackers as trackers

QUICKSTART = Path(__file__).parents[2] / "configs" / "quickstart.yaml"
FILE = '''
"""A line of text for each number."""

import csv

from accelerate.tracking import GeneralTracker

PACKAGE = "csv"


class Lines(GeneralTracker):
    name = "csv"
    requires_logging_directory = True

    def __init__(self, folder):
        super().__init__()
        self.stream = (folder / "numbers.csv").open("w")
        self.writer = csv.writer(self.stream)

    @property
    def tracker(self):
        return self.writer

    def store_init_configuration(self, values):
        self.writer.writerow(["name", values["name"]])

    def log(self, values, step=None, **others):
        for name, value in values.items():
            self.writer.writerow([step, name, value])

    def finish(self):
        self.stream.close()


def build(run):
    return Lines(run.folder)
'''


@pytest.fixture
def _lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The tracker is one new file among the others."""
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "csv.py").write_text(FILE, encoding="utf-8")
    monkeypatch.setattr(trackers, "__path__", [*trackers.__path__, str(tmp_path / "new")])
    yield
    sys.modules.pop("edge_glass.training.trackers.csv", None)
    vars(trackers).pop("csv", None)


@pytest.mark.usefixtures("_lines")
def test_a_tracker_is_one_file(tmp_path: Path) -> None:
    overrides = ["training.report_to=[csv]", "training.max_steps=2"]
    config = edge_glass.load_config(QUICKSTART, overrides, tiny=True)
    result = edge_glass.train(config, output=tmp_path / "run", progress=False)
    lines = (result.folder / "numbers.csv").read_text(encoding="utf-8").splitlines()
    assert lines[0] == f"name,{config.name}"
    assert any("loss" in line for line in lines[1:])


def test_without_the_file_the_trackers_are_named(tmp_path: Path) -> None:
    with pytest.raises(edge_glass.ConfigError, match=r"tensorboard.*wandb.*'csv'"):
        edge_glass.train(
            edge_glass.load_config(QUICKSTART, ["training.report_to=[csv]"], tiny=True),
            output=tmp_path / "run",
            progress=False,
        )
