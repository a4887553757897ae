"""Ranking: how far down the list does the right picture (or caption, or sound) stand?

Everything here is a pure function of embeddings. A query and a candidate belong together when their group
numbers are equal, so several captions per picture and several pictures per caption need no special case.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from edge_glass.core.errors import DataError
from edge_glass.encoders.mrl import truncate_and_normalize

Direction = Literal["i2t", "t2i", "a2t", "t2a", "v2a", "a2v", "at2v", "vt2a", "va2t"]
DIRECTIONS: dict[tuple[str, str], tuple[Direction, Direction]] = {
    ("vision", "text"): ("i2t", "t2i"),
    ("audio", "text"): ("a2t", "t2a"),
    ("vision", "audio"): ("v2a", "a2v"),
}
"""Names of both directions between two modalities: pictures are `i` beside words, as the field writes it."""
FUSED_DIRECTIONS: dict[str, Direction] = {"vision": "at2v", "audio": "vt2a", "text": "va2t"}
"""What is looked for → name of the direction in which the other two are fused into one query."""

# Two similarities closer than this (relative to the vectors' lengths) are a tie: float32 sums of the same
# numbers differ in the last bits with the shape of the matrix product, and a rank must not.
TIE_TOLERANCE = 1e-6
CHUNK_BYTES = 128 * 2**20


@dataclass(frozen=True)
class RetrievalResult:
    """Ranks of one model on one split.

    Attributes:
        query_groups: Direction → int64 `[Q]`, one group per query: pictures are the queries of `i2t`.
        dimensions: Embedding dimensions measured, descending; the first is the full one.
        ranks: `(direction, dimension)` → int64 ranks `[Q]`, 1 is best.
    """

    query_groups: dict[Direction, np.ndarray]
    dimensions: tuple[int, ...]
    ranks: dict[tuple[Direction, int], np.ndarray]

    @property
    def directions(self) -> tuple[Direction, ...]:
        """Directions measured."""
        return tuple(self.query_groups)


def ranks(
    queries: np.ndarray | torch.Tensor,
    candidates: np.ndarray | torch.Tensor,
    query_group: np.ndarray,
    candidate_group: np.ndarray,
    chunk_size: int | None = None,
    device: str | torch.device = "cpu",
) -> np.ndarray:
    """Rank of the best-ranked right candidate of every query, by dot product.

    Ties count against the model: rank = 1 + the number of wrong candidates at least as similar as the best
    right one. A collapsed model, to which everything is equally similar, therefore comes last and not first.
    Give rows that are truly the same (equal captions, equal pictures) the same group.

    Args:
        queries: Float `[Q, D]`, used as given: normalise first for cosine similarity.
        candidates: Float `[C, D]`.
        query_group: Integer `[Q]`.
        candidate_group: Integer `[C]`.
        chunk_size: Queries compared at a time; by default as many as keep the similarities near 128 MiB.
        device: Where the products are computed; the inputs may live anywhere.

    Returns:
        int64 `[Q]`, 1-based.

    Raises:
        DataError: An embedding is not finite, a shape does not fit, or a query has no right candidate.
    """
    query_rows, candidate_rows = _as_rows(queries, "query"), _as_rows(candidates, "candidate")
    query_group, candidate_group = np.asarray(query_group), np.asarray(candidate_group)
    _check(query_rows, candidate_rows, query_group, candidate_group)

    order = np.argsort(candidate_group, kind="stable")
    sorted_groups = candidate_group[order]
    starts = np.searchsorted(sorted_groups, query_group, side="left")
    counts = np.searchsorted(sorted_groups, query_group, side="right") - starts
    if (counts == 0).any():
        row = int(np.argmax(counts == 0))
        raise DataError(
            f"query {row} (group {query_group[row]}) has no right candidate: no candidate has its group"
        )

    if chunk_size is None:
        chunk_size = max(1, CHUNK_BYTES // (4 * len(candidate_rows)))
    candidate_rows = candidate_rows.to(device)
    longest = candidate_rows.norm(dim=1).max()
    result = np.empty(len(query_rows), dtype=np.int64)
    with torch.inference_mode(), _full_precision():
        for first in range(0, len(query_rows), chunk_size):
            part = slice(first, first + chunk_size)
            rows, columns = _right_pairs(starts[part], counts[part], order)
            chunk = query_rows[part].to(device)
            slack = TIE_TOLERANCE * longest * chunk.norm(dim=1)
            ahead = _count_ahead(chunk @ candidate_rows.T, rows.to(device), columns.to(device), slack)
            result[part] = 1 + ahead.cpu().numpy()
    return result


def recall_at(ranks: np.ndarray, k: int) -> np.ndarray:
    """Mark hits at k, float64 `[Q]` of 0 and 1: is the right one among the first k? Their mean is R@k."""
    return (np.asarray(ranks) <= k).astype(np.float64)


def retrieval_hits(
    first: np.ndarray | torch.Tensor,
    second: np.ndarray | torch.Tensor,
    first_groups: np.ndarray,
    second_groups: np.ndarray,
    dimensions: Sequence[int] = (),
    chunk_size: int | None = None,
    device: str | torch.device = "cpu",
    modalities: tuple[str, str] = ("vision", "text"),
) -> RetrievalResult:
    """Rank both ways between two modalities, at every Matryoshka dimension.

    Args:
        first: Float `[I, D]`, as the projection gives them: cut and normalised here.
        second: Float `[T, D]`, likewise.
        first_groups: Integer `[I]`.
        second_groups: Integer `[T]`.
        dimensions: Matryoshka dimensions; the full one is always measured.
        chunk_size: As for `ranks`.
        device: As for `ranks`.
        modalities: A key of `DIRECTIONS`: what the two are.

    Raises:
        DataError: As for `ranks`, or a dimension that the embeddings do not have.
    """
    there, back = DIRECTIONS[modalities]
    x, y = _as_rows(first, modalities[0]), _as_rows(second, modalities[1])
    full = x.shape[1]
    wrong = sorted(d for d in dimensions if not 1 <= d <= full)
    if wrong:
        raise DataError(f"dimension {wrong[0]} does not exist: the embeddings have {full} numbers")
    dims = tuple(sorted({full, *map(int, dimensions)}, reverse=True))
    x_groups, y_groups = np.asarray(first_groups), np.asarray(second_groups)
    found: dict[tuple[Direction, int], np.ndarray] = {}
    for dim in dims:
        x_part, y_part = truncate_and_normalize(x, dim), truncate_and_normalize(y, dim)
        found[there, dim] = ranks(x_part, y_part, x_groups, y_groups, chunk_size, device)
        found[back, dim] = ranks(y_part, x_part, y_groups, x_groups, chunk_size, device)
    return RetrievalResult({there: x_groups, back: y_groups}, dims, found)


def fused_hits(
    queries: np.ndarray,
    candidates: np.ndarray,
    query_groups: np.ndarray,
    candidate_groups: np.ndarray,
    dimensions: Sequence[int],
    wanted: str,
) -> RetrievalResult:
    """Rank what fused queries look for; there is no way back. See `retrieval_hits`.

    Args:
        queries: Float `[Q, D]`, not normalised.
        candidates: Float `[C, D]`, likewise.
        query_groups: Integer `[Q]`.
        candidate_groups: Integer `[C]`.
        dimensions: Matryoshka dimensions, the full one among them.
        wanted: Modality that is looked for.
    """
    direction = FUSED_DIRECTIONS[wanted]
    x, y = _as_rows(queries, "fused"), _as_rows(candidates, wanted)
    found = {
        (direction, dim): ranks(
            truncate_and_normalize(x, dim), truncate_and_normalize(y, dim), query_groups, candidate_groups
        )
        for dim in dimensions
    }
    return RetrievalResult(
        {direction: np.asarray(query_groups)}, tuple(sorted(dimensions, reverse=True)), found
    )


def join_results(results: Iterable[RetrievalResult]) -> RetrievalResult:
    """Join the results of several pairs of modalities of one model on one split.

    Raises:
        DataError: There are none.
    """
    parts = list(results)
    if not parts:
        raise DataError("nothing was measured: no row has two of the modalities that are compared")
    groups = {direction: rows for part in parts for direction, rows in part.query_groups.items()}
    found = {key: rows for part in parts for key, rows in part.ranks.items()}
    return RetrievalResult(groups, parts[0].dimensions, found)


def _as_rows(embeddings: np.ndarray | torch.Tensor, what: str) -> torch.Tensor:
    """Return float32 `[N, D]` on the CPU or where the tensor is; refuse no rows, and numbers not finite."""
    rows = torch.as_tensor(embeddings).detach().to(torch.float32)
    if rows.ndim != 2 or rows.numel() == 0:
        raise DataError(f"{what} embeddings have the shape {tuple(rows.shape)}; expected rows [N, D]")
    # A sum is finite when all its parts are (and far from overflow), and needs no [N, D] mask.
    finite = torch.isfinite(rows.sum(dim=1))
    if not finite.all():
        row = int(torch.argmin(finite.int()))
        raise DataError(f"{what} embedding {row} is not finite (NaN or infinite): the model has diverged")
    return rows


def _check(
    queries: torch.Tensor, candidates: torch.Tensor, query_group: np.ndarray, group: np.ndarray
) -> None:
    if queries.shape[1] != candidates.shape[1]:
        raise DataError(f"queries have {queries.shape[1]} numbers, candidates {candidates.shape[1]}")
    for rows, groups, what in ((queries, query_group, "queries"), (candidates, group, "candidates")):
        if groups.shape != (len(rows),):
            raise DataError(f"{len(rows)} {what} need one group each; found groups of shape {groups.shape}")


def _right_pairs(
    starts: np.ndarray, counts: np.ndarray, order: np.ndarray
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the positions (row, column) of all right candidates in one chunk, int64 `[P]` each."""
    rows = np.repeat(np.arange(len(counts)), counts)
    within = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    columns = order[np.repeat(starts, counts) + within]
    return torch.from_numpy(rows), torch.from_numpy(columns)


def _count_ahead(
    similarities: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor, slack: torch.Tensor
) -> torch.Tensor:
    """Count wrong candidates as near as the best right one, int32 `[Q]`; overwrites `similarities`."""
    right = similarities[rows, columns]
    best = similarities.new_full((len(similarities),), -torch.inf)
    best.scatter_reduce_(0, rows, right, reduce="amax")
    similarities[rows, columns] = -torch.inf
    # A sum in int32 needs no second array; torch.count_nonzero makes one and takes five times as long.
    return (similarities >= (best - slack)[:, None]).sum(dim=1, dtype=torch.int32)


@contextmanager
def _full_precision() -> Iterator[None]:
    """Measure ranks without the TF32 or bfloat16 products that training may have allowed."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
