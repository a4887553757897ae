"""Metric names, values and joint bootstrap draws against loops."""

from __future__ import annotations

import time

import numpy as np
import pytest

from edge_glass.errors import ConfigError
from edge_glass.evaluation.intervals import resample_counts
from edge_glass.evaluation.metrics import (
    RETRIEVAL_METRICS,
    check_metric,
    estimate_retrieval,
    higher_is_better,
    retrieval_values,
)
from edge_glass.evaluation.retrieval import RetrievalResult


def random_result(images: int, captions_each: int, dimensions=(32, 8), seed: int = 0, spread: int = 40):
    """Ranks drawn at random; groups are numbered with gaps and shuffled, as data sets do."""
    generator = np.random.default_rng(seed)
    groups = generator.permutation(images) * 3 + 5
    text_groups = generator.permutation(np.repeat(groups, captions_each))
    sizes = {"i2t": images, "t2i": len(text_groups)}
    found = {(d, dim): generator.integers(1, spread, size=n) for d, n in sizes.items() for dim in dimensions}
    return RetrievalResult(groups, text_groups, tuple(dimensions), found)


def test_names_and_values():
    result = random_result(10, 1)
    values = retrieval_values(result)
    assert set(values) == {*RETRIEVAL_METRICS, *(f"{name}@8" for name in RETRIEVAL_METRICS)}
    assert values["i2t_r5"] == np.mean(result.ranks["i2t", 32] <= 5)
    assert values["t2i_r10@8"] == np.mean(result.ranks["t2i", 8] <= 10)
    assert values["i2t_medr"] == np.median(result.ranks["i2t", 32])
    assert values["mean_r1"] == (values["i2t_r1"] + values["t2i_r1"]) / 2
    assert values["mean_medr@8"] == (values["i2t_medr@8"] + values["t2i_medr@8"]) / 2


@pytest.mark.parametrize("captions_each", [1, 3])
def test_every_draw_equals_metrics_of_the_resampled_queries(captions_each):
    """Rebuild each draw by repeating queries by hand: means and medians of both directions must agree."""
    result = random_result(15, captions_each)
    estimates = estimate_retrieval(result, samples=40, seed=2)
    groups = np.unique(result.image_groups)
    counts = np.concatenate(list(resample_counts(len(groups), 40, seed=2)))
    for draw, times in enumerate(counts):
        drawn = dict(zip(groups, times, strict=True))
        repeated = {
            (d, dim): np.repeat(ranks, [drawn[g] for g in result.query_groups(d)])
            for (d, dim), ranks in result.ranks.items()
        }
        expected = retrieval_values(
            RetrievalResult(result.image_groups, result.text_groups, result.dimensions, repeated)
        )
        for name, value in expected.items():
            assert estimates[name].draws[draw] == pytest.approx(value), name


def test_values_stand_in_the_estimates_and_intervals_hold_them():
    result = random_result(100, 1, spread=12)
    values = retrieval_values(result)
    for name, estimate in estimate_retrieval(result, samples=500).items():
        interval = estimate.interval()
        assert interval.value == values[name]
        assert interval.low <= interval.value <= interval.high


def test_thousands_of_draws_take_less_than_a_second():
    result = random_result(300, 1, dimensions=(1024, 512, 256, 128, 64, 32))
    start = time.perf_counter()
    estimate_retrieval(result, samples=2000)
    assert time.perf_counter() - start < 2.0, "a second on a quiet machine"


def test_direction_of_a_metric():
    assert higher_is_better("mean_r1") and higher_is_better("val/i2t_r10@64")
    assert not higher_is_better("t2i_medr@64")
    assert not higher_is_better("val/loss") and not higher_is_better("train/loss_clip")


def test_metric_names_are_checked():
    check_metric("mean_r1", [256, 64])
    check_metric("i2t_medr@64", [256, 64])
    for wrong in ("accuracy", "i2t_r2", "i2t_r1@512", "i2t_r1@256", "i2t_r1@"):
        with pytest.raises(ConfigError, match="metric"):
            check_metric(wrong, [256, 64])
