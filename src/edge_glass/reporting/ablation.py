"""Variants of one experiment side by side: a table with its costs, and one plot.

A row is one run, a mapping with

    variant             name, in the order of first appearance
    seed                int
    metrics             {NAME: number} or {NAME: {"value", "low", "high"}}, as in results.json
    seconds, samples_per_second, trained_parameters, peak_memory_bytes      numbers, None or absent
    error               why the run has no numbers (optional)
"""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_glass.errors import DataError
from edge_glass.evaluation.metrics import higher_is_better
from edge_glass.reporting.html import write_page
from edge_glass.reporting.run_folder import number
from edge_glass.reporting.style import FAINT, TRAINED, save_figure, shorten
from edge_glass.reporting.wording import (
    format_bytes,
    format_count,
    format_seconds,
    format_value,
    metric_label,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COSTS = ("trained_parameters", "samples_per_second", "seconds", "peak_memory_bytes")
COST_HEADINGS = ("trained parameters", "samples/s", "time", "peak memory")


@dataclass(frozen=True)
class Variant:
    """All seeds of one variant.

    Attributes:
        name: Of the variant.
        runs: Its rows.
        errors: Why runs without numbers have none.
    """

    name: str
    runs: list[Mapping[str, Any]]
    errors: list[str]

    def values(self, metric: str) -> list[float]:
        """The metric of every seed that has it."""
        found = [number(run.get("metrics") or {}, metric) for run in self.runs]
        return [value for value in found if value is not None]

    def cost(self, name: str) -> float | None:
        """Mean over the seeds that have it."""
        found = [value for run in self.runs if (value := number(run, name)) is not None]
        return statistics.fmean(found) if found else None


def write_ablation_report(
    folder: Path | str, rows: Sequence[Mapping[str, Any]], metrics: Sequence[str] = ()
) -> Path:
    """Write `ablation.csv` (a line per run), `ablation.md`, `ablation.png` and `ablation.html` into a folder.

    Args:
        folder: Made when missing.
        rows: See the module.
        metrics: Columns, in order; by default all names that occur, without dimensions below the full one.

    Returns:
        The path of the page.

    Raises:
        DataError: There are no rows.
    """
    if not rows:
        raise DataError("an ablation without runs: no rows to report")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    variants = group_variants(rows)
    names = list(metrics) or _metric_names(rows)
    (folder / "ablation.csv").write_text(_csv(rows, names), encoding="utf-8", newline="")
    (folder / "ablation.md").write_text(markdown_table(variants, names), encoding="utf-8")
    height = 1.6 + 0.5 * len(variants)
    plot = None
    if any(variant.values(name) for variant in variants for name in names):
        plot = save_figure(folder / "ablation.png", (11, height), partial(_draw, variants, names[:4]))
    return write_page(
        folder / "ablation.html",
        "ablation.html.j2",
        headings=[metric_label(name) for name in names],
        cost_headings=COST_HEADINGS,
        table=_table(variants, names),
        plot=plot.read_bytes() if plot else None,
        errors=[(variant.name, error) for variant in variants for error in variant.errors],
        seeds=max(len(variant.runs) for variant in variants),
    )


def group_variants(rows: Sequence[Mapping[str, Any]]) -> list[Variant]:
    """Rows by variant, in the order of first appearance."""
    found: dict[str, Variant] = {}
    for row in rows:
        name = str(row["variant"])
        variant = found.setdefault(name, Variant(name, [], []))
        variant.runs.append(row)
        if row.get("error"):
            variant.errors.append(f"seed {row.get('seed', '?')}: {row['error']}")
    return list(found.values())


def markdown_table(variants: Sequence[Variant], metrics: Sequence[str]) -> str:
    """GitHub-flavoured Markdown; the best mean of each metric is bold."""
    head = ["variant", *map(metric_label, metrics), "seeds", *COST_HEADINGS]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" + "---:|" * (len(head) - 1)]
    for name, cells, seeds, costs in _table(variants, metrics):
        shown = [f"**{text}**{spread}" if best else f"{text}{spread}" for text, spread, best in cells]
        # A bar or a line break in a name would end the cell.
        safe = shorten(name, 200).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")
        lines.append("| " + " | ".join([safe, *shown, str(seeds), *costs]) + " |")
    return "\n".join(lines) + "\n"


Line = tuple[str, list[tuple[str, str, bool]], int, list[str]]


def _table(variants: Sequence[Variant], metrics: Sequence[str]) -> list[Line]:
    """Per variant: name, (mean, spread, is best) per metric, seeds with numbers, costs as text."""
    best: dict[str, float] = {}
    for metric in metrics:
        means = [statistics.fmean(values) for v in variants if (values := v.values(metric))]
        if len(means) > 1:
            best[metric] = (max if higher_is_better(metric) else min)(means)
    lines: list[Line] = []
    for variant in variants:
        cells = []
        for metric in metrics:
            values = variant.values(metric)
            mean = statistics.fmean(values) if values else None
            spread = f" ± {format_value(metric, statistics.stdev(values))}" if len(values) > 1 else ""
            cells.append((format_value(metric, mean), spread, mean is not None and mean == best.get(metric)))
        parameters, speed, seconds, memory = (variant.cost(name) for name in COSTS)
        costs = [format_count(parameters), format_count(speed), format_seconds(seconds), format_bytes(memory)]
        measured = sum(1 for run in variant.runs if run.get("metrics"))
        lines.append((variant.name, cells, measured, costs))
    return lines


def _metric_names(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    names = dict.fromkeys(str(name) for row in rows for name in (row.get("metrics") or {}))
    return [name for name in names if "@" not in name] or list(names)


def _csv(rows: Sequence[Mapping[str, Any]], metrics: Sequence[str]) -> str:
    columns = [c for name in metrics for c in (name, f"{name}_low", f"{name}_high")]
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["variant", "seed", *columns, *COSTS, "error"])
    for row in rows:
        found = row.get("metrics") or {}
        values = [number(found, name, key) for name in metrics for key in ("value", "low", "high")]
        line = [row["variant"], row.get("seed"), *values, *(row.get(c) for c in COSTS), row.get("error")]
        writer.writerow(["" if value is None else value for value in line])
    return buffer.getvalue()


def _draw(variants: Sequence[Variant], metrics: Sequence[str], figure: Figure) -> None:
    """One panel per metric: a dot per seed with its interval, a bar at their mean."""
    panels = figure.subplots(1, len(metrics), sharey=True, squeeze=False)[0]
    for axes, metric in zip(panels, metrics, strict=True):
        axes.set_title(metric_label(metric))
        for place, variant in enumerate(variants):
            values = variant.values(metric)
            if not values:
                axes.annotate(
                    "no result", (0.02, place), xycoords=("axes fraction", "data"), color=FAINT, va="center"
                )
                continue
            mean = statistics.fmean(values)
            axes.plot([mean, mean], [place - 0.3, place + 0.3], color=TRAINED, linewidth=2.6)
            runs = [run for run in variant.runs if number(run.get("metrics") or {}, metric) is not None]
            for index, run in enumerate(runs):
                height = place + 0.36 * ((index + 0.5) / len(runs) - 0.5)
                low, high = (number(run["metrics"], metric, key) for key in ("low", "high"))
                if low is not None and high is not None:
                    axes.plot([low, high], [height, height], color=TRAINED, alpha=0.3, linewidth=1.4)
                value = number(run["metrics"], metric)
                axes.plot(value, height, "o", color=TRAINED, markersize=5, alpha=0.75, markeredgewidth=0)
        axes.grid(axis="y", visible=False)
        axes.locator_params(axis="x", nbins=5)
        axes.set_ylim(len(variants) - 0.5, -0.5)
    panels[0].set_yticks(range(len(variants)), [shorten(variant.name, 32) for variant in variants])
    figure.supxlabel(
        "dot: one seed with its 95 % interval · bar: mean of the seeds", fontsize=9.5, color=FAINT
    )
