"""Queries fused from two modalities: ranked like any other, and left out of the mean."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from test_retrieval import naive_ranks

from edge_glass.alignment.measure.metrics import (
    MEASURES,
    estimate_retrieval,
    retrieval_values,
)
from edge_glass.alignment.measure.retrieval import (
    DIRECTIONS,
    FUSED_DIRECTIONS,
    RetrievalResult,
    fused_hits,
    join_results,
    retrieval_hits,
)
from edge_glass.config.metrics import RETRIEVAL_METRICS
from edge_glass.core.errors import DataError


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def random_rows(rows: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((rows, 6)).astype(np.float32)


def mixed_result(wrong: bool = False) -> RetrievalResult:
    """Pictures and words of twelve groups, near each other, and fused queries, right or wrong."""
    groups = np.arange(12)
    pictures = random_rows(12, 0)
    words = pictures + 1.2 * random_rows(12, 1)
    fused = -pictures if wrong else pictures
    dims = (6, 3)
    return join_results(
        [
            retrieval_hits(pictures, words, groups, groups, dims),
            fused_hits(fused, pictures, groups, groups, dims, "vision"),
        ]
    )


def test_names() -> None:
    assert FUSED_DIRECTIONS == {"vision": "at2v", "audio": "vt2a", "text": "va2t"}
    assert not set(FUSED_DIRECTIONS.values()) & set(itertools.chain(*DIRECTIONS.values()))
    assert {f"at2v_{measure}" for measure in MEASURES} <= {row.name for row in RETRIEVAL_METRICS}


@pytest.mark.parametrize("wanted", FUSED_DIRECTIONS)
def test_fused_hits_equal_the_loop(wanted: str) -> None:
    queries, candidates = random_rows(7, 0), random_rows(9, 1)
    asked, there = np.array([5, 5, 2, 0, 7, 8, 2]), np.array([0, 2, 5, 7, 8, 2, 11, 12, 0])
    result = fused_hits(3 * queries, 0.1 * candidates, asked, there, (2, 6, 4), wanted)
    direction = FUSED_DIRECTIONS[wanted]
    assert result.directions == (direction,) and result.dimensions == (6, 4, 2)
    assert set(result.ranks) == {(direction, dim) for dim in (6, 4, 2)}, "there is no way back"
    assert result.query_groups[direction].tolist() == asked.tolist()
    for dim in (6, 4, 2):
        expected = naive_ranks(unit(queries[:, :dim]), unit(candidates[:, :dim]), asked, there)
        np.testing.assert_array_equal(result.ranks[direction, dim], expected)
    assert len({tuple(found) for found in result.ranks.values()}) > 1


def test_a_fused_query_without_an_answer_is_refused() -> None:
    with pytest.raises(DataError, match="no right candidate"):
        fused_hits(random_rows(2, 0), random_rows(2, 1), np.array([0, 9]), np.array([0, 1]), (6,), "vision")


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("at", ["", "@3"])
def test_the_mean_leaves_fused_queries_out(measure: str, at: str) -> None:
    right, wrong = mixed_result(), mixed_result(wrong=True)
    values, others = retrieval_values(right), retrieval_values(wrong)
    name = f"{measure}{at}"
    assert values[f"at2v_{name}"] != others[f"at2v_{name}"]
    assert values[f"mean_{name}"] == others[f"mean_{name}"]
    assert values[f"mean_{name}"] == pytest.approx((values[f"i2t_{name}"] + values[f"t2i_{name}"]) / 2)
    assert others[f"mean_{name}"] != pytest.approx(
        np.mean([others[f"{way}_{name}"] for way in ("i2t", "t2i", "at2v")])
    )


def test_the_bootstrap_of_the_mean_leaves_fused_queries_out() -> None:
    right, wrong = (estimate_retrieval(mixed_result(flag), samples=60, seed=3) for flag in (False, True))
    assert set(right) == set(retrieval_values(mixed_result()))
    for name in ("r1", "r5@3", "medr"):
        np.testing.assert_array_equal(right[f"mean_{name}"].draws, wrong[f"mean_{name}"].draws)
        by_hand = (right[f"i2t_{name}"].draws + right[f"t2i_{name}"].draws) / 2
        np.testing.assert_allclose(right[f"mean_{name}"].draws, by_hand)
    assert right["mean_r1"].draws.std() > 0
    assert right["at2v_r1"].draws.mean() == 1.0 and wrong["at2v_r1"].draws.mean() == 0.0
