"""One place: a plot of the report is one new file."""

from __future__ import annotations

import base64
import shutil
from pathlib import Path

import pytest

from edge_glass.alignment.report import plots
from edge_glass.experiment.report import write_report

FINISHED = Path(__file__).parents[1] / "compatibility" / "made_by_a1cb8ce" / "alignment" / "finished"
TOY = '''
"""How fast the loss falls."""

HEADING = "Loss by step, as bars"
READING = "Short bars are good."
SIZE = (4, 2)
ORDER = 15


def draw(run, figure):
    figure.subplots().bar(*run.series("train/loss"))
'''


def test_a_new_file_is_a_plot_of_the_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    more = tmp_path / "more"
    more.mkdir()
    (more / "loss_bars.py").write_text(TOY)
    monkeypatch.setattr(plots, "__path__", [*plots.__path__, str(more)])
    run = shutil.copytree(FINISHED, tmp_path / "run")

    page = write_report(run).read_text(encoding="utf-8")

    drawn = base64.b64encode((run / "plots" / "loss_bars.png").read_bytes()).decode("ascii")
    assert drawn in page, "its picture stands in the page"
    places = [
        page.index(f"<h3>{name}</h3>") for name in ("Training", "Loss by step, as bars", "Learning rate")
    ]
    assert places == sorted(places), "in its place"
    assert "Short bars are good." in page
