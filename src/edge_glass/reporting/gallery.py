"""Which retrievals to show: the best, some drawn at random, and the worst."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from edge_glass.encoders.mrl import truncate_and_normalize
from edge_glass.evaluation.archive import EvaluationArchive
from edge_glass.evaluation.retrieval import Direction, ranks

SHOWN = 5
MAX_QUERIES = 2000
Choice = Literal["best", "random", "worst"]


@dataclass(frozen=True)
class Candidate:
    """One answer to a query. `right` marks the query's own counterpart."""

    rank: int
    score: float
    caption: str
    identifier: str
    thumbnail: bytes | None
    right: bool


@dataclass(frozen=True)
class Retrieval:
    """One query with its first answers.

    Attributes:
        caption: The query's words (`t2i`) or the caption that is right (`i2t`).
        identifier: The picture's id (`i2t`), else empty.
        thumbnail: The query picture (`i2t`).
        rank: Where the best right answer stands.
        baseline_rank: Where the untouched model had it, if kept.
        answers: The first answers, best first.
        missed: The best right answer when it is not among them.
    """

    caption: str
    identifier: str
    thumbnail: bytes | None
    rank: int
    baseline_rank: int | None
    answers: list[Candidate]
    missed: Candidate | None


def gallery(
    archive: EvaluationArchive, direction: Direction, count: int = 4, seed: int = 0
) -> dict[Choice, list[Retrieval]]:
    """Choose `count` retrievals of each kind for one direction, at the full dimension.

    The best are those at rank 1 with the widest lead over the best wrong answer; the worst have the lowest
    rank. No query stands in two lists. Of more than `MAX_QUERIES` queries a random sample is looked at.

    Raises:
        DataError: The embeddings are not finite.
    """
    images, texts = _unit(archive.image_embeddings), _unit(archive.text_embeddings)
    to_text = direction == "i2t"
    queries, candidates = (images, texts) if to_text else (texts, images)
    query_groups = archive.image_groups if to_text else archive.text_groups
    groups = archive.text_groups if to_text else archive.image_groups
    generator = np.random.default_rng(seed)
    rows = np.arange(len(queries))
    if len(rows) > MAX_QUERIES:
        rows = np.sort(generator.choice(rows, MAX_QUERIES, replace=False))
    found = ranks(queries[rows], candidates, query_groups[rows], groups)
    leads = np.array(
        [_lead(candidates @ queries[row], groups == query_groups[row]) if found[i] == 1 else -np.inf
         for i, row in enumerate(rows)]
    )  # fmt: skip
    best = [int(i) for i in np.argsort(-leads, kind="stable")[:count] if found[i] == 1]
    worst = [int(i) for i in np.lexsort((leads, -found)) if i not in best and found[i] > 1][:count]
    rest = [i for i in range(len(rows)) if i not in best and i not in worst]
    drawn = [int(i) for i in generator.permutation(rest)[:count]]
    chosen: dict[Choice, list[int]] = {"best": best, "random": drawn, "worst": worst}
    return {
        kind: [
            _retrieval(archive, direction, int(rows[i]), int(found[i]), candidates @ queries[rows[i]])
            for i in members
        ]
        for kind, members in chosen.items()
    }


def _lead(similarities: torch.Tensor, right: np.ndarray) -> float:
    """How far the best right answer is ahead of the best wrong one."""
    mask = torch.from_numpy(right)
    if right.all():
        return 0.0
    return float(similarities[mask].max() - similarities[~mask].max())


def _retrieval(
    archive: EvaluationArchive, direction: Direction, row: int, rank: int, similarities: torch.Tensor
) -> Retrieval:
    to_text = direction == "i2t"
    group = (archive.image_groups if to_text else archive.text_groups)[row]
    groups = archive.text_groups if to_text else archive.image_groups
    baseline = archive.baseline_image_ranks if to_text else archive.baseline_text_ranks

    def candidate(index: int, place: int) -> Candidate:
        right = bool(groups[index] == group)
        score = float(similarities[index])
        if to_text:
            return Candidate(place, score, archive.captions[index], "", None, right)
        name = archive.image_ids[index]
        return Candidate(place, score, _caption_of(archive, index), name, archive.thumbnails[index], right)

    order = torch.argsort(similarities, descending=True, stable=True)[:SHOWN].tolist()
    answers = [candidate(index, place) for place, index in enumerate(order, start=1)]
    missed = None
    if not any(answer.right for answer in answers):
        own = np.flatnonzero(groups == group)
        missed = candidate(int(own[int(similarities[torch.from_numpy(own)].argmax())]), rank)
    return Retrieval(
        caption=_caption_of(archive, row) if to_text else archive.captions[row],
        identifier=archive.image_ids[row] if to_text else "",
        thumbnail=archive.thumbnails[row] if to_text else None,
        rank=rank,
        baseline_rank=None if baseline is None else int(baseline[row]),
        answers=answers,
        missed=missed,
    )


def _caption_of(archive: EvaluationArchive, image: int) -> str:
    """First caption of a picture's group, or its id."""
    own = np.flatnonzero(archive.text_groups == archive.image_groups[image])
    return archive.captions[int(own[0])] if len(own) else archive.image_ids[image]


def _unit(rows: np.ndarray) -> torch.Tensor:
    tensor = torch.from_numpy(np.ascontiguousarray(rows, dtype=np.float32))
    return truncate_and_normalize(tensor, tensor.shape[1])
