"""The rows of all ranks in one tensor, with gradients: what makes the negatives of a batch global."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor


class Shares(NamedTuple):
    """How many rows each rank holds, in rank order, and which rank this process is."""

    counts: tuple[int, ...]
    rank: int = 0

    @property
    def total(self) -> int:
        """Rows of the whole world."""
        return sum(self.counts)

    @property
    def first(self) -> int:
        """Rows of lower ranks: where this rank's own rows begin."""
        return sum(self.counts[: self.rank])

    @property
    def mine(self) -> slice:
        """This rank's rows among all."""
        return slice(self.first, self.first + self.counts[self.rank])

    @classmethod
    def of(cls, rows: int, device: torch.device) -> Shares:
        """Ask every rank for its number of rows (one collective; none on one process)."""
        if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
            return cls((rows,))
        counts = torch.empty(dist.get_world_size(), dtype=torch.int64, device=device)
        dist.all_gather_into_tensor(counts, torch.tensor([rows], device=device))
        return cls(tuple(counts.tolist()), dist.get_rank())


def gather_rows(x: Tensor, shares: Shares) -> Tensor:
    """Map `[b, ...]` on every rank, b perhaps 0 → `[B, ...]` in rank order; x itself on one process.

    Ranks pad to the longest share, gather, and cut the padding out again. Backward, the gradients that all
    ranks have for a row are summed and go to the rank that holds it.
    """
    if len(shares.counts) == 1:
        return x
    longest = max(shares.counts)
    padded = torch.cat([x, x.new_zeros(longest - len(x), *x.shape[1:])])
    gathered: Tensor = _GatherEqual.apply(padded)
    if shares.total == len(gathered):
        return gathered
    starts = range(0, len(gathered), longest)
    parts = [gathered[at : at + count] for at, count in zip(starts, shares.counts, strict=True)]
    return torch.cat(parts)


def column_logsumexp(matrices: Sequence[Tensor], shares: Shares) -> Tensor:
    """Compute the logarithm of the sum of exponentials of each column over the rows of all ranks.

    Every rank has its rows `[b, B]` of n matrices, and never sees the others'. Two reductions of `[n, B]`
    numbers do it, and one of their gradients, however many matrices there are.

    Returns:
        `[n, B]`, the same on every rank.
    """
    if len(shares.counts) == 1:
        return torch.stack([logits.logsumexp(dim=0) for logits in matrices])
    result: Tensor = _ColumnLogSumExp.apply(*matrices)
    return result


def sum_over_ranks(x: Tensor, shares: Shares) -> Tensor:
    """Sum the tensors of all ranks, without gradient and the same everywhere."""
    total = x.detach().clone()
    if len(shares.counts) > 1:
        dist.all_reduce(total)
    return total


def zero_touching(*tensors: Tensor) -> Tensor:
    """Return 0 with a zero gradient for each tensor: keeps parameters in the graph, as DDP demands."""
    return torch.stack([tensor.reshape(-1)[:0].sum() for tensor in tensors]).sum()


def _all_reduce(x: Tensor, operation: Any) -> None:
    """Reduce in place; nothing where `Shares` are only played through, without processes."""
    if dist.is_initialized():
        dist.all_reduce(x, op=operation)


class _ColumnLogSumExp(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *matrices: Tensor) -> Tensor:
        lowest = matrices[0].new_full((1, matrices[0].shape[1]), -torch.inf)  # for a rank without rows
        highest = torch.stack([torch.cat([logits, lowest]).amax(dim=0) for logits in matrices])
        _all_reduce(highest, dist.ReduceOp.MAX)
        total = torch.stack(
            [(each - top).exp().sum(dim=0) for each, top in zip(matrices, highest, strict=True)]
        )
        _all_reduce(total, dist.ReduceOp.SUM)
        result = highest + total.log()
        ctx.save_for_backward(result, *matrices)
        return result

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, ...]:
        result, *matrices = ctx.saved_tensors
        gradient = gradients[0].clone()
        _all_reduce(gradient, dist.ReduceOp.SUM)
        parts = zip(matrices, result, gradient, strict=True)
        return tuple((logits - sums).exp() * weights for logits, sums, weights in parts)


class _GatherEqual(torch.autograd.Function):
    """All ranks' `[n, ...]` as `[W·n, ...]`; torch's own functions for it are deprecated or untyped."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        gathered = x.new_empty(dist.get_world_size() * len(x), *x.shape[1:])
        dist.all_gather_into_tensor(gathered, x.contiguous())
        return gathered

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (gradient,) = gradients
        own = gradient.new_empty(len(gradient) // dist.get_world_size(), *gradient.shape[1:])
        dist.reduce_scatter_tensor(own, gradient.contiguous())
        return own
