"""Ranking: how far down the list does the right picture (or caption) stand?

Everything here is a pure function of embeddings. A query and a candidate belong together when their group
numbers are equal, so several captions per picture and several pictures per caption need no special case.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from edge_glass.encoders.mrl import truncate_and_normalize
from edge_glass.errors import DataError

Direction = Literal["i2t", "t2i"]
DIRECTIONS: tuple[Direction, Direction] = ("i2t", "t2i")

# Two similarities closer than this (relative to the vectors' lengths) are a tie: float32 sums of the same
# numbers differ in the last bits with the shape of the matrix product, and a rank must not.
TIE_TOLERANCE = 1e-6
CHUNK_BYTES = 128 * 2**20


@dataclass(frozen=True)
class RetrievalResult:
    """Ranks of one model on one split.

    Attributes:
        image_groups: int64 `[I]`, one group per picture; pictures are the queries of `i2t`.
        text_groups: int64 `[T]`, one group per caption; captions are the queries of `t2i`.
        dimensions: Embedding dimensions measured, descending; the first is the full one.
        ranks: `(direction, dimension)` → int64 ranks, `[I]` for `i2t` and `[T]` for `t2i`, 1 is best.
    """

    image_groups: np.ndarray
    text_groups: np.ndarray
    dimensions: tuple[int, ...]
    ranks: dict[tuple[Direction, int], np.ndarray]

    def query_groups(self, direction: Direction) -> np.ndarray:
        """Groups of the queries of one direction."""
        return self.image_groups if direction == "i2t" else self.text_groups


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
    """Hits at k, float64 `[Q]` of 0 and 1: is the right one among the first k? Their mean is R@k."""
    return (np.asarray(ranks) <= k).astype(np.float64)


def retrieval_hits(
    image_embeddings: np.ndarray | torch.Tensor,
    text_embeddings: np.ndarray | torch.Tensor,
    image_groups: np.ndarray,
    text_groups: np.ndarray,
    dimensions: Sequence[int] = (),
    chunk_size: int | None = None,
    device: str | torch.device = "cpu",
) -> RetrievalResult:
    """Rank every picture's captions and every caption's pictures at every Matryoshka dimension.

    Args:
        image_embeddings: Float `[I, D]`, as the projection gives them: cut and normalised here.
        text_embeddings: Float `[T, D]`, likewise.
        image_groups: Integer `[I]`.
        text_groups: Integer `[T]`.
        dimensions: Matryoshka dimensions; the full one is always measured.
        chunk_size: As for `ranks`.
        device: As for `ranks`.

    Raises:
        DataError: As for `ranks`, or a dimension that the embeddings do not have.
    """
    images, texts = _as_rows(image_embeddings, "picture"), _as_rows(text_embeddings, "caption")
    full = images.shape[1]
    wrong = sorted(d for d in dimensions if not 1 <= d <= full)
    if wrong:
        raise DataError(f"dimension {wrong[0]} does not exist: the embeddings have {full} numbers")
    dims = tuple(sorted({full, *map(int, dimensions)}, reverse=True))
    image_groups, text_groups = np.asarray(image_groups), np.asarray(text_groups)
    found: dict[tuple[Direction, int], np.ndarray] = {}
    for dim in dims:
        image_part, text_part = truncate_and_normalize(images, dim), truncate_and_normalize(texts, dim)
        found["i2t", dim] = ranks(image_part, text_part, image_groups, text_groups, chunk_size, device)
        found["t2i", dim] = ranks(text_part, image_part, text_groups, image_groups, chunk_size, device)
    return RetrievalResult(image_groups, text_groups, dims, found)


def _as_rows(embeddings: np.ndarray | torch.Tensor, what: str) -> torch.Tensor:
    """Float32 `[N, D]` on the CPU or where the tensor is, refused when empty or not finite."""
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
    """Positions (row, column) of all right candidates in one chunk, int64 `[P]` each."""
    rows = np.repeat(np.arange(len(counts)), counts)
    within = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    columns = order[np.repeat(starts, counts) + within]
    return torch.from_numpy(rows), torch.from_numpy(columns)


def _count_ahead(
    similarities: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor, slack: torch.Tensor
) -> torch.Tensor:
    """Wrong candidates at least as similar as the best right one, int32 `[Q]`; overwrites `similarities`."""
    right = similarities[rows, columns]
    best = similarities.new_full((len(similarities),), -torch.inf)
    best.scatter_reduce_(0, rows, right, reduce="amax")
    similarities[rows, columns] = -torch.inf
    # A sum in int32 needs no second array; torch.count_nonzero makes one and takes five times as long.
    return (similarities >= (best - slack)[:, None]).sum(dim=1, dtype=torch.int32)


@contextmanager
def _full_precision() -> Iterator[None]:
    """Training may have allowed TF32 or bfloat16 products; ranks are measured without them."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
