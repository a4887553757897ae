"""The report of a run: one self-contained page, made from what the run folder holds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from edge_glass.alignment.report.page import alignment_context
from edge_glass.detection.report.page import detection_context
from edge_glass.instruction.report.page import answers_context
from edge_glass.reporting.html import write_page
from edge_glass.reporting.plots import TrainingVisualizer
from edge_glass.reporting.run_folder import RunFolder, write_metrics_csv
from edge_glass.reporting.run_page import page_context

_PAGES: dict[str, tuple[str, Callable[[RunFolder], dict[str, Any]]]] = {
    "alignment": ("alignment.html.j2", alignment_context),
    "instruction": ("answers.html.j2", answers_context),
    "detection": ("detection.html.j2", detection_context),
}


def write_report(run_folder: Path | str) -> Path:
    """Draw the plots, write `metrics.csv` and `report.html`, and return the path of the page.

    A run that is not finished gives a page of what there is; what is missing is named in it.

    Raises:
        DataError: There is no such run folder.
    """
    run = RunFolder(Path(run_folder))
    visualizer = TrainingVisualizer(run)
    visualizer.plot_all()
    write_metrics_csv(run)
    template, special = _PAGES.get(run.task, _PAGES["alignment"])
    shown = {**page_context(run, visualizer.left_out), **special(run)}
    return write_page(run.path / "report.html", template, **shown)
