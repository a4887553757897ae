from __future__ import annotations

import torch

from edge_glass.data.transforms import sample_generator, spec_augment


def masked(seed: int, shape: tuple[int, int] = (80, 200), **options: float) -> torch.Tensor:
    mel = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    result = spec_augment(mel, sample_generator(seed, 1, "a"), **options)
    assert result.shape == mel.shape
    return result != mel


def test_it_is_a_function_of_the_generator_and_changes_nothing_else():
    mel = torch.randn(80, 200)
    before = mel.clone()
    first = spec_augment(mel, sample_generator(0, 1, "a"))
    assert torch.equal(first, spec_augment(mel, sample_generator(0, 1, "a")))
    assert not torch.equal(first, spec_augment(mel, sample_generator(0, 2, "a")))
    assert torch.equal(mel, before)


def test_only_whole_bands_and_stretches_are_hidden():
    for seed in range(20):
        hidden = masked(seed)
        rows, columns = hidden.all(dim=1), hidden.all(dim=0)
        assert torch.equal(hidden, rows[:, None] | columns[None])
        assert rows.sum() <= 2 * 0.15 * 80 and columns.sum() <= 2 * 0.1 * 200
    assert any(masked(seed).any() for seed in range(20))


def test_hidden_values_are_the_mean():
    mel = torch.randn(80, 200)
    result = spec_augment(mel, sample_generator(3, 1, "a"))
    assert torch.allclose(result[result != mel], mel.mean())


def test_sizes_without_room_and_no_masks():
    assert not masked(0, (1, 1)).any()
    assert not masked(0, frequency_masks=0, time_masks=0).any()
    assert masked(1, frequency_fraction=1.0, time_fraction=1.0).shape == (80, 200)
