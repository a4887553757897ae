"""What the terminal shows of a run of answers."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from rich.text import Text

from edge_glass.instruction.measure.text import metrics_by_part
from edge_glass.instruction.report.companions import answers_of, primary_metric
from edge_glass.instruction.report.tables import (
    ComparedLine,
    Part,
    compared_lines,
    measured_models,
    ordered_metrics,
    part_names,
)
from edge_glass.instruction.report.wording import blind_sentence, frequent_sentence, shares_sentence
from edge_glass.reporting.run_folder import RunFolder
from edge_glass.reporting.terminal import as_text, cell, comparison_table, description, results_table, table
from edge_glass.reporting.wording import headline

PART_NAMES: tuple[Part, ...] = ("type", "source")


def describe_answers(run: RunFolder) -> str:
    """Return verdict, main numbers, comparisons, and where to look next."""
    sentences = [headline(run.results), shares_sentence(run), blind_sentence(run), frequent_sentence(run)]
    metrics, primary = run.results.get("metrics") or {}, primary_metric(run)
    names = [*ordered_metrics(metrics, primary), *_parts(metrics, primary)]
    tables = [comparison_table(run.split, measured_models(run), names)]
    if compared := compared_lines(run):
        tables.append(_compared_table(primary, compared))
    return description(run, sentences, tables, _next_commands(run))


def answers_table(results: Mapping[str, Any]) -> str:
    """Return all metrics of one evaluation with 95 % intervals, those by type and source below."""
    metrics = results["metrics"]
    shown = results_table(metrics, ordered_metrics(metrics, "vqa_accuracy"))
    tables = [shown]
    for part in PART_NAMES:
        broken = [name for name in metrics_by_part() if part_names(metrics, part, name)]
        if not broken:
            continue
        tables.append(table(part, right=broken))
        for label in part_names(metrics, part, broken[0]):
            found = [cell(metrics.get(f"{name}/{part}/{label}")) for name in broken]
            tables[-1].add_row(Text(label), *found)
    title = f"{results['split']}: {results['rows']} rows\n"
    return title + "\n\n".join(map(as_text, tables))


def _parts(metrics: Mapping[str, Any], primary: str) -> list[str]:
    """Return the primary metric by type and by source."""
    return [name for name in metrics if name.startswith(f"{primary}/")]


def _compared_table(metric: str, lines: list[ComparedLine]) -> str:
    headings = (metric, "difference", "trained parameters", "training", "samples/s")
    shown = table("compared with", right=headings)
    for line in lines:
        if not line.finished:
            shown.add_row(Text(line.label), "no result yet")
            continue
        value = f"{line.value} [{line.interval.replace(' – ', ', ')}]" if line.interval else line.value
        ends = f" [{line.difference_interval.replace(' to ', ', ')}]" if line.difference_interval else ""
        shown.add_row(
            Text(line.label),
            Text(value),
            Text(line.difference + ends),
            line.trained,
            line.seconds,
            line.speed,
        )
    return as_text(shown, width=150)


def _next_commands(run: RunFolder) -> list[str]:
    """Return a question that can be asked at once, and what else can be done with this model."""
    folder = shlex.quote(str(run.path))
    commands = []
    kept = {path.stem: path for path in sorted((run.path / "evaluation").glob(f"{run.split}_pictures/*.png"))}
    asked = next((record for record in answers_of(run) if record.picture in kept), None)
    if asked is not None and asked.picture is not None:
        question = shlex.quote(" ".join(asked.question.split()))
        commands.append(f"edge-glass answer {folder} {shlex.quote(str(kept[asked.picture]))} {question}")
    decoder = run.section("decoder")
    if (decoder.get("kind"), decoder.get("mode")) == ("causal_lm", "lora"):
        commands.append(f"edge-glass merge {folder}")
    return commands
