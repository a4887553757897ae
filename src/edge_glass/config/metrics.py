"""What a metric is called, which direction is better, how to read it, what it needs.

Nothing here imports torch, so that an experiment file is checked at once.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from typing import Final

from edge_glass.core.registry import Registry

ANSWER_METRIC_FILES: Final = Registry("edge_glass.instruction.measure.metrics", "answer metric")
"""One file each; what it has to define stands in the docstring of that package."""


@dataclass(frozen=True)
class Metric:
    """One metric.

    Attributes:
        name: As in results and experiment files.
        words: As in reports.
        higher_is_better: Its direction; None where neither is.
        note: How to read it.
        package: The package that it needs.
        extra: The extra of edge-glass that installs that package.
        by_part: It is also given for the rows of each type and of each source.
    """

    name: str
    words: str
    higher_is_better: bool | None = True
    note: str = ""
    package: str = ""
    extra: str = ""
    by_part: bool = False

    @property
    def installed(self) -> bool:
        """Whether the package that it needs is there."""
        return not self.package or importlib.util.find_spec(self.package) is not None


def answer_metrics() -> tuple[Metric, ...]:
    """Return the metrics of answers, in the order of tables."""
    modules = map(ANSWER_METRIC_FILES.load, ANSWER_METRIC_FILES.names())
    placed = sorted((getattr(module, "PLACE", 100), module.METRIC.name, module.METRIC) for module in modules)
    return tuple(metric for _, _, metric in placed)
