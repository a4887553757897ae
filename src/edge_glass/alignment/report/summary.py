"""What the terminal shows: tables as text."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from rich.text import Text

from edge_glass.alignment.report.sides import averaged_sides, measured_sides
from edge_glass.alignment.report.tables import closed_form_sentence
from edge_glass.reporting.run_folder import RunFolder
from edge_glass.reporting.terminal import as_text, cell, description, table
from edge_glass.reporting.wording import SIDES, headline, metric_label

_MEASURES = ("r1", "r5", "r10")


def describe_alignment(run: RunFolder) -> str:
    """Return verdict, main numbers, and where to look next."""
    results, commands = run.results, []
    if (run.path / "index").is_dir():
        search = f"edge-glass search {shlex.quote(str(run.path))}"
        commands.append(f'{search} "a sad animal"')
        if any(side.startswith("a2") for side in measured_sides(results["metrics"])):
            commands.append(f"{search} --audio question.wav")
    sentences = [headline(results), closed_form_sentence(results)]
    return description(run, sentences, [directions_table(results)], commands)


def directions_table(results: Mapping[str, Any]) -> str:
    """Show untouched, closed form and trained side by side, with 95 % intervals; many directions in words."""
    sides = measured_sides(results["metrics"])
    several = len(sides) > 2
    models = ("untouched", "closed form", "trained")
    shown = table(f"{results['split']}", right=models, left=("",) if several else ())
    names = [f"{side}_{measure}" for side in sides for measure in _MEASURES if not several or measure != "r5"]
    if several:
        names += ["mean_r1", "mean_r10"]
    for name in names:
        cells = [cell(results.get(part, {}).get(name)) for part in ("baseline", "closed_form", "metrics")]
        label = metric_label(name)
        if name.startswith("mean_"):
            label = f"{label} of the {len(averaged_sides(results['metrics']))} directions"
        shown.add_row(name, *cells, *((label,) if several else ()))
    return as_text(shown)


def retrieval_table(results: Mapping[str, Any]) -> str:
    """Show the recalls of one evaluation with 95 % intervals; a row per dimension (and direction)."""
    metrics = results["metrics"]
    suffixes = list(dict.fromkeys(name.partition("@")[2] for name in metrics))
    sides = measured_sides(metrics)
    title = f"{results['split']}: {results['rows']} rows"
    if len(sides) > 2:
        return f"{title}\n{_table_by_direction(metrics, suffixes, sides)}"
    columns = [f"{side}_{measure}" for side in sides for measure in _MEASURES]
    shown = table("dimension", right=columns)
    for suffix in suffixes:
        names = [f"{name}@{suffix}" if suffix else name for name in columns]
        shown.add_row(suffix or "full", *(cell(metrics.get(name)) for name in names))
    return f"{title}\n{as_text(shown, width=150)}"


def _table_by_direction(metrics: Mapping[str, Any], suffixes: Sequence[str], sides: Sequence[str]) -> str:
    """Show a row per dimension and direction: six directions side by side do not fit on a terminal."""
    shown = table("dimension", left=("direction", ""))
    for name in ("R@1", "R@5", "R@10"):
        shown.add_column(name, justify="right", no_wrap=True)
    for suffix in suffixes:
        for side in (*sides, "mean"):
            names = [f"{side}_{measure}" + (f"@{suffix}" if suffix else "") for measure in _MEASURES]
            words = SIDES[side] if side != "mean" else f"of the {len(averaged_sides(metrics))} directions"
            shown.add_row(suffix or "full", side, words, *(cell(metrics.get(name)) for name in names))
    return as_text(shown)


def hits_table(hits: Sequence[Any]) -> str:
    """Search results as rank, score, name, caption and split."""
    shown = table("rank", right=("score",), left=("picture", "caption", "split"))
    for hit in hits:
        shown.add_row(str(hit.rank), f"{hit.score:.3f}", Text(hit.identifier), Text(hit.caption), hit.split)
    return as_text(shown)
