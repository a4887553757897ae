"""Self-contained pages from templates, and what the pages of all runs show, whatever the task.

Nothing a page shows is loaded from elsewhere.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from edge_glass.core.files import write_whole
from edge_glass.reporting import wording
from edge_glass.reporting.plots import shown_plots
from edge_glass.reporting.run_folder import RunFolder, number
from edge_glass.reporting.tables import MODELS, columns, flatten, measured, metric_rows, ordered
from edge_glass.reporting.wording import (
    format_count,
    format_seconds,
    format_value,
    headline,
    left_out_sentence,
    metric_label,
)

Tile = tuple[str, str, str]
"""Value, what it is, small print."""

# What browsers show as a picture; anything else is not passed on to them.
SIGNATURES = {
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF87a": "image/gif",
    b"GIF89a": "image/gif",
    b"RIFF": "image/webp",
}


def page_context(run: RunFolder, plots: str, left_out: Mapping[str, str]) -> dict[str, Any]:
    """Return what stands in `run.html.j2`, as plain data; a task adds or changes what is special to it.

    Args:
        run: The run.
        plots: Package of the task's own plots.
        left_out: File name → why a plot was not drawn.
    """
    results, drawn = run.results, shown_plots(run, plots)
    models, primary = measured(results, MODELS), run.primary_metric("")
    names = ordered(results.get("metrics") or {}, primary, ())
    return {
        "name": str(run.config.get("name", run.path.name)),
        "task": run.task,
        "results": results,
        "verdict": results.get("verdict") or {},
        "headline": headline(results) if results else None,
        "notes": [],
        "tiles": metric_tiles(run, [primary]),
        "models": columns(models),
        "metric_rows": metric_rows(models, names, primary),
        "numbers_of": "",
        "data": [left_out_sentence(name, split) for name, split in (results.get("data") or {}).items()],
        "left_out": dict(left_out),
        "plots": [plot for plot in drawn if not plot["among_numbers"]],
        "figures": [plot for plot in drawn if plot["among_numbers"]],
        "parameters": _parameters(run),
        "config_text": run.config_text,
        "environment": flatten(run.environment),
        "last_step": run.metrics[-1] if run.metrics else None,
    }


def metric_tiles(run: RunFolder, names: Iterable[str]) -> list[Tile]:
    """Return the numbers at the top: the metrics that were measured, and how long training took."""
    results = run.results
    metrics, baseline = results.get("metrics") or {}, results.get("baseline") or {}
    tiles: list[Tile] = []
    for name in names:
        if (value := number(metrics, name)) is not None:
            before = format_value(name, number(baseline, name))
            tiles.append((format_value(name, value), metric_label(name), f"untouched {before}"))
    if results:
        tiles.append(_training_tile(results))
    return tiles


def _training_tile(results: Mapping[str, Any]) -> Tile:
    """Say how long training took."""
    seconds, samples = results.get("seconds"), results.get("samples")
    speed = f", {format_count(samples / seconds)}/s" if seconds and samples else ""
    return format_seconds(seconds), "of training", f"{format_count(samples)} samples{speed}"


def _parameters(run: RunFolder) -> dict[str, Any] | None:
    if not run.parameters:
        return None
    rows = [(name, counts["total"], counts["trained"]) for name, counts in run.parameters.items()]
    return {"rows": rows, "total": sum(r[1] for r in rows), "trained": sum(r[2] for r in rows)}


def data_uri(data: bytes | None) -> str | None:
    """Turn picture bytes into a `data:` address; None when they are no picture."""
    if not data:
        return None
    for signature, kind in SIGNATURES.items():
        if data.startswith(signature) and (kind != "image/webp" or data[8:12] == b"WEBP"):
            return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"
    return None


@cache
def environment() -> Environment:
    """Return the templates of this package; everything that is put into them is escaped."""
    templates = Environment(
        loader=PackageLoader("edge_glass.reporting", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters.update(
        data_uri=data_uri,
        count=wording.format_count,
        duration=wording.format_seconds,
        size=wording.format_bytes,
        label=wording.metric_label,
    )
    return templates


def write_page(path: Path, template: str, **context: Any) -> Path:
    """Fill a template and write it so that a reader never meets half a page."""
    text = environment().get_template(template).render(**context)
    write_whole(path, text)
    return path
