"""Tables on the terminal."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from edge_glass.reporting.run_folder import RunFolder
from edge_glass.reporting.tables import MODELS, Measured, measured, ordered
from edge_glass.reporting.wording import headline, metric_label


def as_text(*renderables: Any, width: int = 110) -> str:
    """Rich renderables as text: with colours on a terminal, plain in a file."""
    buffer = io.StringIO()
    Console(file=buffer, width=width, force_terminal=False).print(*renderables, sep="\n")
    return "\n".join(line.rstrip() for line in buffer.getvalue().rstrip().splitlines())


def table(first: str, right: Sequence[str] = (), left: Sequence[str] = ()) -> Table:
    """A table without lines: a first column, then numbers, then words."""
    shown = Table(box=None, pad_edge=False, header_style="bold")
    shown.add_column(first, no_wrap=True)
    for name in right:
        shown.add_column(name, justify="right", no_wrap=True)
    for name in left:
        shown.add_column(name)
    return shown


def cell(entry: Mapping[str, float] | None) -> str | Text:
    """A number with its 95 % interval."""
    # As Text: in plain strings brackets are markup.
    return Text(f"{entry['value']:.3f} [{entry['low']:.3f}, {entry['high']:.3f}]") if entry else "-"


def comparison_table(split: str, models: Sequence[Measured], names: Iterable[str]) -> str:
    """Return metrics of the models side by side, with 95 % intervals; `names` are the rows."""
    short = {"untouched model": "untouched"}
    shown = table(
        split, right=[short.get(one.heading, one.heading.removeprefix("always the ")) for one in models]
    )
    for name in names:
        shown.add_row(Text(name), *(cell(one.metrics.get(name)) for one in models))
    return as_text(shown)


def results_table(metrics: Mapping[str, Any], names: Iterable[str]) -> Table:
    """Return metrics of one evaluation with 95 % intervals, and each in words."""
    shown = table("metric", right=("",), left=("",))
    for name in names:
        shown.add_row(Text(name), cell(metrics[name]), Text(metric_label(name)))
    return shown


def description(
    run: RunFolder, sentences: Iterable[str | None], tables: Iterable[str], commands: Iterable[str]
) -> str:
    """Return what the terminal shows of a finished run.

    Args:
        run: The run.
        sentences: What its numbers mean; None is left out.
        tables: Each with an empty line behind it.
        commands: What can be done with the model at once.
    """
    lines = ["", *filter(None, sentences), ""]
    for one in tables:
        lines += [one, ""]
    lines.append(f"report   {run.path / 'report.html'}")
    lines += [f"{'try' if place == 0 else '':8} {command}" for place, command in enumerate(commands)]
    return "\n".join(lines)


def describe(run: RunFolder, commands: Iterable[str]) -> str:
    """Return what the terminal shows of a finished run of any task: verdict, its metrics, what to do next."""
    names = ordered(run.results.get("metrics") or {}, run.primary_metric(""), ())
    compared = comparison_table(run.split, measured(run.results, MODELS), names)
    return description(run, [headline(run.results)], [compared], commands)


def metrics_text(results: Mapping[str, Any], names: Iterable[str]) -> str:
    """Return metrics of one evaluation with 95 % intervals, the split above them."""
    return f"{results['split']}: {results['rows']} rows\n{as_text(results_table(results['metrics'], names))}"


def assets_table(rows: Iterable[Any]) -> str:
    """Assets with size, licence and source."""
    shown = table("name", right=("download", "unpacked"), left=("here", "licence", "from", "what"))
    for row in rows:
        sizes = (_mebibytes(row.download_size), _mebibytes(row.size))
        shown.add_row(
            row.name, *sizes, "yes" if row.fetched else "no", row.licence, row.source, row.description
        )
    return as_text(shown, width=180)


def cache_table(entries: Iterable[tuple[Mapping[str, Any], int, int]]) -> str:
    """Cached features: what they are, how many, how large."""
    shown = table("encoder", right=("samples", "size"), left=("dtype", "kept as", "transform"))
    for about, samples, size in entries:
        encoder = str(about.get("encoder", "?"))[:12]
        shown.add_row(
            encoder,
            f"{samples:,}",
            _mebibytes(size),
            str(about.get("dtype", "?")),
            str(about.get("pooling", "?")),
            str(about.get("transform", "?")),
        )
    return as_text(shown, width=150)


def _mebibytes(size: int) -> str:
    return f"{size / 2**20:,.1f} MiB"
