"""The evaluation transform of pictures."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from edge_glass.core.errors import ConfigError
from edge_glass.encoders.image_transform import ImageTransform, to_rgb

HALF = (0.5, 0.5, 0.5)
TRANSFORM = ImageTransform(32, "crop", 32, "bicubic", HALF, HALF)


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    values = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA", "P"])
def test_transparent_becomes_white(mode: str) -> None:
    picture = Image.new("RGBA", (6, 6), (0, 0, 0, 0))
    if mode == "P":
        picture = picture.convert("P")
        picture.info["transparency"] = picture.getpixel((0, 0))
    else:
        picture = picture.convert(mode) if mode != "PA" else picture.convert("P").convert("PA")
        picture.putalpha(0)
    assert to_rgb(picture).getpixel((3, 3)) == (255, 255, 255)


def test_half_transparent_is_blended_before_resizing() -> None:
    picture = Image.new("RGBA", (8, 8), (0, 0, 0, 128))
    values = TRANSFORM.crop(picture).getpixel((16, 16))
    assert values == (127, 127, 127)


def test_sixteen_bit_grey_is_scaled_not_clipped() -> None:
    picture = Image.fromarray(np.array([[0, 256, 32768, 65535]], dtype=np.uint16))
    assert [to_rgb(picture).getpixel((x, 0))[0] for x in range(4)] == [0, 1, 128, 255]


def test_orientation_is_applied_once() -> None:
    picture = noise(10, 20)
    picture.getexif()[0x0112] = 6
    upright = to_rgb(picture)
    assert upright.size == (20, 10)
    assert to_rgb(upright).tobytes() == upright.tobytes()


@pytest.mark.parametrize("size", [(32, 32), (72, 72), (64, 48), (33, 200), (1, 1), (1, 300)])
@pytest.mark.parametrize("resize", ["crop", "squash"])
def test_any_size_gives_the_square(size: tuple[int, int], resize: str) -> None:
    transform = replace(TRANSFORM, resize=resize)
    pixels = transform(noise(*size))
    assert pixels.shape == (3, 32, 32)
    assert pixels.dtype == torch.float32
    assert torch.equal(pixels, transform(noise(*size)))


def test_square_picture_is_kept_whole_and_normalised() -> None:
    picture = noise(32, 32)
    expected = torch.from_numpy(np.array(picture)).permute(2, 0, 1) / 255.0 * 2 - 1
    torch.testing.assert_close(TRANSFORM(picture), expected)


def test_crop_takes_the_centre() -> None:
    picture = Image.new("RGB", (96, 32), "red")
    picture.paste("blue", (32, 0, 64, 32))
    assert np.unique(np.array(TRANSFORM.crop(picture)).reshape(-1, 3), axis=0).tolist() == [[0, 0, 255]]


IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@pytest.mark.parametrize(("mean", "std"), [(HALF, HALF), IMAGENET])
@pytest.mark.parametrize("size", [(96, 40), (7, 31)])
def test_pixels_give_back_exactly_the_picture_that_is_seen(
    mean: tuple[float, float, float], std: tuple[float, float, float], size: tuple[int, int]
) -> None:
    transform = replace(TRANSFORM, mean=mean, std=std)
    seen = transform.to_picture(transform(noise(*size)))
    assert seen.mode == "RGB" and seen.tobytes() == transform.crop(noise(*size)).tobytes()
    whole = noise(*size)  # of any size: what is not square is not made so
    assert transform.to_picture(transform.normalize(whole)).tobytes() == whole.tobytes()


def test_every_value_survives_normalisation() -> None:
    picture = Image.fromarray(np.arange(256, dtype=np.uint8)[None, :, None].repeat(3, axis=2))
    for mean, std in ((HALF, HALF), IMAGENET):
        transform = replace(TRANSFORM, mean=mean, std=std)
        assert transform.to_picture(transform.normalize(picture)).tobytes() == picture.tobytes()


def test_pixels_beyond_black_and_white_are_cut() -> None:
    pixels = torch.tensor([-9.0, 0.0, 9.0]).view(3, 1, 1).expand(3, 2, 5).requires_grad_()
    picture = TRANSFORM.to_picture(pixels.bfloat16())
    assert picture.size == (5, 2) and picture.getpixel((4, 1)) == (0, 128, 255)


def test_id_names_every_setting() -> None:
    changed = [
        replace(TRANSFORM, image_size=16),
        replace(TRANSFORM, resize="squash"),
        replace(TRANSFORM, resize_to=40),
        replace(TRANSFORM, interpolation="bilinear"),
        replace(TRANSFORM, mean=(0.5, 0.5, 0.4)),
        replace(TRANSFORM, std=(0.5, 0.4, 0.5)),
    ]
    assert len({TRANSFORM.id, *(transform.id for transform in changed)}) == 7


def test_survives_json_and_pickle() -> None:
    assert ImageTransform.from_dict(TRANSFORM.to_dict()) == TRANSFORM
    assert pickle.loads(pickle.dumps(TRANSFORM)) == TRANSFORM


def test_refuses_what_cannot_be() -> None:
    with pytest.raises(ConfigError, match="cannot cut 32 pixels out of 16"):
        replace(TRANSFORM, resize_to=16)
    with pytest.raises(ConfigError, match="bicubic"):
        replace(TRANSFORM, interpolation="cubic")
