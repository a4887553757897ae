"""Random transforms of training pictures and sounds, as pure functions of (seed, epoch, sample)."""

from __future__ import annotations

import hashlib

import numpy as np
from PIL import Image
from torch import Tensor

from edge_glass.encoders.image_transform import ImageTransform

MIN_CROP_AREA = 0.6


def get_image_transforms(image_size: int = 224, is_training: bool = False) -> ImageTransform:
    """Return picture → pixels `[3, image_size, image_size]` float32, normalised as ImageNet's models expect.

    An encoder's own `preprocess` is surer. Training and evaluation get the same: pictures are augmented by
    the data set, as a function of seed, epoch and row (`augmentation="crop_flip"`).
    """
    return ImageTransform(
        image_size=image_size,
        resize="crop",
        resize_to=image_size,
        interpolation="bicubic",
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
    )


def sample_generator(seed: int, epoch: int, sample_id: str) -> np.random.Generator:
    """Make a generator that depends on nothing but its arguments."""
    digest = hashlib.sha256(sample_id.encode()).digest()
    return np.random.default_rng([seed, epoch, int.from_bytes(digest[:8], "big")])


def augment(image: Image.Image, kind: str, generator: np.random.Generator) -> Image.Image:
    """Apply `none`, `flip` (left and right, half the time) or `crop_flip` (a random crop first)."""
    if kind == "crop_flip":
        image = image.crop(random_crop_box(image.size, generator))
    if kind in ("flip", "crop_flip") and generator.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return image


def random_crop_box(size: tuple[int, int], generator: np.random.Generator) -> tuple[int, int, int, int]:
    """Draw a box (left, top, right, bottom) of the picture's shape, `MIN_CROP_AREA` of its area or more."""
    scale = float(np.sqrt(generator.uniform(MIN_CROP_AREA, 1.0)))
    width, height = (max(1, round(side * scale)) for side in size)
    left = int(generator.integers(0, size[0] - width + 1))
    top = int(generator.integers(0, size[1] - height + 1))
    return left, top, left + width, top + height


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
