"""Which retrievals are shown, checked against a full sort."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from edge_glass.alignment.measure.archive import EvaluationArchive
from edge_glass.alignment.report.gallery import gallery
from edge_glass.core.errors import DataError


def archive(noise: float = 1.6, pairs: int = 60) -> EvaluationArchive:
    generator = np.random.default_rng(0)
    images = generator.normal(size=(pairs, 8)).astype(np.float32)
    return EvaluationArchive(
        image_embeddings=images * 3,
        text_embeddings=(images + noise * generator.normal(size=images.shape)).astype(np.float32),
        image_groups=np.arange(pairs) + 100,
        text_groups=np.arange(pairs) + 100,
        image_ids=[f"{i}.png" for i in range(pairs)],
        captions=[f"caption {i}" for i in range(pairs)],
        thumbnails=[b"x"] * pairs,
        baseline_image_ranks=np.arange(pairs) + 1,
        baseline_text_ranks=None,
    )


@pytest.mark.parametrize("direction", ["i2t", "t2i"])
def test_answers_are_the_nearest_and_the_right_one_is_marked(direction):
    stored = archive()
    images = stored.image_embeddings / np.linalg.norm(stored.image_embeddings, axis=1, keepdims=True)
    texts = stored.text_embeddings / np.linalg.norm(stored.text_embeddings, axis=1, keepdims=True)
    similarities = images @ texts.T if direction == "i2t" else texts @ images.T
    chosen = gallery(stored, direction)
    seen = []
    for queries in chosen.values():
        assert len(queries) == 4
        for query in queries:
            row = int(query.caption.split()[1])
            seen.append(row)
            order = np.argsort(-similarities[row])
            assert [a.caption for a in query.answers] == [f"caption {i}" for i in order[:5]]
            assert [a.right for a in query.answers] == [bool(i == row) for i in order[:5]]
            assert query.rank == int(np.flatnonzero(order == row)[0]) + 1
            assert (query.missed is None) == (query.rank <= 5)
            if query.missed:
                assert (query.missed.rank, query.missed.right) == (query.rank, True)
            assert query.baseline_rank == (row + 1 if direction == "i2t" else None)
            assert (query.thumbnail is None) == (direction == "t2i")
    assert len(set(seen)) == len(seen), "a query stands in one list only"
    assert {q.rank for q in chosen["best"]} == {1}
    true_ranks = sorted((1 + (similarities[i] > similarities[i, i]).sum() for i in range(60)), reverse=True)
    assert [q.rank for q in chosen["worst"]] == true_ranks[:4]


def test_a_perfect_model_has_no_worst_and_a_hopeless_one_no_best():
    assert gallery(archive(noise=0.0), "i2t")["worst"] == []
    stored = archive()
    hopeless = dataclasses.replace(stored, text_embeddings=-stored.image_embeddings)
    assert gallery(hopeless, "t2i")["best"] == []


def test_a_tiny_split_and_a_diverged_model():
    small = gallery(archive(pairs=2), "i2t")
    assert sum(len(queries) for queries in small.values()) == 2
    broken = archive()
    broken.image_embeddings[0, 0] = np.nan
    with pytest.raises(DataError, match="not finite"):
        gallery(broken, "i2t")


def with_sounds() -> EvaluationArchive:
    """Sounds of the last 20 rows, in the order of the captions reversed."""
    stored = archive(noise=0.5)
    rows = np.arange(40, 60)[::-1]
    noise = np.random.default_rng(1).normal(size=(20, 8))
    return dataclasses.replace(
        stored,
        audio_embeddings=(stored.text_embeddings[rows] + 0.8 * noise).astype(np.float32),
        audio_groups=stored.text_groups[rows],
        audio_ids=[f"{row}.flac" for row in rows],
    )


@pytest.mark.parametrize("direction", ["a2t", "a2v"])
def test_sounds_ask_for_what_has_a_sound(direction):
    """The query is named, not shown; rows without a sound are no candidates, as in the measured ranks."""
    stored = with_sounds()
    unit = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (
        stored.audio_embeddings, stored.text_embeddings if direction == "a2t" else stored.image_embeddings
    )]  # fmt: skip
    similarities = unit[0] @ unit[1].T
    similarities[:, :40] = -np.inf
    for query in (query for queries in gallery(stored, direction).values() for query in queries):
        row = int(query.identifier.removesuffix(".flac"))
        assert query.caption == f"caption {row}" and query.thumbnail is None and query.baseline_rank is None
        order = np.argsort(-similarities[59 - row])
        assert [answer.caption for answer in query.answers] == [f"caption {i}" for i in order[:5]]
        assert query.rank == int(np.flatnonzero(order == row)[0]) + 1
        assert all((answer.thumbnail is not None) == (direction == "a2v") for answer in query.answers)


def test_queries_without_a_counterpart_do_not_ask():
    stored = with_sounds()
    asked = [query for queries in gallery(stored, "v2a", count=60).values() for query in queries]
    assert {query.identifier for query in asked} == {f"{row}.png" for row in range(40, 60)}
    with pytest.raises(DataError, match="no sounds"):
        gallery(archive(), "a2t")
