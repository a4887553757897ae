"""Bootstrap intervals: how sure is a number measured on a few hundred queries?

What is drawn anew, with replacement, is the *unit*: one picture with all its captions. Captions of one
picture are not independent, and the two directions of retrieval are measured on the same pictures; drawing
whole units respects both. The draws depend on (number of units, samples, seed) only, so two models measured
on the same units meet the same draws and their difference is paired without further ado.

Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993), percentile intervals.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

CONFIDENCE = 0.95
CHUNK_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Interval:
    """A number with the ends of its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Estimate:
    """A metric's value on the split and on every bootstrap draw (float64 `[samples]`)."""

    value: float
    draws: np.ndarray

    def interval(self) -> Interval:
        """The 95 % percentile interval."""
        return percentile_interval(self.value, self.draws)

    def minus(self, other: Estimate) -> Interval:
        """Interval of the paired difference; both must come from the same units, samples and seed."""
        if self.draws.shape != other.draws.shape:
            raise ValueError(f"{len(self.draws)} draws cannot be paired with {len(other.draws)}")
        return percentile_interval(self.value - other.value, self.draws - other.draws)


def percentile_interval(value: float, draws: np.ndarray) -> Interval:
    """The middle 95 % of the draws around a value."""
    tail = (1.0 - CONFIDENCE) / 2.0
    low, high = np.quantile(draws, [tail, 1.0 - tail])
    return Interval(float(value), float(low), float(high))


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
    values: np.ndarray, units: np.ndarray | None = None, samples: int = 2000, seed: int = 0
) -> Estimate:
    """Bootstrap a mean.

    Args:
        values: Float `[Q]`, one number per query: a hit, an IoU, an exact match.
        units: Integer `[Q]`, which queries are drawn together; by default each is its own unit.
        samples: Bootstrap draws.
        seed: Of the draws.
    """
    values = np.asarray(values, dtype=np.float64)
    index = np.arange(len(values)) if units is None else np.unique(units, return_inverse=True)[1]
    sums, sizes = np.bincount(index, weights=values), np.bincount(index)
    draws = [(counts @ sums) / (counts @ sizes) for counts in resample_counts(len(sums), samples, seed)]
    return Estimate(float(values.mean()), np.concatenate(draws))


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
    return estimate_mean(values - baseline, units, samples, seed).interval()
