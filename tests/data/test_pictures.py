from __future__ import annotations

import io
import pickle
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageFile

from edge_glass.data.pictures import BadPicture, decode_image, picture_bytes, picture_hash


def encode(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def noise(width: int = 24, height: int = 16, mode: str = "RGB") -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


def png_header(width: int, height: int) -> bytes:
    """A well-formed PNG that claims a size and holds no more than a few bytes of pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(64))) + chunk(b"IEND", b"")


def kind_of(data: bytes, **options) -> str:
    with pytest.raises(BadPicture) as caught:
        decode_image(data, **options)
    return caught.value.kind


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM"])
def test_lossless_formats_come_back_exactly(kind):
    decoded = decode_image(encode(noise(), kind))
    assert decoded.mode == "RGB"
    assert np.array_equal(np.asarray(decoded), np.asarray(noise()))


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "GIF", "AVIF"])
def test_lossy_formats_keep_size_and_colour(kind):
    decoded = decode_image(encode(Image.new("RGB", (24, 16), (200, 40, 40)), kind))
    assert (decoded.size, decoded.mode) == ((24, 16), "RGB")
    assert np.abs(np.asarray(decoded, np.int16) - [200, 40, 40]).max() < 10


def test_palette_with_transparency_becomes_rgba():
    picture = Image.new("P", (4, 4), 0)
    picture.putpalette([255, 0, 0, 0, 255, 0])
    picture.putpixel((1, 0), 1)
    decoded = decode_image(encode(picture, transparency=0))
    assert decoded.mode == "RGBA"
    assert decoded.getpixel((0, 0))[3] == 0 and decoded.getpixel((1, 0)) == (0, 255, 0, 255)


def test_palette_with_several_alphas_becomes_rgba():
    picture = Image.new("P", (2, 1), 0)
    picture.putpalette([255, 0, 0, 0, 255, 0])
    picture.putpixel((1, 0), 1)
    decoded = decode_image(encode(picture, transparency=bytes([128, 255])))
    assert [decoded.getpixel((x, 0)) for x in (0, 1)] == [(255, 0, 0, 128), (0, 255, 0, 255)]


def test_grey_and_rgb_with_a_transparent_colour_become_rgba():
    assert decode_image(encode(Image.new("L", (2, 2), 7), transparency=7)).getpixel((0, 0)) == (7, 7, 7, 0)
    data = encode(Image.new("RGB", (2, 2), (1, 2, 3)), transparency=(1, 2, 3))
    assert decode_image(data).getpixel((0, 0)) == (1, 2, 3, 0)


@pytest.mark.parametrize(
    ("mode", "kind"), [("L", "PNG"), ("1", "PNG"), ("CMYK", "JPEG"), ("P", "GIF"), ("L", "JPEG")]
)
def test_other_modes_become_rgb(mode, kind):
    assert decode_image(encode(noise(mode=mode), kind)).mode == "RGB"


def test_sixteen_bit_grey_is_scaled_not_clipped():
    wide = np.array([[0, 257, 32768, 65535]], dtype=np.uint16)
    for kind in ("PNG", "TIFF"):
        decoded = np.asarray(decode_image(encode(Image.fromarray(wide), kind)))
        assert decoded[0, :, 0].tolist() == [0, 1, 128, 255]


def test_float_pixels_are_refused():
    assert kind_of(encode(Image.new("F", (2, 2), 0.5), "TIFF")) == "unsupported"


def test_exif_rotation_is_applied():
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to show
    picture = Image.new("RGB", (30, 10), "white")
    picture.paste("red", (0, 0, 8, 10))
    decoded = decode_image(encode(picture, "JPEG", exif=exif, quality=95))
    assert decoded.size == (10, 30)
    assert decoded.getpixel((5, 2))[1] < 60 < 200 < decoded.getpixel((5, 27))[1]


@pytest.mark.parametrize(
    "options", [{"kind": "JPEG"}, {"kind": "JPEG", "progressive": True}, {"kind": "WEBP"}]
)
def test_no_cut_of_a_picture_is_accepted(options):
    data = encode(noise(), **options)
    for cut in range(len(data)):
        with pytest.raises(BadPicture):
            decode_image(data[:cut])


def test_a_cut_png_is_refused_or_shows_every_pixel():
    data, whole = encode(noise()), np.asarray(noise())
    accepted = 0
    for cut in range(len(data)):
        try:
            decoded = decode_image(data[:cut])
        except BadPicture:
            continue
        accepted += 1
        assert np.array_equal(np.asarray(decoded), whole)
    assert accepted < 30  # only the trailer may be missing


def test_kinds_of_damage():
    jpeg = encode(noise(), "JPEG")
    assert kind_of(jpeg[: len(jpeg) // 2]) == "truncated"
    assert kind_of(encode(noise(), "WEBP")[:200]) == "truncated"
    assert kind_of(b"") == "no_picture"
    assert kind_of(b"just some words") == "not_a_picture"
    png = bytearray(encode(noise()))
    png[60] ^= 0xFF
    assert kind_of(bytes(png)) == "corrupt"


@pytest.mark.parametrize(
    ("data", "words"), [(b"<!DOCTYPE html><p>404", "HTML"), (b"<svg/>", "SVG"), (b"ab", "2 bytes")]
)
def test_what_it_is_instead_is_said(data, words):
    with pytest.raises(BadPicture, match=words):
        decode_image(data)


def test_postscript_never_starts_ghostscript():
    assert (
        kind_of(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n")
        == "not_a_picture"
    )


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(
    "size", [(20_000, 20_000), (10_000, 10_000), (60_000, 2_000), (70_000, 10), (10, 70_000)]
)
def test_bombs_are_refused_by_their_header(size):
    assert kind_of(png_header(*size)) == "too_large"


def test_the_limit_on_pixels_can_be_lowered():
    data = encode(noise(24, 16))
    assert decode_image(data, max_pixels=24 * 16).size == (24, 16)
    assert kind_of(data, max_pixels=24 * 16 - 1) == "too_large"


def test_zero_sized_pictures_are_none():
    bmp = bytearray(encode(noise(), "BMP"))
    bmp[18:22] = (0).to_bytes(4, "little")
    assert kind_of(bytes(bmp)) == kind_of(png_header(0, 5)) == "not_a_picture"


def test_no_setting_of_pillow_is_changed():
    before = (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES)
    for data in (encode(noise()), png_header(20_000, 20_000)[:50], b"x"):
        try:
            decode_image(data)
        except BadPicture:
            continue
    assert (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES) == before == (89_478_485, False)


def test_cells():
    assert picture_bytes(b"ab") == picture_bytes(bytearray(b"ab")) == b"ab"
    assert picture_bytes({"bytes": b"ab", "path": None}) == b"ab"
    for cell, words in [
        (None, "null"),
        (b"", "length 0"),
        ({"bytes": None, "path": "a.png"}, "'a.png'"),
        ({"bytes": None, "path": None}, "null"),
        ("a.png", "str, not bytes"),
    ]:
        with pytest.raises(BadPicture, match=words):
            picture_bytes(cell)


def test_the_hash_is_of_the_content():
    image = noise()
    assert picture_hash(decode_image(encode(image))) == picture_hash(decode_image(encode(image, "BMP")))
    assert picture_hash(image) == picture_hash(image.convert("RGBA"))
    changed = image.copy()
    changed.putpixel((0, 0), tuple(255 - value for value in image.getpixel((0, 0))))
    assert picture_hash(changed) != picture_hash(image)
    flat = Image.new("RGB", (4, 9))
    assert picture_hash(flat) != picture_hash(Image.new("RGB", (9, 4)))
    assert (
        picture_hash(flat) == "800c94c47098e2ad335501ee50f4f475c904a3e5bd8d4bdfbd63b72b1b497f83"
    )  # rows on disk carry it: it may not change


def test_bad_pictures_travel_between_processes():
    error = pickle.loads(pickle.dumps(BadPicture("truncated", "half of it is missing")))
    assert (error.kind, str(error)) == ("truncated", "half of it is missing")
