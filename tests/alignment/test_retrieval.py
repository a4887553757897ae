"""Ranks against a for-loop written from the definition."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_glass.alignment.measure.retrieval import DIRECTIONS, join_results, ranks, recall_at, retrieval_hits
from edge_glass.core.errors import DataError


def naive_ranks(queries, candidates, query_group, candidate_group):
    """1 + how many wrong candidates are at least as similar as the best right one."""
    found = []
    for query, group in zip(queries, query_group, strict=True):
        similarities = [float(np.dot(query, candidate)) for candidate in candidates]
        best = max(s for s, g in zip(similarities, candidate_group, strict=True) if g == group)
        pairs = zip(similarities, candidate_group, strict=True)
        found.append(1 + sum(s >= best - 1e-9 and g != group for s, g in pairs))
    return np.array(found)


@settings(deadline=None, max_examples=150)
@given(data=st.data())
def test_ranks_equal_the_loop_for_any_grouping_and_chunk(data):
    """Small integers make exact ties common; every query's group is among the candidates."""
    dim = data.draw(st.integers(1, 4))
    candidate_group = np.array(data.draw(st.lists(st.integers(0, 5), min_size=1, max_size=12)))
    query_group = np.array(
        data.draw(st.lists(st.sampled_from(sorted(set(candidate_group))), min_size=1, max_size=12))
    )
    whole = st.integers(-3, 3)
    queries = np.array(
        data.draw(st.lists(whole, min_size=len(query_group) * dim, max_size=len(query_group) * dim))
    )
    cells = len(candidate_group) * dim
    candidates = np.array(data.draw(st.lists(whole, min_size=cells, max_size=cells)))
    queries, candidates = (
        queries.reshape(-1, dim).astype(np.float32),
        candidates.reshape(-1, dim).astype(np.float32),
    )
    chunk = data.draw(st.sampled_from([None, 1, 2, 5, 100]))
    found = ranks(queries, candidates, query_group, candidate_group, chunk_size=chunk)
    assert found.dtype == np.int64
    np.testing.assert_array_equal(found, naive_ranks(queries, candidates, query_group, candidate_group))


def test_perfect_embeddings_rank_first_and_reversed_ones_last():
    eye = np.eye(6, dtype=np.float32)
    groups = np.arange(6)
    np.testing.assert_array_equal(ranks(eye, eye, groups, groups), np.ones(6))
    np.testing.assert_array_equal(ranks(eye, -eye, groups, groups), np.full(6, 6))


@pytest.mark.parametrize("chunk", [None, 1, 7])
def test_a_collapsed_model_comes_last_not_first(chunk):
    """Everything equally similar: no hit at any k below the number of candidates."""
    same = np.random.default_rng(0).normal(size=(1, 37)).astype(np.float32).repeat(50, axis=0)
    same /= np.linalg.norm(same, axis=1, keepdims=True)
    found = ranks(same, same, np.arange(50), np.arange(50), chunk_size=chunk)
    assert recall_at(found, 10).mean() == 0.0
    np.testing.assert_array_equal(found, np.full(50, 50))


def test_zero_vectors_are_ties():
    zeros = np.zeros((4, 3), dtype=np.float32)
    np.testing.assert_array_equal(ranks(zeros, zeros, np.arange(4), np.arange(4)), np.full(4, 4))


