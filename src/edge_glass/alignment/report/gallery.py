"""Which retrievals to show: the best, some drawn at random, and the worst."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import torch

from edge_glass.alignment.measure.archive import EvaluationArchive
from edge_glass.alignment.measure.retrieval import Direction, ranks
from edge_glass.alignment.report.sides import ENDS, Side, side_of
from edge_glass.core.errors import DataError

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
        caption: The query's words, or the caption of the picture or sound that asks.
        identifier: The id of the picture or sound that asks; empty for words.
        thumbnail: The query picture; None for words and sounds.
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


@dataclass(frozen=True)
class _Question:
    """One direction of the archive: who asks, what is found, and which of the queries are looked at."""

    archive: EvaluationArchive
    direction: Direction
    asking: Side
    found: Side

    def similarities(self, row: int) -> torch.Tensor:
        """Return cosines of one query with all candidates, `[C]`; -inf for those that no query asks for."""
        cosines = torch.from_numpy(self.found.vectors @ self.asking.vectors[row])
        return cosines.masked_fill(torch.from_numpy(~self.answering), -torch.inf)

    @cached_property
    def answering(self) -> np.ndarray:
        """Which candidates belong to some query, bool `[C]`: the others were not measured either."""
        return np.isin(self.found.groups, self.asking.groups)

    def right(self, row: int) -> np.ndarray:
        """Return which candidates are right for a query, bool `[C]`."""
        return self.found.groups == self.asking.groups[row]


def gallery(
    archive: EvaluationArchive, direction: Direction, count: int = 4, seed: int = 0
) -> dict[Choice, list[Retrieval]]:
    """Choose `count` retrievals of each kind for one direction, at the full dimension.

    The best are those at rank 1 with the widest lead over the best wrong answer; the worst have the lowest
    rank. No query stands in two lists. Of more than `MAX_QUERIES` queries a random sample is looked at.
    Queries without a counterpart of the modality that is looked for do not ask.

    Raises:
        DataError: The embeddings are not finite, or there are none of a modality.
    """
    first, second = ENDS[direction]
    asking, found = side_of(archive, first), side_of(archive, second)
    if asking is None or found is None:
        raise DataError(f"{direction}: the evaluation files hold no sounds")
    question = _Question(archive, direction, asking, found)
    generator = np.random.default_rng(seed)
    rows = np.flatnonzero(np.isin(asking.groups, found.groups))
    if len(rows) > MAX_QUERIES:
        rows = np.sort(generator.choice(rows, MAX_QUERIES, replace=False))
    answering = question.answering
    places = ranks(
        asking.vectors[rows], found.vectors[answering], asking.groups[rows], found.groups[answering]
    )
    leads = np.full(len(rows), -np.inf)
    for i in np.flatnonzero(places == 1):
        leads[i] = _lead(question, int(rows[i]))
    best = [int(i) for i in np.argsort(-leads, kind="stable")[:count] if places[i] == 1]
    worst = [int(i) for i in np.lexsort((leads, -places)) if i not in best and places[i] > 1][:count]
    rest = [i for i in range(len(rows)) if i not in best and i not in worst]
    drawn = [int(i) for i in generator.permutation(rest)[:count]]
    chosen: dict[Choice, list[int]] = {"best": best, "random": drawn, "worst": worst}
    return {
        kind: [_retrieval(question, int(rows[i]), int(places[i])) for i in members]
        for kind, members in chosen.items()
    }


def _lead(question: _Question, row: int) -> float:
    """Return how far the best right answer is ahead of the best wrong one."""
    similarities, right = question.similarities(row), torch.from_numpy(question.right(row))
    if right.all():
        return 0.0
    return float(similarities[right].max() - similarities[~right].max())


def _retrieval(question: _Question, row: int, rank: int) -> Retrieval:
    similarities, right = question.similarities(row), question.right(row)

    def candidate(index: int, place: int) -> Candidate:
        caption, name, thumbnail = _shown(question.archive, question.found, index)
        return Candidate(place, float(similarities[index]), caption, name, thumbnail, bool(right[index]))

    order = torch.argsort(similarities, descending=True, stable=True)[:SHOWN].tolist()
    order = [index for index in order if torch.isfinite(similarities[index])]
    answers = [candidate(index, place) for place, index in enumerate(order, start=1)]
    missed = None
    if not any(answer.right for answer in answers):
        own = np.flatnonzero(right)
        missed = candidate(int(own[int(similarities[torch.from_numpy(own)].argmax())]), rank)
    kept = {"i2t": question.archive.baseline_image_ranks, "t2i": question.archive.baseline_text_ranks}
    baseline = kept.get(question.direction)
    caption, name, thumbnail = _shown(question.archive, question.asking, row)
    return Retrieval(
        caption=caption,
        identifier=name,
        thumbnail=thumbnail,
        rank=rank,
        baseline_rank=None if baseline is None else int(baseline[row]) or None,
        answers=answers,
        missed=missed,
    )


def _shown(archive: EvaluationArchive, side: Side, row: int) -> tuple[str, str, bytes | None]:
    """Return caption, name and thumbnail of an item; words have no name, and only pictures a thumbnail."""
    if side.modality == "text":
        return archive.captions[row], "", None
    names = archive.image_ids if side.modality == "vision" else archive.audio_ids or []
    own = np.flatnonzero(archive.text_groups == side.groups[row])
    caption = archive.captions[int(own[0])] if len(own) else names[row]
    return caption, names[row], archive.thumbnails[row] if side.modality == "vision" else None
