"""What the terminal shows of a detection run, and of what was found on pictures."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from rich.text import Text

from edge_glass.detection.report.matching import count_outcomes, detections_of
from edge_glass.detection.report.tables import MODELS, ordered_metrics, primary_metric
from edge_glass.detection.report.wording import (
    convention_sentence,
    found_sentence,
    problems_sentence,
)
from edge_glass.reporting.inspection import visible
from edge_glass.reporting.run_folder import RunFolder
from edge_glass.reporting.style import shorten
from edge_glass.reporting.tables import measured
from edge_glass.reporting.terminal import as_text, comparison_table, description, metrics_text, table
from edge_glass.reporting.wording import headline

SHOWN_TEXT: Final = 100
MOST_BOXES: Final = 50


def describe_detection(run: RunFolder) -> str:
    """Return verdict, main numbers, what happened, and where to look next."""
    sentences = [headline(run.results), found_sentence(run), problems_sentence(run), convention_sentence(run)]
    names = ordered_metrics(run.results.get("metrics") or {}, primary_metric(run))
    tables = [comparison_table(run.split, measured(run.results, MODELS), names)]
    if outcomes := count_outcomes(detections_of(run)):
        shown = table("pictures", left=("",))
        for _, words, count in outcomes:
            shown.add_row(f"{count:,}", Text(words))
        tables.append(as_text(shown))
    return description(run, sentences, tables, _next_commands(run))


def detection_table(results: Mapping[str, Any]) -> str:
    """Return all metrics of one evaluation with 95 % intervals."""
    return metrics_text(results, ordered_metrics(results["metrics"], "mean_iou"))


def detection_lines(files: Sequence[str | Path], found: Sequence[Any]) -> list[str]:
    """What was found on pictures: for each a line, and one for each box with its name, score and corners.

    Args:
        files: The pictures.
        found: For each of them what `DetectModel` gives.
    """
    lines: list[str] = []
    for file, one in zip(files, found, strict=True):
        count = len(one.boxes)
        words = "nothing found" if not count else "1 box" if count == 1 else f"{count:,} boxes"
        if one.problem is not None:
            words = f"the answer cannot be read: {visible(one.problem)}: {_said(one.text)}"
        elif one.cut_off:
            words += "; the answer is cut off"
        lines.append(f"{visible(str(file))}: {words}")
        scores = one.scores if one.scores is not None else [None] * count
        for label, score, box in list(zip(one.labels, scores, one.boxes, strict=True))[:MOST_BOXES]:
            certain = "" if score is None else f" {score:.2f}"
            place = ", ".join(f"{number:.0f}" for number in box)
            lines.append(f"  {visible(shorten(label, SHOWN_TEXT))}{certain}  [{place}]")
        if count > MOST_BOXES:
            lines.append(f"  … and {count - MOST_BOXES:,} more")
    return lines


def _said(text: str) -> str:
    return repr(visible(shorten(text, SHOWN_TEXT)))


def _next_commands(run: RunFolder) -> list[str]:
    """What can be done with this model at once."""
    folder = shlex.quote(str(run.path))
    kept = sorted((run.path / "evaluation").glob(f"{run.split}_pictures/*.jpg"))
    picture = shlex.quote(str(kept[0])) if kept else "picture.jpg"
    commands = [f"edge-glass detect {folder} {picture} --save out.png"]
    if run.section("vlm").get("mode") == "lora":
        commands.append(f"edge-glass merge {folder}")
    return commands
