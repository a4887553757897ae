"""Intervals: coverage with few groups and many, pairing, units, and independence from chunks."""

from __future__ import annotations

import numpy as np
import pytest

from edge_glass.evaluation import intervals
from edge_glass.evaluation.intervals import (
    Estimate,
    bootstrap_interval,
    effective_groups,
    estimate_mean,
    paired_difference,
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
        Estimate(0.0, np.zeros(3), 3).minus(Estimate(0.0, np.zeros(4), 3))
    with pytest.raises(ValueError, match="no units"):
        next(resample_counts(0, 10, 0))


def test_the_interval_of_equal_groups_is_students():
    """Symmetric values: no skew, so that mean ± t · s / √n is all there is."""
    values = np.array([0.2, 0.4, 0.5, 0.6, 0.8])
    found = bootstrap_interval(values, samples=200_000)
    half = 2.776445 * values.std(ddof=1) / np.sqrt(5)
    assert (found.low, found.high) == pytest.approx((0.5 - half, 0.5 + half), abs=0.02)


@pytest.mark.parametrize("groups", [5, 10, 20])
@pytest.mark.parametrize("shape", ["normal", "skewed", "binary"])
def test_few_groups_hold_the_truth(shape, groups):
    """At least 93 % of intervals hold the true difference; the middle of the draws held 76 to 89 %."""
    generator = np.random.default_rng(groups)
    draw = {
        "normal": lambda: generator.normal(0.1, 1.0, groups),
        "skewed": lambda: generator.exponential(0.5, groups) - generator.exponential(0.4, groups),
        "binary": lambda: (generator.random(groups) < 0.5) * 1.0 - (generator.random(groups) < 0.4),
    }[shape]
    inside = 0
    for trial in range(400):
        found = paired_difference(draw(), np.zeros(groups), samples=300, seed=trial)
        inside += found.low <= 0.1 <= found.high
    assert inside >= 0.93 * 400 - 2 * np.sqrt(400 * 0.93 * 0.07)


def test_two_equally_good_models_are_rarely_told_apart():
    generator = np.random.default_rng(0)
    apart = 0
    for trial in range(300):
        ours, theirs = generator.random((2, 6)) < 0.6
        found = paired_difference(ours, theirs, samples=300, seed=trial)
        apart += found.low > 0.0 or found.high < 0.0
    assert apart <= 0.05 * 300 + 2 * np.sqrt(300 * 0.05 * 0.95)


def test_no_interval_has_width_zero():
    """All right: the exact rule of three says how many wrong ones may have been missed."""
    for count in (1, 3, 8, 50):
        right = bootstrap_interval(np.ones(count))
        missed = 1 - 0.025 ** (1 / count)
        assert (right.value, right.high) == (1.0, 1.0)
        assert right.low == pytest.approx(1 - missed)
        same = paired_difference(np.ones(count), np.ones(count))
        assert (same.low, same.high) == pytest.approx((-missed, missed))
    assert bootstrap_interval(np.zeros(8)).high == pytest.approx(1 - 0.025 ** (1 / 8))


def test_one_picture_says_next_to_nothing_however_many_questions_it_has():
    found = bootstrap_interval(np.repeat([0.0, 1.0], 50), units=np.zeros(100, dtype=int))
    assert found.low < 0.02 and found.high > 0.98


def test_intervals_stay_within_what_a_metric_can_be():
    found = bootstrap_interval(np.array([1, 1, 1, 1, 0.2]))
    assert 0.0 <= found.low < found.value < found.high == 1.0
    unbounded = bootstrap_interval(np.array([3.0, 9.0, 4.0, 5.0]))
    assert unbounded.low >= 0.0 and unbounded.high <= 9.0


def test_groups_of_unequal_size_count_for_less():
    assert effective_groups(np.array([3, 3, 3, 3])) == 4.0
    assert effective_groups(np.array([97, 1, 1, 1])) == pytest.approx(1.06, abs=0.01)
    values = np.random.default_rng(0).random(100)
    units = np.array([*range(3), *[3] * 97])
    assert estimate_mean(values, units, 100).groups < 1.1
