"""results.json: the form that DESIGN fixes, and files that are never half written."""

from __future__ import annotations

import json

import numpy as np
import pytest

from edge_glass.alignment.measure.metrics import estimate_retrieval
from edge_glass.alignment.measure.retrieval import retrieval_hits
from edge_glass.core.errors import DataError
from edge_glass.evaluation.results import SplitCount, assemble_results, read_json, read_results, write_json


def estimates(seed: int, noise: float):
    generator = np.random.default_rng(seed)
    images = generator.normal(size=(40, 16))
    texts = images + noise * generator.normal(size=(40, 16))
    return estimate_retrieval(retrieval_hits(images, texts, np.arange(40), np.arange(40), [4]), samples=200)


def test_the_form():
    results = assemble_results(
        split="test",
        metric="mean_r1",
        trained=estimates(0, 1.5),
        baseline=estimates(1, 50.0),
        closed_form=estimates(2, 0.1),
        rivals={"nearest_neighbour": estimates(3, 2.5)},
        seconds=12.5,
        samples=4000,
        data={"train": SplitCount(1468, {"cannot be decoded": 3})},
    )
    assert list(results)[:6] == ["split", "metrics", "baseline", "verdict", "seconds", "samples"]
    assert set(results["metrics"]) == set(results["baseline"]) == set(results["closed_form"])
    assert {"i2t_r1", "t2i_r10", "mean_r5", "mean_r1@4", "i2t_medr@4"} <= set(results["metrics"])
    assert all(set(entry) == {"value", "low", "high"} for entry in results["metrics"].values())
    keys = {"status", "metric", "difference", "low", "high", "groups", "strongest_rival"}
    assert set(results["verdict"]) == keys and results["verdict"]["groups"] == 40
    assert set(results["rivals"]) == {"closed_form", "nearest_neighbour"}
    assert results["rivals"]["closed_form"] == results["closed_form"]
    strongest = results["verdict"]["strongest_rival"]
    against = results["closed_form_verdict"]
    assert strongest == {
        "name": "closed_form",
        "value": results["closed_form"]["mean_r1"]["value"],
        **{key: against[key] for key in ("status", "difference", "low", "high")},
    }
    assert results["verdict"]["status"] == "improved"
    assert results["closed_form_verdict"]["status"] == "worse"
    assert results["data"]["train"] == {"rows": 1468, "rejected": {"cannot be decoded": 3}}
    json.dumps(results, allow_nan=False)


def test_optional_parts_are_absent_not_null():
    known = estimates(0, 0.5)
    results = assemble_results(
        split="val", metric="i2t_r1", trained=known, baseline=known, seconds=1, samples=2
    )
    assert set(results) == {"split", "metrics", "baseline", "verdict", "seconds", "samples"}
    assert results["verdict"]["status"] == "unchanged" and "strongest_rival" not in results["verdict"]


def test_writing_is_atomic_and_reads_back(tmp_path):
    path = tmp_path / "deep" / "results.json"
    write_json(path, {"name": "Käse 🧀"})
    assert read_json(path) == {"name": "Käse 🧀"}
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(path, {"value": float("nan")})
    assert read_json(path) == {"name": "Käse 🧀"}
    with pytest.raises(TypeError):
        write_json(path, {"value": object()})
    assert [p.name for p in path.parent.iterdir()] == ["results.json"]


def test_broken_files_are_data_errors(tmp_path):
    path = tmp_path / "results.json"
    with pytest.raises(DataError, match="no such file"):
        read_json(path)
    for content, message in (("{", "not JSON"), ("[]", "object")):
        path.write_text(content)
        with pytest.raises(DataError, match=message):
            read_json(path)
    path.write_text('{"split": "test"}')
    with pytest.raises(DataError, match="without metrics"):
        read_results(path)
