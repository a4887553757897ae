"""Variants of one experiment side by side: a table with its costs, differences, and one plot.

A row is one run, a mapping with

    variant             name, in the order of first appearance; the first is what the others are compared with
    seed                int
    metrics             {NAME: number} or {NAME: {"value", "low", "high"}}, as in results.json
    seconds, samples_per_second, trained_parameters, peak_memory_bytes      numbers, None or absent
    error               why the run has no numbers (optional)
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from edge_glass.config.metrics import higher_is_better
from edge_glass.core.errors import DataError
from edge_glass.reporting.ablation_plot import draw_ablation, figure_size
from edge_glass.reporting.html import write_page
from edge_glass.reporting.run_folder import number
from edge_glass.reporting.style import save_figure, shorten
from edge_glass.reporting.variants import Mark, Variant, difference, group_variants, marks
from edge_glass.reporting.wording import (
    format_count,
    format_difference,
    format_mebibytes,
    format_value,
    metric_label,
    signed,
)

COSTS = ("trained_parameters", "samples_per_second", "seconds", "peak_memory_bytes")
COST_HEADINGS = ("trained parameters", "samples/s", "seconds", "peak memory, MiB")
SIGNS = {"best": "", "even": " ≈", "": ""}


@dataclass(frozen=True)
class Cell:
    """A number, its interval, and how it stands to the best of its column."""

    text: str
    interval: str = ""
    mark: Mark = ""


@dataclass(frozen=True)
class Line:
    """A variant: a cell per metric, seeds with numbers, and costs as text."""

    name: str
    cells: list[Cell]
    seeds: int = 0
    costs: tuple[str, ...] = ()


def write_ablation_report(
    folder: Path | str, rows: Sequence[Mapping[str, Any]], metrics: Sequence[str] = ()
) -> Path:
    """Write `ablation.csv` (a line per run), `ablation.md`, `ablation.png` and `ablation.html` into a folder.

    Args:
        folder: Made when missing.
        rows: See the module.
        metrics: Columns, in order; by default all names that occur, without dimensions below the full one and
            without those by answer type or source.

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
    notes = _notes(variants)
    (folder / "ablation.csv").write_text(_csv(rows, names), encoding="utf-8", newline="")
    (folder / "ablation.md").write_text(_markdown(variants, names, notes), encoding="utf-8")
    plot = None
    if any(variant.values(name) for variant in variants for name in names):
        size = figure_size(variants, names)
        plot = save_figure(folder / "ablation.png", size, partial(draw_ablation, variants, names))
    return write_page(
        folder / "ablation.html",
        "ablation.html.j2",
        headings=[metric_label(name) for name in names],
        cost_headings=COST_HEADINGS,
        table=_table(variants, names),
        differences=_differences(variants, names),
        reference=variants[0].name,
        notes=notes,
        plot=plot.read_bytes() if plot else None,
        errors=[(variant.name, error) for variant in variants for error in variant.errors],
        seeds=max(len(variant.runs) for variant in variants),
    )


def markdown_table(variants: Sequence[Variant], metrics: Sequence[str]) -> str:
    """GitHub-flavoured Markdown; the best mean of each metric is bold, ≈ stands at those not told apart."""
    head = ["variant", *map(metric_label, metrics), "seeds", *COST_HEADINGS]
    lines = [
        [_safe(line.name), *map(_markdown_cell, line.cells), str(line.seeds), *line.costs]
        for line in _table(variants, metrics)
    ]
    return _markdown_lines(head, lines)


def _markdown(variants: Sequence[Variant], metrics: Sequence[str], notes: Sequence[str]) -> str:
    parts = [markdown_table(variants, metrics), *(f"{note}\n" for note in notes)]
    if differences := _differences(variants, metrics):
        head = [f"minus {_safe(variants[0].name)}", *map(metric_label, metrics)]
        lines = [[_safe(line.name), *map(_markdown_cell, line.cells)] for line in differences]
        parts.append(_markdown_lines(head, lines))
    return "\n".join(parts)


def _markdown_lines(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rows = ["| " + " | ".join(cells) + " |" for cells in (head, *lines)]
    rows.insert(1, "|---|" + "---:|" * (len(head) - 1))
    return "\n".join(rows) + "\n"


def _markdown_cell(cell: Cell) -> str:
    text = f"**{cell.text}**" if cell.mark == "best" else cell.text
    return text + (f" [{cell.interval}]" if cell.interval else "") + SIGNS[cell.mark]


def _safe(name: str) -> str:
    """A bar or a line break in a name would end the cell."""
    return shorten(name, 200).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")


def _notes(variants: Sequence[Variant]) -> list[str]:
    """What the numbers and marks mean, and what they do not tell."""
    seeds = max(sum(1 for run in variant.runs if run.get("metrics")) for variant in variants)
    common = (
        "The best mean of a column is bold; ≈ marks variants that cannot be told apart from it. "
        "With many variants some difference will look real by chance: the intervals are not widened for that."
    )
    if seeds > 1:
        return [
            "Means over the seeds, with Student's 95 % interval of the mean: what other seeds would give on "
            "the same test split. That another test split would give other numbers is not in it. Where all "
            "seeds agree there is no interval.",
            f"{common} Told apart means: the 95 % interval of the differences, paired by seed, excludes 0.",
        ]
    return [
        "One seed each. The interval, where there is one, is over the test queries; "
        "what another seed would give is not known.",
        f"{common} Told apart means here: the two intervals do not overlap.",
    ]


def _table(variants: Sequence[Variant], metrics: Sequence[str]) -> list[Line]:
    columns = {metric: marks(variants, metric) for metric in metrics}
    lines = []
    for row, variant in enumerate(variants):
        cells = []
        for metric in metrics:
            interval = variant.interval(metric)
            ends = (
                "" if interval is None else f"{signed(metric, interval.low)}, {signed(metric, interval.high)}"
            )
            cells.append(Cell(format_value(metric, variant.mean(metric)), ends, columns[metric][row]))
        parameters, speed, seconds, memory = (variant.cost(name) for name in COSTS)
        costs = (
            format_count(parameters),
            format_count(speed),
            format_count(seconds) if seconds is None or seconds >= 10 else f"{seconds:.1f}",
            format_mebibytes(memory),
        )
        measured = sum(1 for run in variant.runs if run.get("metrics"))
        lines.append(Line(variant.name, cells, measured, costs))
    return lines


def _differences(variants: Sequence[Variant], metrics: Sequence[str]) -> list[Line]:
    """Every other variant minus the first, by seed; "best" marks a gain that is told apart from 0."""
    reference, *others = variants
    lines = []
    for variant in others:
        cells = []
        for metric in metrics:
            found = difference(variant, reference, metric)
            if found is None:
                cells.append(Cell("–"))
                continue
            mean, interval = found
            ends = (
                "" if interval is None else f"{signed(metric, interval.low)}, {signed(metric, interval.high)}"
            )
            gain = interval is not None and (
                interval.low > 0 if higher_is_better(metric) else interval.high < 0
            )
            cells.append(Cell(format_difference(metric, mean), ends, "best" if gain else ""))
        if any(cell.text != "–" for cell in cells):
            lines.append(Line(variant.name, cells))
    return lines


def _metric_names(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    names = dict.fromkeys(str(name) for row in rows for name in (row.get("metrics") or {}))
    return [name for name in names if "@" not in name and "/" not in name] or list(names)


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
