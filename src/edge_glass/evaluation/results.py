"""`results.json`: the final numbers of a run, in the one form that reports, tests and people read.

    {"split": "test", "metrics": {NAME: {"value", "low", "high"}}, "baseline": {the same names},
     "rivals": {NAME: {as "metrics"}},
     "verdict": {"status", "metric", "difference", "low", "high", "groups", "sentence", "strongest_rival"},
     "seconds": …, "samples": …}

Rivals are what needs no training: the closed form, the most frequent answer, the average box …
"strongest_rival" has "name", "value", and "status", "difference", "low" and "high" of trained - rival; it is
absent where there is none. With the closed form measured, "closed_form" (same form as "metrics") and
"closed_form_verdict" (trained against it) stand beside them; "data", when given, says how many rows were used
and left out (`SplitCount`). Files of earlier versions have no "rivals", "groups", "sentence" and
"strongest_rival".
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from edge_glass.core.errors import DataError
from edge_glass.core.files import write_whole
from edge_glass.evaluation.verdict import Estimates, compare, strongest_rival

REQUIRED_KEYS = ("split", "metrics", "baseline", "verdict", "seconds", "samples")


@dataclass(frozen=True)
class SplitCount:
    """Rows of one split that were used, and those left out by reason."""

    rows: int
    rejected: dict[str, int] = field(default_factory=dict)


def metrics_dict(estimates: Estimates) -> dict[str, dict[str, float]]:
    """Name → {"value", "low", "high"}."""
    return {name: asdict(estimate.interval()) for name, estimate in estimates.items()}


def assemble_results(
    *,
    split: str,
    metric: str,
    trained: Estimates,
    baseline: Estimates,
    seconds: float,
    samples: int,
    closed_form: Estimates | None = None,
    rivals: Mapping[str, Estimates] | None = None,
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
        closed_form: Of the closed-form model, if measured; one of the rivals.
        rivals: Name → estimates of other models that need no training, on the same queries.
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
    rivals = dict(rivals or {}) | ({} if closed_form is None else {"closed_form": closed_form})
    if rivals:
        results["rivals"] = {name: metrics_dict(found) for name, found in rivals.items()}
    if (strongest := strongest_rival(metric, trained, rivals)) is not None:
        results["verdict"]["strongest_rival"] = strongest
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
