"""Random transforms of training sounds, as pure functions of the generator (see `sample_generator`)."""

from __future__ import annotations

import numpy as np
from torch import Tensor


def spec_augment(
    mel: Tensor,
    generator: np.random.Generator,
    *,
    frequency_masks: int = 2,
    frequency_fraction: float = 0.15,
    time_masks: int = 2,
    time_fraction: float = 0.1,
) -> Tensor:
    """Hide random bands of frequencies and random stretches of time (SpecAugment without time warping).

    Each mask's width is drawn evenly from 0 to its largest, then its place. Hidden values become the clip's
    mean. Park et al. 2019, https://arxiv.org/abs/1904.08779.

    Args:
        mel: `[M, T]` log-mel spectrogram; it is not changed.
        generator: All randomness.
        frequency_masks: Number of bands.
        frequency_fraction: Largest band, as a share of M.
        time_masks: Number of stretches.
        time_fraction: Longest stretch, as a share of T, so that a short clip keeps most of itself.

    Returns:
        `[M, T]`.
    """
    masked = mel.clone()
    mean = float(mel.mean()) if mel.numel() else 0.0
    for axis, count, fraction in ((0, frequency_masks, frequency_fraction), (1, time_masks, time_fraction)):
        size = mel.shape[axis]
        for _ in range(count):
            width = int(generator.integers(0, int(size * fraction) + 1))
            start = int(generator.integers(0, size - width + 1))
            masked.narrow(axis, start, width).fill_(mean)
    return masked
