"""`results.json`: the final numbers of a run, in the one form that reports, tests and people read.

    {"split": "test", "metrics": {NAME: {"value", "low", "high"}}, "baseline": {the same names},
     "verdict": {"status", "metric", "difference", "low", "high"}, "seconds": …, "samples": …}

With the closed form measured, "closed_form" (same form as "metrics") and "closed_form_verdict" (trained
against it) stand beside them; "data", when given, says how many rows were used and left out (`SplitCount`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from edge_glass.core.errors import DataError
from edge_glass.core.files import write_whole
from edge_glass.evaluation.intervals import Estimate
from edge_glass.evaluation.verdict import compare

REQUIRED_KEYS = ("split", "metrics", "baseline", "verdict", "seconds", "samples")


@dataclass(frozen=True)
class SplitCount:
    """Rows of one split that were used, and those left out by reason."""

    rows: int
    rejected: dict[str, int] = field(default_factory=dict)


def metrics_dict(estimates: Mapping[str, Estimate]) -> dict[str, dict[str, float]]:
    """Name → {"value", "low", "high"}."""
    return {name: asdict(estimate.interval()) for name, estimate in estimates.items()}


def assemble_results(
    *,
    split: str,
    metric: str,
    trained: Mapping[str, Estimate],
    baseline: Mapping[str, Estimate],
    seconds: float,
    samples: int,
    closed_form: Mapping[str, Estimate] | None = None,
    data: Mapping[str, SplitCount] | None = None,
) -> dict[str, Any]:
    """The dictionary of `results.json`.

    Args:
        split: Which split was measured.
        metric: The primary metric, which the verdict is about.
        trained: Estimates of the trained model.
        baseline: Of the untouched model, on the same queries with the same draws.
        seconds: Of training.
        samples: Pairs seen in training, repeats counted.
        closed_form: Of the closed-form model, if measured.
        data: Split → rows used and left out.

    Raises:
        ConfigError: `metric` was not measured.
    """
    results: dict[str, Any] = {
        "split": split,
        "metrics": metrics_dict(trained),
        "baseline": metrics_dict(baseline),
        "verdict": compare(metric, trained, baseline).as_dict(),
        "seconds": float(seconds),
        "samples": int(samples),
    }
    if closed_form is not None:
        results["closed_form"] = metrics_dict(closed_form)
        results["closed_form_verdict"] = compare(metric, trained, closed_form).as_dict()
    if data is not None:
        results["data"] = {name: asdict(count) for name, count in data.items()}
    return results


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON so that a reader finds the old file or the new one, never half of either.

    Raises:
        ValueError: A number is NaN or infinite, which JSON cannot say.
    """
    write_whole(path, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        DataError: The file is missing, is not JSON, or holds something else than an object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise DataError(f"{path}: not JSON: {error}") from None
    if not isinstance(content, dict):
        raise DataError(f"{path}: expected a JSON object, found {type(content).__name__}")
    return content


def read_results(path: Path) -> dict[str, Any]:
    """Read `results.json` and check that its parts are there.

    Raises:
        DataError: The file is missing or not in this form.
    """
    results = read_json(path)
    missing = [key for key in REQUIRED_KEYS if key not in results]
    if missing:
        raise DataError(f"{path}: not a results file: without {', '.join(missing)}")
    return results
