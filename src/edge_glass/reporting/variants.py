"""The seeds of each variant of an ablation: means, intervals over seeds, and what can be told apart."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from edge_glass.config.metrics import higher_is_better
from edge_glass.evaluation.intervals import CONFIDENCE, Interval
from edge_glass.reporting.run_folder import number

Mark = Literal["best", "even", ""]


@dataclass(frozen=True)
class Variant:
    """All seeds of one variant.

    Attributes:
        name: Of the variant.
        runs: Its rows.
        errors: Why runs without numbers have none.
    """

    name: str
    runs: list[Mapping[str, Any]]
    errors: list[str]

    def by_seed(self, metric: str) -> dict[Any, float]:
        """Seed → the metric, of every run that has it."""
        found = {run.get("seed"): number(run.get("metrics") or {}, metric) for run in self.runs}
        return {seed: value for seed, value in found.items() if value is not None}

    def values(self, metric: str) -> list[float]:
        """The metric of every seed that has it."""
        return list(self.by_seed(metric).values())

    def mean(self, metric: str) -> float | None:
        """Mean over the seeds."""
        values = self.values(metric)
        return statistics.fmean(values) if values else None

    def interval(self, metric: str) -> Interval | None:
        """Of the mean over seeds, if they vary; of a single run, the interval that it came with, if any."""
        values = self.values(metric)
        if len(values) > 1:
            return mean_interval(values) if _vary(values) else None
        for run in self.runs:
            ends = [number(run.get("metrics") or {}, metric, key) for key in ("value", "low", "high")]
            value, low, high = ends
            if value is not None and low is not None and high is not None:
                return Interval(value, low, high)
        return None

    def cost(self, name: str) -> float | None:
        """Mean over the seeds that have it; of the peak memory, the largest."""
        found = [value for run in self.runs if (value := number(run, name)) is not None]
        if not found:
            return None
        return max(found) if name.startswith("peak") else statistics.fmean(found)


def group_variants(rows: Sequence[Mapping[str, Any]]) -> list[Variant]:
    """Rows by variant, in the order of first appearance."""
    found: dict[str, Variant] = {}
    for row in rows:
        name = str(row["variant"])
        variant = found.setdefault(name, Variant(name, [], []))
        variant.runs.append(row)
        if row.get("error"):
            variant.errors.append(f"seed {row.get('seed', '?')}: {row['error']}")
    return list(found.values())


def mean_interval(values: Sequence[float]) -> Interval:
    """Student's 95 % interval of a mean over seeds; at least two values."""
    from scipy.special import stdtrit

    quantile = float(stdtrit(len(values) - 1, 0.5 + CONFIDENCE / 2))
    mean, half = statistics.fmean(values), quantile * statistics.stdev(values) / math.sqrt(len(values))
    return Interval(mean, mean - half, mean + half)


def _vary(values: Sequence[float]) -> bool:
    """Whether there is a spread to estimate: more than one value, and not all the same but for rounding."""
    return len(values) > 1 and statistics.stdev(values) > 1e-9


def paired_differences(variant: Variant, reference: Variant, metric: str) -> list[float]:
    """Variant minus reference, of every seed that both have."""
    ours, theirs = variant.by_seed(metric), reference.by_seed(metric)
    return [value - theirs[seed] for seed, value in ours.items() if seed in theirs]


def difference(variant: Variant, reference: Variant, metric: str) -> tuple[float, Interval | None] | None:
    """Mean of the paired differences, with its interval over seeds where there are several that differ.

    None when no seed has both. Differences that are the same for every seed say nothing about chance, so
    they have no interval.
    """
    found = paired_differences(variant, reference, metric)
    if not found:
        return None
    return statistics.fmean(found), mean_interval(found) if _vary(found) else None


def told_apart(variant: Variant, reference: Variant, metric: str) -> bool:
    """Whether two variants differ by more than chance.

    By the paired differences over seeds where these have an interval; otherwise only when the intervals that
    the two came with do not overlap.
    """
    found = difference(variant, reference, metric)
    if found is not None and found[1] is not None:
        return found[1].low > 0 or found[1].high < 0
    ours, theirs = _widest(variant, metric), _widest(reference, metric)
    if ours is None or theirs is None:
        return False
    return ours.low > theirs.high or ours.high < theirs.low


def _widest(variant: Variant, metric: str) -> Interval | None:
    """Interval over test queries that covers those of all the seeds."""
    entries = [run.get("metrics") or {} for run in variant.runs]
    lows = [low for entry in entries if (low := number(entry, metric, "low")) is not None]
    highs = [high for entry in entries if (high := number(entry, metric, "high")) is not None]
    mean = variant.mean(metric)
    return Interval(mean, min(lows), max(highs)) if mean is not None and lows and highs else None


def marks(variants: Sequence[Variant], metric: str) -> list[Mark]:
    """For each variant: the best mean, not told apart from the best, or neither."""
    measured = [variant for variant in variants if variant.mean(metric) is not None]
    if len(measured) < 2:
        return [""] * len(variants)
    best = (max if higher_is_better(metric) else min)(measured, key=lambda v: v.mean(metric) or 0.0)
    found: list[Mark] = []
    for variant in variants:
        if variant.mean(metric) is None:
            found.append("")
        elif variant.mean(metric) == best.mean(metric):
            found.append("best")
        else:
            found.append("" if told_apart(variant, best, metric) else "even")
    return found
