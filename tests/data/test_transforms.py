from __future__ import annotations

import io

import numpy as np
import pytest
from data_samples import picture
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from edge_glass.data.transforms import MIN_CROP_AREA, augment, random_crop_box, sample_generator


def image(seed: int = 0, size: tuple[int, int] = (40, 30)) -> Image.Image:
    return Image.open(io.BytesIO(picture(seed, size=size)))


def flipped(source: Image.Image) -> Image.Image:
    return source.transpose(Image.Transpose.FLIP_LEFT_RIGHT)


@given(st.integers(0, 2**32 - 1), st.integers(0, 1000), st.text(max_size=20))
def test_draws_are_a_pure_function_of_seed_epoch_and_sample(seed, epoch, sample):
    def draws(*key):
        return sample_generator(*key).random(4).tolist()

    assert draws(seed, epoch, sample) == draws(seed, epoch, sample)
    assert draws(seed, epoch, sample) != draws(seed, epoch + 1, sample)
    assert draws(seed, epoch, sample) != draws(seed, epoch, sample + "x")
    assert draws(seed, epoch, sample) != draws((seed + 1) % 2**32, epoch, sample)


def test_draws_do_not_depend_on_the_process():
    # Python's own hash() would: it is salted anew in each process.
    assert sample_generator(1, 2, "a").random() == pytest.approx(0.1956413, abs=1e-6)


def test_none_is_the_picture_itself():
    assert augment(image(), "none", np.random.default_rng(0)).tobytes() == image().tobytes()


def test_flip_is_left_and_right_half_the_time():
    results = [augment(image(), "flip", sample_generator(0, 0, str(n))).tobytes() for n in range(400)]
    assert set(results) == {image().tobytes(), flipped(image()).tobytes()}
    assert results.count(image().tobytes()) == pytest.approx(200, abs=50)


def test_crop_flip_cuts_the_picture_out_of_itself():
    source = np.asarray(image())
    flips, sizes = 0, set()
    for n in range(200):
        generator = sample_generator(0, 0, str(n))
        result = augment(image(), "crop_flip", generator)
        left, top, right, bottom = random_crop_box((40, 30), sample_generator(0, 0, str(n)))
        expected = source[top:bottom, left:right]
        straight = np.array_equal(np.asarray(result), expected)
        assert straight or np.array_equal(np.asarray(flipped(result)), expected)
        flips += not straight
        sizes.add(result.size)
    assert flips == pytest.approx(100, abs=30) and len(sizes) > 5


@given(st.integers(1, 500), st.integers(1, 500), st.integers(0, 1000))
def test_crops_lie_inside_keep_the_shape_and_are_large_enough(width, height, seed):
    left, top, right, bottom = random_crop_box((width, height), np.random.default_rng(seed))
    assert 0 <= left < right <= width and 0 <= top < bottom <= height
    scale = MIN_CROP_AREA**0.5
    assert right - left >= width * scale - 0.5 and bottom - top >= height * scale - 0.5
    assert (right - left) / width == pytest.approx(
        (bottom - top) / height, abs=0.5 / width + 0.5 / height + 1e-9
    )


def test_crops_reach_every_edge():
    boxes = np.array([random_crop_box((40, 30), np.random.default_rng(seed)) for seed in range(500)])
    assert boxes.min(axis=0)[:2].tolist() == [0, 0] and boxes.max(axis=0)[2:].tolist() == [40, 30]
