"""The verdict: only an interval without 0 is news, of few groups nothing is, and less can be better."""

from __future__ import annotations

import numpy as np
import pytest

from edge_glass.alignment.measure.metrics import estimate_retrieval
from edge_glass.alignment.measure.retrieval import retrieval_hits
from edge_glass.core.errors import ConfigError
from edge_glass.evaluation.intervals import Estimate, Interval, estimate_mean
from edge_glass.evaluation.verdict import compare, judge, strongest_rival


@pytest.mark.parametrize(
    ("metric", "low", "high", "status"),
    [
        ("mean_r1", 0.1, 0.2, "improved"),
        ("mean_r1", -0.2, -0.1, "worse"),
        ("mean_r1", -0.1, 0.1, "unchanged"),
        ("mean_r1", 0.0, 0.1, "unchanged"),
        ("mean_r1", 0.0, 0.0, "unchanged"),
        ("i2t_medr", -9.0, -2.0, "improved"),
        ("i2t_medr@64", 2.0, 9.0, "worse"),
        ("loss", -0.2, -0.1, "improved"),
    ],
)
def test_status(metric, low, high, status):
    verdict = judge(metric, Interval((low + high) / 2, low, high), 5.0)
    assert verdict.status == status
    assert verdict.as_dict() == {
        "status": status,
        "metric": metric,
        "difference": (low + high) / 2,
        "low": low,
        "high": high,
        "groups": 5.0,
    }
    assert judge(metric, Interval((low + high) / 2, low, high), 4.9).status == "too_few"


def test_an_aligned_model_beats_a_random_one_and_not_itself():
    generator = np.random.default_rng(0)
    images, noise = generator.normal(size=(80, 24)), generator.normal(size=(80, 24))
    groups = np.arange(80)
    trained = estimate_retrieval(retrieval_hits(images, images + 0.5 * noise, groups, groups, [8]), 500)
    untouched = estimate_retrieval(retrieval_hits(images, noise, groups, groups, [8]), 500)
    assert compare("mean_r1", trained, untouched).status == "improved"
    assert compare("mean_medr@8", trained, untouched).status == "improved"
    assert compare("mean_r1", untouched, trained).status == "worse"
    itself = compare("mean_r1", trained, trained)
    assert (itself.status, itself.difference, itself.low) == ("unchanged", 0.0, -itself.high)
    assert 0.0 < itself.high == pytest.approx(1 - 0.025 ** (1 / 80))


def test_a_collapsed_model_is_no_improvement():
    generator = np.random.default_rng(1)
    groups = np.arange(60)
    constant = np.ones((60, 8))
    collapsed = estimate_retrieval(retrieval_hits(constant, constant, groups, groups), 500)
    random = estimate_retrieval(
        retrieval_hits(generator.normal(size=(60, 8)), generator.normal(size=(60, 8)), groups, groups), 500
    )
    for metric in ("mean_r1", "mean_r10", "mean_medr"):
        assert compare(metric, collapsed, random).status != "improved"


def test_an_unmeasured_metric_names_the_key():
    known = {"mean_r1": Estimate(0.0, np.zeros(3), 3)}
    with pytest.raises(ConfigError, match="primary_metric"):
        compare("accuracy", known, known)


def test_the_strongest_rival():
    generator = np.random.default_rng(0)
    values = {"a": generator.random(60) * 0.2, "b": 0.5 + generator.random(60) * 0.2, "c": np.full(60, 0.3)}
    models = {name: {"hit": estimate_mean(one), "loss": estimate_mean(-one)} for name, one in values.items()}
    found = strongest_rival("hit", models["a"], {"b": models["b"], "c": models["c"]})
    assert found is not None and (found["name"], found["status"]) == ("b", "worse")
    assert found["value"] == pytest.approx(values["b"].mean())
    assert found["difference"] == pytest.approx(values["a"].mean() - values["b"].mean())
    assert found["low"] < found["difference"] < found["high"] < 0.0
    assert strongest_rival("hit", models["b"], {"a": models["a"], "c": models["c"]})["status"] == "improved"
    # Less is better: the strongest is the one with the least.
    assert strongest_rival("loss", models["c"], {"a": models["a"], "b": models["b"]})["name"] == "b"
    assert strongest_rival("other", models["a"], {"b": models["b"]}) is None
    assert strongest_rival("hit", models["a"], {}) is None
