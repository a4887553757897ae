"""The report of a run: one self-contained page, made from what the run folder holds."""

from __future__ import annotations

from pathlib import Path

from edge_glass.reporting.alignment_page import alignment_context
from edge_glass.reporting.answers.page import answers_context
from edge_glass.reporting.html import write_page
from edge_glass.reporting.plots import TrainingVisualizer
from edge_glass.reporting.run_folder import RunFolder, write_metrics_csv
from edge_glass.reporting.run_page import page_context


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
    answers = run.task == "instruction"
    template = "answers.html.j2" if answers else "alignment.html.j2"
    special = answers_context(run) if answers else alignment_context(run)
    return write_page(run.path / "report.html", template, **page_context(run, visualizer.left_out), **special)
