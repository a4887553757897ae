"""The order of rows is a function of (seed, epoch) and of nothing else."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from edge_glass.training.sampler import EpochSampler


class Keys(Dataset):
    """Gives back the keys it is asked for."""

    def __len__(self) -> int:
        return 20

    def __getitem__(self, key: tuple[int, int]) -> tuple[int, int]:
        return key


def order(seed: int, epoch: int, length: int = 20) -> list[tuple[int, int]]:
    """One epoch's keys."""
    sampler = EpochSampler(length, seed)
    sampler.epoch = epoch
    return list(sampler)


def test_every_row_once_with_its_epoch() -> None:
    keys = order(0, 3)
    assert {epoch for epoch, _ in keys} == {3}
    assert sorted(index for _, index in keys) == list(range(20))
    assert len(EpochSampler(20, 0)) == 20


def test_the_order_is_that_of_the_first_release() -> None:
    """Pinned: another order would make resumed runs differ from those begun with an earlier version."""
    assert [index for _, index in order(0, 0, 8)] == [2, 4, 3, 6, 5, 0, 1, 7]
    assert [index for _, index in order(0, 1, 8)] == [1, 3, 7, 6, 0, 4, 2, 5]
    assert [index for _, index in order(1, 0, 8)] == [5, 0, 1, 4, 2, 6, 3, 7]


def test_seed_and_epoch_both_matter() -> None:
    orders = {tuple(index for _, index in order(seed, epoch)) for seed in range(5) for epoch in range(5)}
    assert len(orders) == 25


def test_global_generators_do_not_matter_and_are_left_alone() -> None:
    first = order(7, 2)
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    torch.manual_seed(1)
    states = random.getstate(), torch.get_rng_state()
    assert order(7, 2) == first
    assert random.getstate() == states[0] and torch.equal(torch.get_rng_state(), states[1])


def test_there_is_no_set_epoch() -> None:
    """accelerate would set it to 0 on a resumed epoch."""
    assert not hasattr(EpochSampler(3, 0), "set_epoch")


@pytest.mark.parametrize("workers", [0, 2])
def test_workers_do_not_change_the_order(workers: int) -> None:
    sampler = EpochSampler(20, 5)
    sampler.epoch = 4
    loader = DataLoader(
        Keys(), batch_size=6, sampler=sampler, num_workers=workers, collate_fn=lambda items: items
    )
    assert [key for batch in loader for key in batch] == order(5, 4)
