"""The order of training rows as a pure function of (seed, epoch)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler


class EpochSampler(Sampler):
    """Yields `(epoch, index)` in an order that depends on seed and epoch alone.

    The epoch travels with the index, so that augmentation and caption choice are the same whichever worker
    reads the row and however far ahead it reads. `epoch` is set by the trainer before each epoch; there is
    deliberately no `set_epoch`, because accelerate resets that to 0 on a resumed epoch.
    """

    def __init__(self, length: int, seed: int) -> None:
        self.length = length
        self.seed = seed
        self.epoch = 0

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[tuple[int, int]]:
        order = np.random.default_rng([self.seed, self.epoch]).permutation(self.length)
        return iter([(self.epoch, int(index)) for index in order])
