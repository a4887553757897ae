"""The report of a run: one self-contained page, made from what the run folder holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edge_glass.experiment.visualizer import TrainingVisualizer
from edge_glass.reporting.html import write_page
from edge_glass.reporting.run_folder import RunFolder, write_metrics_csv
from edge_glass.reporting.run_page import page_context
from edge_glass.tasks.registry import task_kind


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
    kind = task_kind(run.task)
    template, special = kind.page(run)
    shown = {**page_context(run, kind.plots, visualizer.left_out), **special}
    return write_page(run.path / "report.html", template, **shown)


def describe_run(folder: Path) -> str:
    """Return what the terminal shows of a finished run: verdict, main numbers, where to look next."""
    run = RunFolder(folder)
    return task_kind(run.task).describe(run)


def metrics_table(results: dict[str, Any]) -> str:
    """Return all metrics of one evaluation (see `evaluate`) with their intervals, as text."""
    return task_kind(results.get("task", "alignment")).metrics_table(results)
