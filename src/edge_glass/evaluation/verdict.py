"""Did training help? One word, and the interval it rests on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from edge_glass.config.metrics import higher_is_better
from edge_glass.core.errors import ConfigError
from edge_glass.evaluation.intervals import Estimate, Interval

Status = Literal["improved", "unchanged", "worse"]


@dataclass(frozen=True)
class Verdict:
    """The paired difference trained - baseline on one metric, and what it means.

    `difference`, `low` and `high` keep the metric's own sign: a median rank that fell by 40 has the
    difference -40 and the status `improved`.
    """

    status: Status
    metric: str
    difference: float
    low: float
    high: float

    def as_dict(self) -> dict[str, Any]:
        """The form that stands in `results.json`."""
        return asdict(self)


def judge(metric: str, difference: Interval) -> Verdict:
    """Improved or worse only when the 95 % interval of the difference excludes 0."""
    status: Status = "unchanged"
    if difference.low > 0.0 or difference.high < 0.0:
        status = "improved" if (difference.low > 0.0) == higher_is_better(metric) else "worse"
    return Verdict(status, metric, difference.value, difference.low, difference.high)


def compare(metric: str, trained: Mapping[str, Estimate], baseline: Mapping[str, Estimate]) -> Verdict:
    """Verdict on one metric from paired estimates of two models.

    Raises:
        ConfigError: The metric was not measured.
    """
    if metric not in trained or metric not in baseline:
        raise ConfigError(
            f"evaluation.primary_metric: {metric!r} was not measured; it is one of {', '.join(trained)}"
        )
    return judge(metric, trained[metric].minus(baseline[metric]))
