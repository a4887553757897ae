"""Numbers and verdicts in words."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from edge_glass.config import metrics
from edge_glass.reporting.run_folder import number

SIDES = {side: words for side, (_, words) in metrics.SIDES.items()}
DETECTION_WORDS = {row.name: row.words for row in metrics.DETECTION_METRICS}
STATUS_WORDS = {
    "improved": "Improved",
    "unchanged": "Unchanged",
    "worse": "Worse",
    "too_few": "Too few to say",
}


def metric_label(metric: str) -> str:
    """`i2t_r1@256` → "picture → words R@1 at 256 numbers"; unknown names stay as they are.

    `token_f1/type/color` → "token F1, color"; `token_f1/source/easy-vqa` → "token F1 from easy-vqa".
    """
    whole, _, part = metric.partition("/")
    base, _, dimension = whole.partition("@")
    if base in ("train", "val"):
        return metric
    words = metrics.metric(base).words
    kind, _, of = part.partition("/")
    words += f" at {dimension} numbers" if dimension else ""
    return words + ("" if not of else f" from {of}" if kind == "source" else f", {of}")


def format_value(metric: str, value: float | None) -> str:
    """Recalls with three decimals, ranks with one at most, a dash for nothing."""
    if value is None or not math.isfinite(value):
        return "–"
    if metric.partition("@")[0].endswith("medr"):
        return f"{value:.1f}".removesuffix(".0")
    return f"{value:.3f}"


def format_difference(metric: str, value: float | None) -> str:
    """With its sign; a true minus, not a hyphen."""
    text = format_value(metric, None if value is None else abs(value))
    if value is None or text == "–":
        return text
    return text if float(text) == 0 else ("+" if value > 0 else "−") + text


def signed(metric: str, value: float | None) -> str:
    """A bound of an interval: minus signs as such, no plus."""
    return format_difference(metric, value).removeprefix("+")


def format_count(value: float | None) -> str:
    """Thousands with separators, or a dash."""
    return "–" if value is None else f"{value:,.0f}"


def format_seconds(seconds: float | None) -> str:
    """ "41 s", "3 min 20 s", "2 h 05 min"."""
    if seconds is None or not math.isfinite(seconds):
        return "–"
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def format_mebibytes(size: float | None) -> str:
    """Bytes as whole MiB without the unit, or a dash."""
    return format_count(None if size is None else size / 2**20)


def format_bytes(size: float | None) -> str:
    """ "312 MiB", "1.4 GiB"."""
    if size is None or not math.isfinite(size):
        return "–"
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"


def headline(results: Mapping[str, Any]) -> str:
    """ "Improved: mean R@1 0.010 → 0.360 (+0.350, 95 % interval 0.310 to 0.390)".

    With a rival "Improved, but the closed form is better (0.380 to 0.360): mean R@1 …".
    """
    verdict = results.get("verdict") or {}
    metric = str(verdict.get("metric", ""))
    before = format_value(metric, number(results.get("baseline") or {}, metric))
    after = format_value(metric, number(results.get("metrics") or {}, metric))
    status = STATUS_WORDS.get(str(verdict.get("status")), str(verdict.get("status", "No verdict")))
    status += _rival_words(verdict, metric, after)
    return f"{status}: {metric_label(metric)} {before} → {after} ({difference_words(verdict)})"


def _rival_words(verdict: Mapping[str, Any], metric: str, after: str) -> str:
    """ ", but the nearest neighbour is better (0.210 to 0.117)"; nothing where no rival was measured."""
    rival = verdict.get("strongest_rival")
    if not isinstance(rival, Mapping):
        return ""
    name = str(rival.get("name", "")).replace("_", " ")
    value = format_value(metric, number({metric: rival.get("value")}, metric))
    link = "but" if verdict.get("status") == "improved" else "and"
    if rival.get("status") == "worse":
        return f", {link} the {name} is better ({value} to {after})"
    if rival.get("status") == "improved":
        return f", and better than the strongest trivial rival ({name}, {value})"
    return f", {link} not told apart from the {name} ({value} to {after})"


def left_out_sentence(name: str, split: Mapping[str, Any]) -> str:
    """ "train: 1,468 rows used, 3 left out: cannot be decoded (2), empty caption (1)"."""
    rejected = split.get("rejected")
    reasons = rejected if isinstance(rejected, Mapping) else {}
    counts = [(str(reason), int(count)) for reason, count in reasons.items()]
    total = sum(count for _, count in counts)
    words = f"{name}: {format_count(split.get('rows', 0))} rows used, "
    if not total:
        return words + "none left out"
    return (
        words
        + f"{format_count(total)} left out: {', '.join(f'{reason} ({count:,})' for reason, count in counts)}"
    )


def difference_words(verdict: Mapping[str, Any]) -> str:
    """ "+0.350, 95 % interval 0.310 to 0.390"."""
    metric = str(verdict.get("metric", ""))
    low, high = signed(metric, verdict.get("low")), signed(metric, verdict.get("high"))
    return f"{format_difference(metric, verdict.get('difference'))}, 95 % interval {low} to {high}"
