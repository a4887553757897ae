"""The batches of an epoch as a pure function of (seed, epoch), shared out over the ranks."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler

Key = tuple[int, int]


class EpochBatchSampler(Sampler[list[Key]]):
    """Yields this rank's part of every batch as a list of `(epoch, index)` keys.

    A global batch is the next `world_size * batch_size` rows of the epoch's order; each rank takes its
    contiguous share. The last, smaller batch is split as evenly as possible, and a rank may get no row of it.
    So the global batches are the same however many ranks share them.

    The epoch travels with the index, so that augmentation and caption choice are the same whichever worker
    reads the row and however far ahead it reads.

    Args:
        length: Rows of the data set.
        batch_size: Rows per rank and batch.
        seed: Seed of the order.
        rank: Which share is this process's.
        world_size: How many processes share a batch.
        kinds: `[N]` int, which modalities a row has. Rows of different kinds never share a batch, and the
            batches of all kinds are shuffled among each other.

    Attributes:
        epoch: Set by the trainer before each epoch. There is deliberately no `set_epoch`, because libraries
            would call it with numbers of their own.
        skipped: Batches of the epoch that were taken before a resume; they are not given again.
    """

    def __init__(
        self,
        length: int,
        batch_size: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        kinds: np.ndarray | None = None,
    ) -> None:
        self.length = length
        self.global_batch = batch_size * world_size
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.kinds = None if kinds is None or len(np.unique(kinds)) < 2 else np.asarray(kinds)
        self.epoch = 0
        self.skipped = 0

    def __len__(self) -> int:
        """Count the batches of a whole epoch."""
        return batches_per_epoch(self.length, self.global_batch, self.kinds)

    def __iter__(self) -> Iterator[list[Key]]:
        epoch = self.epoch
        for batch in self._batches(epoch)[self.skipped :]:
            share = batch[share_of(len(batch), self.rank, self.world_size)]
            yield [(epoch, index) for index in share.tolist()]

    def _batches(self, epoch: int) -> list[np.ndarray]:
        generator = np.random.default_rng([self.seed, epoch])
        order = generator.permutation(self.length)
        if self.kinds is None:
            return self._cut(order)
        kinds = self.kinds[order]
        batches = [batch for kind in np.unique(kinds) for batch in self._cut(order[kinds == kind])]
        return [batches[at] for at in generator.permutation(len(batches))]

    def _cut(self, rows: np.ndarray) -> list[np.ndarray]:
        return [rows[start : start + self.global_batch] for start in range(0, len(rows), self.global_batch)]


def batches_per_epoch(rows: int, global_batch: int, kinds: np.ndarray | None = None) -> int:
    """Count the global batches of an epoch; every kind of row has a smaller last one."""
    sizes = [rows] if kinds is None else np.unique(kinds, return_counts=True)[1].tolist()
    return sum(-(-size // global_batch) for size in sizes)


def share_of(rows: int, rank: int, world_size: int) -> slice:
    """Return the contiguous share of one rank; they differ by at most one row, the lower ranks have more."""
    size, rest = divmod(rows, world_size)
    start = rank * size + min(rank, rest)
    return slice(start, start + size + (rank < rest))
