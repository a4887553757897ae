"""Bootstrap intervals: coverage, pairing, units, and independence from chunks."""

from __future__ import annotations

import numpy as np
import pytest

from edge_glass.evaluation import intervals
from edge_glass.evaluation.intervals import (
    Estimate,
    bootstrap_interval,
    estimate_mean,
    paired_difference,
    percentile_interval,
    resample_counts,
)


def test_the_interval_of_a_proportion_matches_theory():
    hits = np.arange(400) % 4 == 0
    found = bootstrap_interval(hits, samples=4000)
    spread = 1.96 * np.sqrt(0.25 * 0.75 / 400)
    assert found.value == 0.25
    assert found.low == pytest.approx(0.25 - spread, abs=0.006)
    assert found.high == pytest.approx(0.25 + spread, abs=0.006)


def test_nominal_coverage():
    """About 95 % of intervals hold the true mean; far fewer or all of them would mean a wrong quantile."""
    generator = np.random.default_rng(0)
    inside = 0
    for trial in range(200):
        found = bootstrap_interval(generator.normal(size=100), samples=400, seed=trial)
        inside += found.low <= 0.0 <= found.high
    assert 178 <= inside <= 199


def test_draws_are_seeded_and_do_not_depend_on_chunks(monkeypatch):
    whole = np.concatenate(list(resample_counts(50, 300, seed=3)))
    assert whole.shape == (300, 50)
    np.testing.assert_array_equal(whole.sum(axis=1), np.full(300, 50))
    monkeypatch.setattr(intervals, "CHUNK_BYTES", 8 * 50 * 7)
    chunks = list(resample_counts(50, 300, seed=3))
    assert len(chunks) == 43
    np.testing.assert_array_equal(np.concatenate(chunks), whole)
    assert not np.array_equal(np.concatenate(list(resample_counts(50, 300, seed=4))), whole)


def test_units_are_drawn_whole():
    """Ten copies of a value are one observation: the interval must not shrink by drawing them apart."""
    values = np.random.default_rng(0).normal(size=40)
    alone = bootstrap_interval(values)
    copied = bootstrap_interval(values.repeat(10), units=np.arange(40).repeat(10))
    apart = bootstrap_interval(values.repeat(10))
    assert (copied.low, copied.high) == pytest.approx((alone.low, alone.high))
    assert apart.high - apart.low < 0.5 * (alone.high - alone.low)


def test_units_of_different_size_keep_the_mean_over_queries():
    found = estimate_mean(np.array([0.0, 0.0, 0.0, 1.0]), units=np.array([5, 5, 5, 9]))
    assert found.value == 0.25
    assert set(np.round(found.draws, 9)) == {0.0, 0.25, 1.0}


def test_pairing_sees_a_small_steady_gain_that_unpaired_intervals_hide():
    base = np.random.default_rng(1).normal(size=200) * 10
    gain = base + 0.1 + 0.01 * np.random.default_rng(2).normal(size=200)
    difference = paired_difference(gain, base)
    assert 0.09 < difference.low < difference.value < difference.high < 0.11
    assert bootstrap_interval(gain).low < bootstrap_interval(base).high
    by_estimates = estimate_mean(gain).minus(estimate_mean(base))
    assert (by_estimates.low, by_estimates.high) == pytest.approx((difference.low, difference.high))


def test_what_cannot_be_paired_is_refused():
    with pytest.raises(ValueError, match="paired"):
        paired_difference(np.zeros(3), np.zeros(4))
    with pytest.raises(ValueError, match="paired"):
        Estimate(0.0, np.zeros(3)).minus(Estimate(0.0, np.zeros(4)))
    with pytest.raises(ValueError, match="no units"):
        next(resample_counts(0, 10, 0))


def test_percentiles():
    found = percentile_interval(0.5, np.linspace(0, 1, 1001))
    assert (found.low, found.high) == pytest.approx((0.025, 0.975))
