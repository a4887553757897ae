"""The batches are a function of (seed, epoch) and of nothing else; ranks share them out."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from edge_glass.training.sampler import EpochBatchSampler, batches_per_epoch, share_of

KINDS = np.array([0, 0, 1, 2, 0, 1, 0, 0, 1, 0, 0, 2, 1, 0, 0, 0, 0, 2, 0, 0])


class Keys(Dataset):
    """Gives back the keys it is asked for, and remembers them."""

    def __init__(self) -> None:
        self.fetched: list[tuple[int, int]] = []

    def __len__(self) -> int:
        return 20

    def __getitem__(self, key: tuple[int, int]) -> tuple[int, int]:
        self.fetched.append(key)
        return key


def batches(
    seed: int,
    epoch: int,
    length: int = 20,
    size: int = 6,
    rank: int = 0,
    world_size: int = 1,
    kinds: np.ndarray | None = None,
) -> list[list[tuple[int, int]]]:
    """One epoch's batches of one rank."""
    sampler = EpochBatchSampler(length, size, seed, rank, world_size, kinds)
    sampler.epoch = epoch
    return list(sampler)


def order(seed: int, epoch: int, length: int = 20) -> list[tuple[int, int]]:
    """One epoch's keys."""
    return [key for batch in batches(seed, epoch, length) for key in batch]


def indices(batch: Sequence[tuple[int, int]]) -> list[int]:
    """Without the epoch."""
    return [index for _, index in batch]


def test_every_row_once_with_its_epoch() -> None:
    keys = order(0, 3)
    assert {epoch for epoch, _ in keys} == {3}
    assert sorted(index for _, index in keys) == list(range(20))
    assert [len(batch) for batch in batches(0, 3)] == [6, 6, 6, 2]
    assert len(EpochBatchSampler(20, 6, 0)) == 4


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
    """The libraries around would call it with numbers of their own."""
    assert not hasattr(EpochBatchSampler(3, 1, 0), "set_epoch")


@pytest.mark.parametrize("workers", [0, 2])
def test_workers_do_not_change_the_order(workers: int) -> None:
    sampler = EpochBatchSampler(20, 6, 5)
    sampler.epoch = 4
    loader = DataLoader(Keys(), batch_sampler=sampler, num_workers=workers, collate_fn=lambda items: items)
    assert list(loader) == batches(5, 4)


@pytest.mark.parametrize("kinds", [None, KINDS])
@pytest.mark.parametrize("world_size", [2, 3, 6])
def test_ranks_share_the_batches_of_one_process(world_size: int, kinds: np.ndarray | None) -> None:
    alone = batches(1, 2, size=6, kinds=kinds)
    size = 6 // world_size
    ranks = [
        batches(1, 2, size=size, rank=rank, world_size=world_size, kinds=kinds) for rank in range(world_size)
    ]
    for whole, *shares in zip(alone, *ranks, strict=True):
        assert [key for share in shares for key in share] == whole
        assert max(map(len, shares)) - min(map(len, shares)) <= 1
    assert all(len(EpochBatchSampler(20, size, 1, 0, world_size, kinds)) == len(alone) for _ in ranks)


def test_a_small_last_batch_leaves_ranks_without_rows() -> None:
    last = [batches(0, 0, length=9, size=2, rank=rank, world_size=4)[-1] for rank in range(4)]
    assert [len(share) for share in last] == [1, 0, 0, 0]
    shares = [share_of(11, rank, 4) for rank in range(4)]
    assert [(share.start, share.stop) for share in shares] == [(0, 3), (3, 6), (6, 9), (9, 11)]


def test_kinds_never_share_a_batch() -> None:
    made = batches(3, 1, size=4, kinds=KINDS)
    assert all(len(set(KINDS[indices(batch)])) == 1 for batch in made)
    assert sorted(index for batch in made for index in indices(batch)) == list(range(20))
    assert len(made) == batches_per_epoch(20, 4, KINDS) == 4 + 1 + 1
    assert EpochBatchSampler(20, 4, 3, kinds=KINDS).__len__() == 6


def test_batches_of_all_kinds_are_shuffled_among_each_other() -> None:
    firsts = {int(KINDS[batches(0, epoch, size=2, kinds=KINDS)[0][0][1]]) for epoch in range(20)}
    assert firsts == {0, 1, 2}
    assert batches(0, 3, kinds=KINDS) == batches(0, 3, kinds=KINDS) != batches(0, 4, kinds=KINDS)


def test_one_kind_is_no_kind() -> None:
    assert batches(0, 0, kinds=np.full(20, 7)) == batches(0, 0)
