"""The plots of a run, one file each: here what tasks share, the others in `report/plots/` of a task.

A plot file draws the PNG of its name. It defines

    HEADING             its heading on the page
    READING             how to read it, in a sentence or two
    SIZE                width and height in inches
    ORDER               its place on the page: a plot with a smaller number stands before it
    AMONG_NUMBERS       (optional) True: it stands below the table of numbers, without its heading
    more(run)           (optional) gives a sentence that stands behind READING in some runs, or ""
    draw(run, figure)   draws on an empty figure; raises NothingToPlotError with what the run lacks

A task's own file takes the place of a shared one of the same name.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

from edge_glass.core.registry import Registry
from edge_glass.reporting.run_folder import RunFolder


def plots_of(package: str) -> dict[str, ModuleType]:
    """Return the plots of a task by name, in the order of a page.

    Args:
        package: Of the task's own plots, such as `edge_glass.detection.report.plots`.
    """
    found: dict[str, ModuleType] = {}
    for registry in (Registry("edge_glass.reporting.plots", "plot"), Registry(package, "plot")):
        found |= {name: registry.load(name) for name in registry.names()}
    return dict(sorted(found.items(), key=lambda plot: (plot[1].ORDER, plot[0])))


def shown_plots(run: RunFolder, package: str) -> list[dict[str, Any]]:
    """Return those that were drawn, as a page shows them: name, title, text, data, among_numbers."""
    return [
        {
            "name": name,
            "title": plot.HEADING,
            "text": f"{plot.READING} {plot.more(run) if hasattr(plot, 'more') else ''}".strip(),
            "data": path.read_bytes(),
            "among_numbers": getattr(plot, "AMONG_NUMBERS", False),
        }
        for name, plot in plots_of(package).items()
        if (path := run.plots / f"{name}.png").is_file()
    ]
