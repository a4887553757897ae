"""Metric names, values and joint bootstrap draws against loops."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from edge_glass.alignment.measure.metrics import (
    estimate_retrieval,
    retrieval_values,
)
from edge_glass.alignment.measure.retrieval import RetrievalResult
from edge_glass.config.alignment import AlignmentConfig
from edge_glass.config.metrics import RETRIEVAL_METRICS, higher_is_better
from edge_glass.evaluation.intervals import resample_counts


def random_result(images: int, captions_each: int, dimensions=(32, 8), seed: int = 0, spread: int = 40):
    """Ranks drawn at random; groups are numbered with gaps and shuffled, as data sets do."""
    generator = np.random.default_rng(seed)
    groups = generator.permutation(images) * 3 + 5
    text_groups = generator.permutation(np.repeat(groups, captions_each))
    sizes = {"i2t": images, "t2i": len(text_groups)}
    found = {(d, dim): generator.integers(1, spread, size=n) for d, n in sizes.items() for dim in dimensions}
    return RetrievalResult({"i2t": groups, "t2i": text_groups}, tuple(dimensions), found)


def test_names_and_values():
    result = random_result(10, 1)
    values = retrieval_values(result)
    names = [row.name for row in RETRIEVAL_METRICS if row.name.split("_")[0] in ("i2t", "t2i", "mean")]
    assert set(values) == {*names, *(f"{name}@8" for name in names)}
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
    groups = np.unique(result.query_groups["i2t"])
    counts = np.concatenate(list(resample_counts(len(groups), 40, seed=2)))
    for draw, times in enumerate(counts):
        drawn = dict(zip(groups, times, strict=True))
        repeated = {
            (d, dim): np.repeat(ranks, [drawn[g] for g in result.query_groups[d]])
            for (d, dim), ranks in result.ranks.items()
        }
        expected = retrieval_values(RetrievalResult(result.query_groups, result.dimensions, repeated))
        for name, value in expected.items():
            assert estimates[name].draws[draw] == pytest.approx(value), name


def test_values_stand_in_the_estimates_and_intervals_hold_them():
    result = random_result(100, 1, spread=12)
    values = retrieval_values(result)
    for name, estimate in estimate_retrieval(result, samples=500).items():
        interval = estimate.interval()
        assert interval.value == values[name]
        assert interval.low <= interval.value <= interval.high


def test_draws_are_computed_together():
    """A second for all of them; Python calls for each draw and metric would take a minute."""
    result = random_result(300, 1, dimensions=(1024, 512, 256, 128, 64, 32))
    calls = 0

    def count(frame, event, argument):
        nonlocal calls
        calls += event == "call"

    sys.setprofile(count)
    try:
        estimate_retrieval(result, samples=2000)
    finally:
        sys.setprofile(None)
    assert 0 < calls < 2000 * len(result.dimensions)


def test_direction_of_a_metric():
    assert higher_is_better("mean_r1") and higher_is_better("val/i2t_r10@64")
    assert not higher_is_better("t2i_medr@64")
    assert not higher_is_better("val/loss") and not higher_is_better("train/loss_clip")
    assert not higher_is_better("never_ended") and not higher_is_better("val/never_ended/type/color")
    assert higher_is_better("exact_match/type/hair loss") and higher_is_better("val/bleu/source/loss")


def is_known(name: str) -> bool:
    """Whether an experiment of all modalities, at 256 and 64 numbers, has this metric."""
    vision = {"projection_dim": 256, "mrl_dimensions": [64]}
    config = AlignmentConfig.model_validate(
        {"name": "x", "vision_encoder": vision, "audio_encoder": {}, "fusion": {}}
    )
    return not list(config.metric_problems(("ablation", "metrics", 0), name))


def test_metric_names_are_checked():
    assert is_known("mean_r1") and is_known("i2t_medr@64") and is_known("va2t_r5@64")
    for wrong in ("accuracy", "i2t_r2", "i2t_r1@512", "i2t_r1@256", "i2t_r1@"):
        assert not is_known(wrong), wrong


def few_and_many(few: int = 3, many: int = 60) -> RetrievalResult:
    """Pictures and words of many groups, sounds of a few of them."""
    generator = np.random.default_rng(1)
    groups = generator.permutation(many)
    sizes = {"i2t": many, "t2i": many, "a2t": few, "t2a": few}
    found = {(d, dim): generator.integers(1, 15, size=n) for d, n in sizes.items() for dim in (16, 4)}
    return RetrievalResult({d: groups[:n] for d, n in sizes.items()}, (16, 4), found)


def test_the_mean_is_over_all_directions_that_were_measured():
    values = retrieval_values(few_and_many())
    for tail in ("r1", "r10", "medr", "r5@4"):
        each = [values[f"{direction}_{tail}"] for direction in ("i2t", "t2i", "a2t", "t2a")]
        assert values[f"mean_{tail}"] == pytest.approx(np.mean(each))
    assert not [name for name in values if name.startswith(("v2a", "a2v"))]
    assert set(estimate_retrieval(few_and_many(), samples=100)) == set(values)


def test_draws_of_a_direction_with_few_queries():
    """Groups are drawn, not directions: each draw equals metrics of the queries it repeats, if it has any."""
    result = few_and_many()
    estimates = estimate_retrieval(result, samples=200, seed=3)
    groups = np.unique(result.query_groups["i2t"])
    counts = np.concatenate(list(resample_counts(len(groups), 200, seed=3)))
    missed = 0
    for draw, times in enumerate(counts):
        drawn = dict(zip(groups, times, strict=True))
        for direction, queries in result.query_groups.items():
            repeated = np.repeat(result.ranks[direction, 16], [drawn[group] for group in queries])
            if not len(repeated):
                missed += 1
                continue
            found = [estimates[f"{direction}_{measure}"].draws[draw] for measure in ("r1", "r10", "medr")]
            expected = [np.mean(repeated <= 1), np.mean(repeated <= 10), np.median(repeated)]
            assert found == pytest.approx(expected), direction
    assert missed  # three of sixty groups are missed by about one draw in twenty
    for name, estimate in estimates.items():
        interval = estimate.interval()
        assert np.isfinite(estimate.draws).all() and interval.low <= interval.value <= interval.high, name


def test_metric_names_of_sounds_are_known():
    for name in ("a2t_r1", "t2a_r5@64", "v2a_medr", "a2v_r10"):
        assert is_known(name), name
    for wrong in ("a2i_r1", "t2v_r1", "v2t_r1"):
        assert not is_known(wrong), wrong
