"""How sure is a number measured on some groups? Intervals of a metric, and of the difference of two models.

The unit is the *group*: one picture with all its captions or questions. What belongs to one picture is
not independent, and the two directions of retrieval are measured on the same pictures; whole groups respect
both. The bootstrap draws groups anew, with replacement, and so tells the spread of any metric, of medians and
of F1 too. The draws depend on (number of groups, samples, seed) only: two models measured on the same groups
meet the same draws, and their difference is paired without further ado.

The middle 95 % of the draws would be too narrow for few groups. Instead their spread gives the standard
error, and Student's t, with one degree of freedom less than groups, how many of these the interval reaches;
where the draws are skewed, the longer side is stretched. Groups that all say the same have no spread: then
the others may differ as often as the rule of three (here exact) allows. `benchmarks/interval_coverage.py`
measures how often such intervals hold the truth.

Sources: Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapters 6 and 22; Johnson, Modified
t tests and confidence intervals for asymmetrical populations (1978); Kish, Survey Sampling (1965), for groups
of unequal size.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

CONFIDENCE = 0.95
CHUNK_BYTES = 64 * 2**20
TAIL = (1.0 - CONFIDENCE) / 2.0

SHARE = (0.0, 1.0)
"""Least and greatest value of most metrics."""


@dataclass(frozen=True)
class Interval:
    """A number with the ends of its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Estimate:
    """A metric's value on the split, and what its interval is made of.

    Attributes:
        value: On all groups.
        draws: On every bootstrap draw, float64 `[samples]`.
        groups: How many groups it rests on; see `effective_groups`.
        bounds: The least and the greatest value that the metric can have.
    """

    value: float
    draws: np.ndarray = field(repr=False)
    groups: float
    bounds: tuple[float, float] = SHARE

    def interval(self) -> Interval:
        """The 95 % interval of the value."""
        return group_interval(self)

    def minus(self, other: Estimate) -> Interval:
        """The 95 % interval of the paired difference; both must have the same groups, samples and seed."""
        return group_interval(self.difference(other))

    def difference(self, other: Estimate) -> Estimate:
        """The paired difference as an estimate of its own."""
        if self.draws.shape != other.draws.shape:
            raise ValueError(f"{len(self.draws)} draws cannot be paired with {len(other.draws)}")
        (least, greatest), (other_least, other_greatest) = self.bounds, other.bounds
        return Estimate(
            self.value - other.value,
            self.draws - other.draws,
            min(self.groups, other.groups),
            (least - other_greatest, greatest - other_least),
        )


def effective_groups(sizes: np.ndarray) -> float:
    """How many groups of equal size say as much as these: Kish's (sum of sizes)² / sum of squared sizes."""
    sizes = np.asarray(sizes, dtype=np.float64)
    return float(sizes.sum() ** 2 / np.square(sizes).sum())


def group_interval(estimate: Estimate) -> Interval:
    """The 95 % interval of an estimate, within the bounds of its metric."""
    value, groups, spread = estimate.value, estimate.groups, float(estimate.draws.std())
    least, greatest = estimate.bounds
    if groups < 2.0 or spread <= 1e-12 * max(1.0, abs(value)):
        # No spread to go by. So many of all groups may be different and leave no trace among this many.
        unseen = 1.0 - TAIL ** (1.0 / groups)
        return Interval(value, value - unseen * (value - least), value + unseen * (greatest - value))
    error = spread * np.sqrt(groups / (groups - 1.0))
    reach = student_quantile(groups)
    longer = _skew_of_population(estimate.draws, groups) * (1.0 + 2.0 * reach**2) / 6.0
    low = value - error * (reach + max(-longer, 0.0))
    high = value + error * (reach + max(longer, 0.0))
    return Interval(value, float(max(low, least)), float(min(high, greatest)))


def student_quantile(groups: float) -> float:
    """How many standard errors of a mean of so many groups its 95 % interval reaches to each side."""
    from scipy.special import stdtrit

    return float(stdtrit(groups - 1.0, 1.0 - TAIL))


def _skew_of_population(draws: np.ndarray, groups: float) -> float:
    """Skewness of the draws, raised to what so few groups hide of it.

    The usual correction of a sample's skewness, sqrt(n (n - 1)) / (n - 2), is far too small for a handful of
    groups; its fourth power gave the coverage of docs/benchmarks.md, and is 1 for many groups.
    """
    centred = draws - draws.mean()
    seen = float((centred**3).mean() / (centred**2).mean() ** 1.5)
    n = max(groups, 3.0)
    return seen * (n * (n - 1.0)) ** 2 / (n - 2.0) ** 4


def resample_counts(num_units: int, samples: int, seed: int) -> Iterator[np.ndarray]:
    """How often each unit is drawn, in chunks of samples: int64 `[b, U]`, each row summing to U.

    The chunks bound memory and do not change the numbers: every sample has its own random stream position.
    """
    if num_units < 1:
        raise ValueError("there is nothing to draw from: no units")
    generator = np.random.default_rng(seed)
    chunk = max(1, CHUNK_BYTES // (8 * num_units))
    for first in range(0, samples, chunk):
        rows = min(chunk, samples - first)
        drawn = generator.integers(num_units, size=(rows, num_units))
        drawn += np.arange(rows)[:, None] * num_units
        yield np.bincount(drawn.ravel(), minlength=rows * num_units).reshape(rows, num_units)


def estimate_mean(
    values: np.ndarray,
    units: np.ndarray | None = None,
    samples: int = 2000,
    seed: int = 0,
    bounds: tuple[float, float] = SHARE,
) -> Estimate:
    """Estimate a mean.

    Args:
        values: Float `[Q]`, one number per query: a hit, an IoU, an exact match.
        units: Integer `[Q]`, which queries are drawn together; by default each is its own unit.
        samples: Bootstrap draws.
        seed: Of the draws.
        bounds: Least and greatest value that a query can have; values beyond them widen them.
    """
    values = np.asarray(values, dtype=np.float64)
    index = np.arange(len(values)) if units is None else np.unique(units, return_inverse=True)[1]
    sums, sizes = np.bincount(index, weights=values), np.bincount(index)
    draws = [(counts @ sums) / (counts @ sizes) for counts in resample_counts(len(sums), samples, seed)]
    bounds = float(min(bounds[0], values.min())), float(max(bounds[1], values.max()))
    return Estimate(float(values.mean()), np.concatenate(draws), effective_groups(sizes), bounds)


def bootstrap_interval(
    values: np.ndarray, units: np.ndarray | None = None, samples: int = 2000, seed: int = 0
) -> Interval:
    """95 % interval of the mean of `values` `[Q]`; see `estimate_mean`."""
    return estimate_mean(values, units, samples, seed).interval()


def paired_difference(
    values: np.ndarray,
    baseline: np.ndarray,
    units: np.ndarray | None = None,
    samples: int = 2000,
    seed: int = 0,
) -> Interval:
    """95 % interval of mean(values) - mean(baseline), both float `[Q]` over the same queries."""
    values, baseline = np.asarray(values, dtype=np.float64), np.asarray(baseline, dtype=np.float64)
    if values.shape != baseline.shape:
        raise ValueError(f"{values.shape} queries cannot be paired with {baseline.shape}")
    return estimate_mean(values - baseline, units, samples, seed, bounds=(-1.0, 1.0)).interval()
