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
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from edge_glass.config.metrics import higher_is_better
from edge_glass.core.errors import DataError
from edge_glass.evaluation.intervals import CONFIDENCE, Interval
from edge_glass.reporting.page import write_page
from edge_glass.reporting.run_folder import number
from edge_glass.reporting.style import FAINT, TRAINED, UNTOUCHED, save_figure, shorten
from edge_glass.reporting.wording import (
    format_count,
    format_difference,
    format_mebibytes,
    format_seconds,
    format_value,
    metric_label,
    signed,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COSTS = ("trained_parameters", "samples_per_second", "seconds", "peak_memory_bytes")
COST_HEADINGS = ("trained parameters", "samples/s", "seconds", "peak memory, MiB")
COST_PANELS = (("trained_parameters", "trained\nparameters"), ("seconds", "seconds\nof training"))
SIGNS = {"best": "", "even": " ≈", "": ""}
MOST_METRICS = 4  # panels of the plot

Mark = Literal["best", "even", ""]


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
        raise DataError("expected a row for each run of the ablation, got none; run its variants first")
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
    """Return GitHub-flavoured Markdown; the best mean of a metric is bold, ≈ marks those not told apart."""
    head = ["variant", *map(metric_label, metrics), "seeds", *COST_HEADINGS]
    lines = [
        [_safe(line.name), *map(_markdown_cell, line.cells), str(line.seeds), *line.costs]
        for line in _table(variants, metrics)
    ]
    return _markdown_lines(head, lines)


def _markdown(variants: Sequence[Variant], metrics: Sequence[str], notes: Sequence[str]) -> str:
    """Return the table, what it means, and the differences."""
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
    """Escape what would end the cell: a bar or a line break in a name."""
    return shorten(name, 200).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")


def _notes(variants: Sequence[Variant]) -> list[str]:
    """Say what the numbers and marks mean, and what they do not tell."""
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
            ends = _ends(metric, variant.interval(metric))
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
    """Subtract the first variant from each other one, by seed; "best" marks a gain above chance."""
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
            gain = interval is not None and (
                interval.low > 0 if higher_is_better(metric) else interval.high < 0
            )
            text = format_difference(metric, mean)
            cells.append(Cell(text, _ends(metric, interval), "best" if gain else ""))
        if any(cell.text != "–" for cell in cells):
            lines.append(Line(variant.name, cells))
    return lines


def _ends(metric: str, interval: Interval | None) -> str:
    return "" if interval is None else f"{signed(metric, interval.low)}, {signed(metric, interval.high)}"


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

    def by_seed(self, metric: str) -> dict[Any, float]:
        """Return seed → the metric, of every run that has it."""
        found = {run.get("seed"): number(run.get("metrics") or {}, metric) for run in self.runs}
        return {seed: value for seed, value in found.items() if value is not None}

    def values(self, metric: str) -> list[float]:
        """Return the metric of every seed that has it."""
        return list(self.by_seed(metric).values())

    def mean(self, metric: str) -> float | None:
        """Return the mean over the seeds."""
        values = self.values(metric)
        return statistics.fmean(values) if values else None

    def interval(self, metric: str) -> Interval | None:
        """Return that of the mean over seeds, if they vary; of a single run, the one that it came with."""
        values = self.values(metric)
        if len(values) > 1:
            return mean_interval(values) if _vary(values) else None
        for run in self.runs:
            found = run.get("metrics") or {}
            value, low, high = (number(found, metric, key) for key in ("value", "low", "high"))
            if value is not None and low is not None and high is not None:
                return Interval(value, low, high)
        return None

    def cost(self, name: str) -> float | None:
        """Return the mean over the seeds that have it; of the peak memory, the largest."""
        found = [value for run in self.runs if (value := number(run, name)) is not None]
        if not found:
            return None
        return max(found) if name.startswith("peak") else statistics.fmean(found)


def group_variants(rows: Sequence[Mapping[str, Any]]) -> list[Variant]:
    """Group rows by variant, in the order of first appearance."""
    found: dict[str, Variant] = {}
    for row in rows:
        name = str(row["variant"])
        variant = found.setdefault(name, Variant(name, [], []))
        variant.runs.append(row)
        if row.get("error"):
            variant.errors.append(f"seed {row.get('seed', '?')}: {row['error']}")
    return list(found.values())


def mean_interval(values: Sequence[float]) -> Interval:
    """Return Student's 95 % interval of a mean over seeds; at least two values."""
    from scipy.special import stdtrit

    quantile = float(stdtrit(len(values) - 1, 0.5 + CONFIDENCE / 2))
    mean, half = statistics.fmean(values), quantile * statistics.stdev(values) / math.sqrt(len(values))
    return Interval(mean, mean - half, mean + half)


def _vary(values: Sequence[float]) -> bool:
    """Say whether there is a spread to estimate: several values, not all the same but for rounding."""
    return len(values) > 1 and statistics.stdev(values) > 1e-9


def difference(variant: Variant, reference: Variant, metric: str) -> tuple[float, Interval | None] | None:
    """Return the mean of variant minus reference, paired by seed, with its interval over the seeds.

    None when no seed has both. Differences that are the same for every seed say nothing about chance, so
    they have no interval.
    """
    ours, theirs = variant.by_seed(metric), reference.by_seed(metric)
    found = [value - theirs[seed] for seed, value in ours.items() if seed in theirs]
    if not found:
        return None
    return statistics.fmean(found), mean_interval(found) if _vary(found) else None


def told_apart(variant: Variant, reference: Variant, metric: str) -> bool:
    """Say whether two variants differ by more than chance.

    By the paired differences over seeds where these have an interval; otherwise only when the intervals that
    the two came with do not overlap.
    """
    found = difference(variant, reference, metric)
    if found is not None and found[1] is not None:
        return found[1].low > 0 or found[1].high < 0
    ours, theirs = _widest(variant, metric), _widest(reference, metric)
    if ours is None or theirs is None:
        return False
    return ours.low > theirs.high or ours.high < theirs.low


def _widest(variant: Variant, metric: str) -> Interval | None:
    """Return an interval over test queries that covers those of all the seeds."""
    entries = [run.get("metrics") or {} for run in variant.runs]
    lows = [low for entry in entries if (low := number(entry, metric, "low")) is not None]
    highs = [high for entry in entries if (high := number(entry, metric, "high")) is not None]
    mean = variant.mean(metric)
    return Interval(mean, min(lows), max(highs)) if mean is not None and lows and highs else None


def marks(variants: Sequence[Variant], metric: str) -> list[Mark]:
    """Mark each variant: the best mean, not told apart from the best, or neither."""
    measured = [variant for variant in variants if variant.mean(metric) is not None]
    if len(measured) < 2:
        return [""] * len(variants)
    best = (max if higher_is_better(metric) else min)(measured, key=lambda v: v.mean(metric) or 0.0)
    found: list[Mark] = []
    for variant in variants:
        if variant.mean(metric) is None:
            found.append("")
        elif variant.mean(metric) == best.mean(metric):
            found.append("best")
        else:
            found.append("" if told_apart(variant, best, metric) else "even")
    return found


def plotted_costs(variants: Sequence[Variant]) -> list[tuple[str, str]]:
    """Return the costs worth a panel: those that are known and differ."""
    shown = []
    for name, title in COST_PANELS:
        found = {value for variant in variants if (value := variant.cost(name)) is not None}
        if len(found) > 1:
            shown.append((name, title))
    return shown


def figure_size(variants: Sequence[Variant], metrics: Sequence[str]) -> tuple[float, float]:
    """Return width and height in inches."""
    panels = min(len(metrics), MOST_METRICS) + 0.7 * len(plotted_costs(variants))
    return max(11.0, 2.6 + 2.3 * panels), 1.9 + 0.5 * len(variants)


def draw_ablation(variants: Sequence[Variant], metrics: Sequence[str], figure: Figure) -> None:
    """Draw dots for seeds, a bar with an interval for their mean, and beside them what each variant costs."""
    metrics, costs = metrics[:MOST_METRICS], plotted_costs(variants)
    widths = [1.0] * len(metrics) + [0.7] * len(costs)
    panels = figure.subplots(1, len(widths), sharey=True, squeeze=False, width_ratios=widths)[0]
    for axes, metric in zip(panels, metrics, strict=False):
        axes.set_title(_two_lines(metric_label(metric)))
        _draw_metric(axes, variants, metric)
    for axes, (name, title) in zip(panels[len(metrics) :], costs, strict=True):
        axes.set_title(title)
        _draw_cost(axes, variants, name)
    for axes in panels:
        axes.grid(axis="y", visible=False)
        axes.set_ylim(len(variants) - 0.5, -0.5)
    panels[0].set_yticks(range(len(variants)), [shorten(variant.name, 32) for variant in variants])
    several = any(len(variant.values(metric)) > 1 for variant in variants for metric in metrics)
    legend = "small dot: one seed, with its 95 % interval over the test queries · "
    legend += "bar: mean of the seeds, with its 95 % interval over seeds · " if several else ""
    figure.supxlabel(f"{legend}dotted: {shorten(variants[0].name, 24)}", fontsize=9.5, color=FAINT)


def _draw_metric(axes: Axes, variants: Sequence[Variant], metric: str) -> None:
    reference = variants[0].mean(metric)
    if reference is not None:
        axes.axvline(reference, color=UNTOUCHED, linestyle=(0, (1, 2)), linewidth=1.3, zorder=1)
    for place, variant in enumerate(variants):
        mean = variant.mean(metric)
        if mean is None:
            axes.annotate(
                "no result", (0.02, place), xycoords=("axes fraction", "data"), color=FAINT, va="center"
            )
            continue
        _draw_seeds(axes, variant, metric, place)
        axes.plot([mean, mean], [place - 0.32, place + 0.32], color=TRAINED, linewidth=2.6)
        interval = variant.interval(metric)
        if interval is not None and len(variant.values(metric)) > 1:
            axes.plot([interval.low, interval.high], [place, place], color=TRAINED, linewidth=2.0)
    axes.locator_params(axis="x", nbins=4)


def _draw_seeds(axes: Axes, variant: Variant, metric: str, place: int) -> None:
    runs = [run for run in variant.runs if number(run.get("metrics") or {}, metric) is not None]
    for index, run in enumerate(runs):
        height = place + 0.5 * ((index + 0.5) / len(runs) - 0.5)
        low, high = (number(run["metrics"], metric, key) for key in ("low", "high"))
        if low is not None and high is not None:
            axes.plot([low, high], [height, height], color=TRAINED, alpha=0.25, linewidth=1.2)
        axes.plot(
            number(run["metrics"], metric) or 0.0,
            height,
            "o",
            color=TRAINED,
            markersize=4.5,
            alpha=0.6,
            markeredgewidth=0,
        )


def _draw_cost(axes: Axes, variants: Sequence[Variant], name: str) -> None:
    write = format_seconds if name == "seconds" else format_count
    values = [variant.cost(name) for variant in variants]
    highest = max(value for value in values if value is not None)
    for place, value in enumerate(values):
        if value is not None:
            axes.barh(place, value, height=0.5, color="#D5DAE1")
            axes.annotate(
                write(value), (0, place), xytext=(5, 0), textcoords="offset points", va="center", fontsize=9
            )
    axes.set_xlim(0, highest * 1.05 or 1.0)
    axes.set_xticks([])
    axes.spines["bottom"].set_visible(False)


def _two_lines(label: str) -> str:
    """Break "picture → words R@1 at 128 numbers": the direction above, the rest below."""
    words, at, rest = label.partition(" R@")
    return f"{words}\n{(at + rest).strip()}" if at else label