def test_duplicated_candidates_tie_whatever_the_chunk():
    """Equal rows in different groups may get sums that differ in the last bit; no rank may depend on it."""
    rows = np.random.default_rng(1).normal(size=(60, 511)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    twice, groups = np.concatenate([rows, rows]), np.arange(120)
    for chunk in (None, 1, 3, 50):
        np.testing.assert_array_equal(ranks(twice, twice, groups, groups, chunk_size=chunk), np.full(120, 2))


def test_several_right_candidates_count_by_the_best_and_do_not_push_one_another_down():
    query = np.array([[1.0, 0.0]], dtype=np.float32)
    candidates = np.array([[0.5, 0], [0.9, 0], [0.8, 0], [0.7, 0]], dtype=np.float32)
    assert ranks(query, candidates, np.array([7]), np.array([7, 1, 7, 7]))[0] == 2


def test_recall_at():
    np.testing.assert_array_equal(recall_at(np.array([1, 2, 5, 6]), 5), [1, 1, 1, 0])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_broken_embeddings_are_an_error(bad):
    rows = np.ones((3, 4), dtype=np.float32)
    broken = rows.copy()
    broken[1, 2] = bad
    for pair in ((broken, rows), (rows, broken)):
        with pytest.raises(DataError, match="embedding 1 is not finite"):
            ranks(*pair, np.arange(3), np.arange(3))


def test_wrong_shapes_are_errors():
    rows = np.ones((3, 4), dtype=np.float32)
    with pytest.raises(DataError, match="no right candidate"):
        ranks(rows, rows, np.array([0, 1, 9]), np.arange(3))
    with pytest.raises(DataError, match="one group each"):
        ranks(rows, rows, np.arange(2), np.arange(3))
    with pytest.raises(DataError, match="numbers"):
        ranks(rows, rows[:, :2], np.arange(3), np.arange(3))
    with pytest.raises(DataError, match="shape"):
        ranks(rows[:0], rows, np.arange(0), np.arange(3))
    with pytest.raises(DataError, match="dimension 5"):
        retrieval_hits(rows, rows, np.arange(3), np.arange(3), [5])


def test_every_dimension_is_cut_then_normalised():
    """Compared with normalising by hand; the scale of the projected vectors must not matter."""
    generator = np.random.default_rng(2)
    images, texts = generator.normal(size=(20, 16)) * 9, generator.normal(size=(40, 16)) / 7
    image_groups, text_groups = np.arange(20), np.arange(40) % 20
    result = retrieval_hits(images, texts, image_groups, text_groups, [4, 16, 8])
    assert result.dimensions == (16, 8, 4)
    for dim in result.dimensions:
        a = images[:, :dim] / np.linalg.norm(images[:, :dim], axis=1, keepdims=True)
        b = texts[:, :dim] / np.linalg.norm(texts[:, :dim], axis=1, keepdims=True)
        np.testing.assert_array_equal(result.ranks["i2t", dim], naive_ranks(a, b, image_groups, text_groups))
        np.testing.assert_array_equal(result.ranks["t2i", dim], naive_ranks(b, a, text_groups, image_groups))


def test_lowered_matmul_precision_does_not_reach_the_ranks_and_is_given_back():
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        rows = torch.nn.functional.normalize(
            torch.randn(200, 64, generator=torch.Generator().manual_seed(0)), dim=1
        )
        noisy = torch.nn.functional.normalize(rows + 1e-3, dim=1)
        expected = naive_ranks(noisy.numpy(), rows.numpy(), np.arange(200), np.arange(200))
        np.testing.assert_array_equal(ranks(noisy, rows, np.arange(200), np.arange(200)), expected)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)


MEMORY_SCRIPT = """
import re, resource
from pathlib import Path
import numpy as np, torch
from edge_glass.alignment.measure.retrieval import ranks

def peak_mib():
    # VmHWM is this program's own; ru_maxrss may still hold the size of the process that started it.
    status = Path("/proc/self/status")
    if status.exists():
        return int(re.search(r"VmHWM:\\s+(\\d+)", status.read_text())[1]) // 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024

torch.set_num_threads(1)
rows = torch.randn(20_000, 8)
groups = np.arange(20_000)
ranks(rows[:100], rows[:100], groups[:100], groups[:100])
before = peak_mib()
ranks(rows, rows, groups, groups)
print(peak_mib() - before)
"""


def test_memory_is_bounded_by_the_chunk():
    """20,000 x 20,000 similarities are 1.5 GiB; chunks of 128 MiB with their mask must do."""
    done = subprocess.run([sys.executable, "-c", MEMORY_SCRIPT], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 400, f"{done.stdout.strip()} MiB"


@pytest.mark.parametrize("modalities", list(DIRECTIONS))
def test_directions_are_named_by_what_asks(modalities):
    """The first asks in the first direction, and finds itself among the second."""
    generator = np.random.default_rng(0)
    first, second = generator.normal(size=(5, 4)), generator.normal(size=(7, 4))
    first_groups, second_groups = np.array([0, 1, 2, 1, 0]), np.array([2, 1, 0, 0, 1, 2, 1])
    result = retrieval_hits(first, second, first_groups, second_groups, [2], modalities=modalities)
    there, back = DIRECTIONS[modalities]
    assert result.directions == (there, back) and result.dimensions == (4, 2)
    plain = retrieval_hits(first, second, first_groups, second_groups, [2])
    for direction, name, groups in ((there, "i2t", first_groups), (back, "t2i", second_groups)):
        assert np.array_equal(result.query_groups[direction], groups)
        for dim in (4, 2):
            assert np.array_equal(result.ranks[direction, dim], plain.ranks[name, dim])


def test_a_wrong_embedding_is_named_by_its_modality():
    good, bad = np.eye(3), np.full((3, 3), np.nan)
    with pytest.raises(DataError, match="audio embedding 0 is not finite"):
        retrieval_hits(good, bad, np.arange(3), np.arange(3), modalities=("vision", "audio"))


def test_results_of_several_pairs_as_one():
    x, groups = np.eye(4), np.arange(4)
    parts = [
        retrieval_hits(x[:n], x[:n], groups[:n], groups[:n], modalities=pair)
        for pair, n in zip(DIRECTIONS, (4, 2, 3), strict=True)
    ]
    result = join_results(parts)
    assert result.directions == ("i2t", "t2i", "a2t", "t2a", "v2a", "a2v")
    assert {name: len(found) for name, found in result.query_groups.items()} == {
        "i2t": 4,
        "t2i": 4,
        "a2t": 2,
        "t2a": 2,
        "v2a": 3,
        "a2v": 3,
    }
    assert all(
        np.array_equal(result.ranks[key], found) for part in parts for key, found in part.ranks.items()
    )
    with pytest.raises(DataError, match="no row has two of the modalities"):
        join_results([])
