"""What the numbers of an alignment run mean, in sentences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edge_glass.reporting.run_folder import number
from edge_glass.reporting.wording import difference_words, format_value, metric_label


def closed_form_sentence(results: Mapping[str, Any]) -> str | None:
    """Whether training beat the closed form, plainly; None when that was not measured."""
    verdict = results.get("closed_form_verdict")
    if not isinstance(verdict, Mapping):
        return None
    metric = str(verdict.get("metric", ""))
    trained = format_value(metric, number(results.get("metrics") or {}, metric))
    closed = format_value(metric, number(results.get("closed_form") or {}, metric))
    numbers = f"{metric_label(metric)} {trained} against {closed} ({difference_words(verdict)})"
    opening = {
        "improved": "Training beat the closed form",
        "worse": "Training did not beat the closed form, which is better and takes seconds",
    }.get(str(verdict.get("status")), "Training and the closed form cannot be told apart")
    return f"{opening}: {numbers}."
