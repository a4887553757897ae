"""Did training help, and does something simpler do as well? One word, and the interval it rests on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from edge_glass.config.metrics import higher_is_better
from edge_glass.core.errors import ConfigError
from edge_glass.evaluation.intervals import Estimate, Interval

Status = Literal["improved", "unchanged", "worse", "too_few"]
Estimates = Mapping[str, Estimate]
"""Metric → its estimate, of one model."""

FEWEST_GROUPS = 5.0
"""Below, no interval is trusted whatever the numbers look like; see docs/benchmarks.md."""


@dataclass(frozen=True)
class Verdict:
    """The paired difference trained - baseline on one metric, and what it means.

    `difference`, `low` and `high` keep the metric's own sign: a median rank that fell by 40 has the
    difference -40 and the status `improved`. `groups` is how many independent groups were measured.
    """

    status: Status
    metric: str
    difference: float
    low: float
    high: float
    groups: float

    def as_dict(self) -> dict[str, Any]:
        """The form that stands in `results.json`."""
        return asdict(self)


def judge(metric: str, difference: Interval, groups: float) -> Verdict:
    """Improved or worse only when the 95 % interval of the difference excludes 0, on groups enough."""
    status: Status = "unchanged"
    if groups < FEWEST_GROUPS:
        status = "too_few"
    elif difference.low > 0.0 or difference.high < 0.0:
        status = "improved" if (difference.low > 0.0) == higher_is_better(metric) else "worse"
    return Verdict(status, metric, difference.value, difference.low, difference.high, round(groups, 1))


def compare(metric: str, trained: Estimates, baseline: Estimates) -> Verdict:
    """Verdict on one metric from paired estimates of two models.

    Raises:
        ConfigError: The metric was not measured.
    """
    if metric not in trained or metric not in baseline:
        raise ConfigError(
            f"evaluation.primary_metric: {metric!r} was not measured; it is one of {', '.join(trained)}"
        )
    difference = trained[metric].difference(baseline[metric])
    return judge(metric, difference.interval(), difference.groups)


def strongest_rival(
    metric: str, trained: Estimates, rivals: Mapping[str, Estimates]
) -> dict[str, Any] | None:
    """The rival that is best on a metric, and the paired difference trained - rival.

    Args:
        metric: The primary one.
        trained: Estimates of the trained model.
        rivals: Name → estimates of what needs no training, on the same rows with the same draws.

    Returns:
        `name`, `value`, and `status`, `difference`, `low`, `high` as a verdict on the trained model has them;
        None where no rival was measured on this metric.
    """
    values = {name: found[metric].value for name, found in rivals.items() if metric in found}
    if not values:
        return None
    name = (max if higher_is_better(metric) else min)(values, key=lambda name: values[name])
    verdict = compare(metric, trained, rivals[name]).as_dict()
    compared = {key: verdict[key] for key in ("status", "difference", "low", "high")}
    return {"name": name, "value": values[name], **compared}
