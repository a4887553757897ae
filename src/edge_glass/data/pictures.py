"""Decode one stored picture, strictly, and name it by its content.

Every room that opens a picture goes through `decode_image`, so training, evaluation and the data check agree
on which pictures are usable and what they look like. Pillow's global settings are never touched.
"""

from __future__ import annotations

import hashlib
import io
import struct
from typing import Any, Final

from PIL import Image, ImageOps, UnidentifiedImageError

from edge_glass.core.errors import error_line
from edge_glass.data.cells import BadCell

MAX_PIXELS: Final = 89_478_485
"""Upper bound on width x height. Pillow's own warning level (256 MiB as RGB), enforced here as an error."""

THUMBNAIL_SIDE: Final = 96

MAX_SIDE: Final = 65_500
"""Upper bound on one side, in pixels: the longest side a JPEG can have."""

# Named, because Pillow's full list holds formats that start other programs (EPS runs Ghostscript) and formats
# without a signature, which take almost any bytes for a picture. MPO (phones) comes in through JPEG.
FORMATS: Final = (
    "PNG",
    "JPEG",
    "WEBP",
    "GIF",
    "BMP",
    "TIFF",
    "AVIF",
    "JPEG2000",
    "PPM",
    "ICO",
)

_SIXTEEN_BIT_MODES: Final = ("I;16", "I;16L", "I;16B", "I;16N")


class BadPicture(BadCell):
    """A stored picture cannot be used."""

    noun = "picture"


def picture_bytes(value: Any) -> bytes:
    """Return the encoded bytes of one table cell: raw bytes, or the Hugging Face struct `{"bytes", "path"}`.

    Raises:
        BadPicture: The cell is empty, holds only a path, or holds something other than bytes.
    """
    return BadPicture.require_bytes(value)


def decode_image(data: bytes, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Decode a picture completely, upright (EXIF rotation applied).

    The size is read from the header and checked before any pixel is decoded.

    Returns:
        A loaded picture: mode "RGBA" when the file carries transparency, else "RGB". Grey of 16 bits is
        scaled to 8. Of an animation, the first frame.

    Raises:
        BadPicture: not a picture, truncated, corrupt, too large or without an 8-bit meaning.
    """
    if not data:
        raise BadPicture("no_picture", "the picture has no bytes (length 0)")
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError as error:  # also raised for a picture of zero width or height
        raise BadPicture("not_a_picture", f"no picture can be read from {_describe(data)}") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise BadPicture("too_large", f"too large: {error_line(error, 120)}") from error
    except Exception as error:  # Pillow's parsers raise many kinds: SyntaxError, struct.error, KeyError, ...
        raise BadPicture(
            _damage(data, error), f"the header cannot be read ({error_line(error, 120)})"
        ) from error
    with image:
        _check_size(image, max_pixels)
        try:
            image.load()
        except Exception as error:  # OSError when bytes are missing; the codecs raise others
            reason = f"the {image.format} data cannot be decoded ({error_line(error, 120)})"
            raise BadPicture(_damage(data, error), reason) from error
        return _to_rgb(_upright(image))


def picture_hash(image: Image.Image) -> str:
    """Return SHA-256 (hex) of what a picture shows, its size and RGBA pixels, in whatever file format."""
    digest = hashlib.sha256(struct.pack("<II", *image.size))
    digest.update(image.convert("RGBA").tobytes())
    return digest.hexdigest()


def _check_size(image: Image.Image, max_pixels: int) -> None:
    width, height = image.size
    if width * height > max_pixels:
        reason = f"too large: {width}x{height} is {width * height} pixels, the limit is {max_pixels}"
        raise BadPicture("too_large", reason)
    if max(width, height) > MAX_SIDE:
        raise BadPicture("too_large", f"too large: {width}x{height}, the limit is {MAX_SIDE} a side")


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # a broken EXIF block says nothing about the pixels: show them as stored
        return image


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode in _SIXTEEN_BIT_MODES or image.mode in ("I", "F"):
        return _eight_bit_grey(image).convert("RGB")
    # Palette and grey pictures keep transparency in `info`; convert("RGB") would show the hidden colour.
    try:
        return image.convert("RGBA" if image.has_transparency_data else "RGB")
    except Exception as error:
        raise BadPicture(
            "unsupported", f"mode {image.mode} cannot become RGB ({error_line(error, 120)})"
        ) from error


def _eight_bit_grey(image: Image.Image) -> Image.Image:
    """Scale 16-bit grey to mode "L". Pillow's convert("L") clips at 255: most would turn white."""
    if image.mode == "F":
        raise BadPicture(
            "unsupported", "32-bit float pixels have no fixed white; save the picture with 8 bits"
        )
    low, high = (float(bound) for bound in image.getextrema())  # type: ignore[arg-type]
    if low < 0 or high > 65535:
        raise BadPicture("unsupported", f"integer pixels from {low:.0f} to {high:.0f}; expected 0 to 65535")
    return image.convert("F").point(lambda value: value * (1 / 257) + 0.5).convert("L")


def _damage(data: bytes, error: BaseException) -> str:
    short_riff = data[:4] == b"RIFF" and int.from_bytes(data[4:8], "little") + 8 > len(data)
    return "truncated" if short_riff or "truncated" in str(error).lower() else "corrupt"


def _describe(data: bytes) -> str:
    head = data[:64].lstrip().lower()
    if head.startswith((b"<svg", b"<?xml")):
        return "what looks like SVG or XML; convert it to PNG first"
    if head.startswith((b"<!doctype", b"<html")):
        return "an HTML page, perhaps an error page saved as a picture"
    return f"{len(data)} bytes, starting with {data[:8]!r}"


def make_thumbnail(image: Image.Image, side: int = THUMBNAIL_SIDE) -> bytes:
    """Return PNG bytes of a picture scaled down (never up) to fit a square of `side` pixels."""
    small = image.convert("RGBA" if "A" in image.getbands() or "transparency" in image.info else "RGB")
    small.thumbnail((side, side))
    buffer = io.BytesIO()
    small.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()
