"""Sizes of stored pictures as `decode_image` will show them, without decoding those that need not be."""

from __future__ import annotations

import hashlib
import io
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from PIL import Image

from edge_glass.assets import cache_root
from edge_glass.core.files import atomic_file, file_state
from edge_glass.data.pictures import FORMATS, decode_image
from edge_glass.data.samples import PictureBytes
from edge_glass.data.scan import scan_cells

logger = logging.getLogger(__name__)

_ORIENTATION: Final = 0x0112
_ON_ITS_SIDE: Final = (5, 6, 7, 8)  # EXIF orientations that exchange width and height


class PictureSize(NamedTuple):
    """Pixels of the upright picture.

    Attributes:
        width: Upright.
        height: Upright.
        turned: Whether the file holds it lying on its side, with width and height exchanged.
    """

    width: int
    height: int
    turned: bool


def upright_size(data: bytes) -> PictureSize:
    """Size of an encoded picture that `decode_image` takes.

    Only the header is read, but of PNG files, whose EXIF data may stand behind the pixels, and of TIFF.
    """
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        width, height = image.size
        try:
            turned = image.getexif().get(_ORIENTATION) in _ON_ITS_SIDE
        except Exception:  # a broken EXIF block says nothing: `decode_image` ignores it too
            turned = False
        if image.format == "TIFF":  # whose size Pillow turns by itself, at a time that depends on its version
            width, height = decode_image(data).size
            return PictureSize(width, height, turned)
    return PictureSize(height, width, True) if turned else PictureSize(width, height, False)


def upright_sizes(
    pictures: PictureBytes, positions: Sequence[int], identity: str, what: str
) -> list[PictureSize]:
    """Sizes of these pictures; the result is kept under their identity.

    Args:
        pictures: Encoded pictures by position.
        positions: Of usable pictures.
        identity: Text that changes whenever the pictures at these positions could.
        what: Where they come from, for the progress bar.
    """
    key = hashlib.sha256(f"v1|{identity}|{list(positions)}".encode()).hexdigest()[:32]
    stored = cache_root() / "sizes" / f"{key}.npy"
    if stored.exists():
        return [
            PictureSize(width, height, bool(turned)) for width, height, turned in np.load(stored).tolist()
        ]
    cells = (pictures[position] for position in positions)
    sizes = [size for chunk in scan_cells(cells, len(positions), what, upright_size) for size in chunk]
    try:
        with atomic_file(stored) as temporary, temporary.open("wb") as stream:
            np.save(stream, np.array(sizes, dtype=np.int64).reshape(-1, 3))
    except OSError as error:
        logger.warning("%s: cannot be written (%s); sizes are read again next time", stored, error)
    return sizes


def files_identity(files: Sequence[Path]) -> str:
    """Text that changes when one of these files does."""
    status = [(str(file), file_state(file)) for file in files]
    return hashlib.sha256(json.dumps(status).encode()).hexdigest()
