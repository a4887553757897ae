"""Pictures and sounds as users give them: files, bytes, or decoded already."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from edge_glass.data.pictures import BadPicture, decode_image
from edge_glass.data.sounds import BadSound, decode_sound
from edge_glass.errors import DataError

Picture = Image.Image | str | Path | bytes
"""A picture file, its bytes, or a decoded picture."""

SoundSource = tuple[np.ndarray, int] | str | Path | bytes
"""A sound file, its bytes, or mono samples and their rate in Hz."""


def open_picture(picture: Picture) -> Image.Image:
    """A picture as upright RGB(A).

    Raises:
        DataError: It is missing or cannot be decoded.
    """
    if isinstance(picture, Image.Image):
        return picture
    name = "the picture" if isinstance(picture, bytes) else str(picture)
    try:
        return decode_image(picture if isinstance(picture, bytes) else Path(picture).read_bytes())
    except FileNotFoundError as error:
        raise DataError(f"{name}: no such file.") from error
    except BadPicture as error:
        raise DataError(f"{name}: {error.reason}.") from error
    except OSError as error:
        raise DataError(f"{name}: cannot be read ({error.strerror}).") from error


def open_sound(sound: SoundSource) -> tuple[np.ndarray, int]:
    """Mono samples and their rate.

    Raises:
        DataError: It is missing or cannot be decoded.
    """
    if isinstance(sound, tuple):
        if not len(sound[0]):
            raise DataError("the sound has no samples (length 0).")
        return sound
    name = "the sound" if isinstance(sound, bytes) else str(sound)
    try:
        return decode_sound(sound if isinstance(sound, bytes) else Path(sound).read_bytes())
    except FileNotFoundError as error:
        raise DataError(f"{name}: no such file.") from error
    except BadSound as error:
        raise DataError(f"{name}: {error.reason}.") from error
    except OSError as error:
        raise DataError(f"{name}: cannot be read ({error.strerror}).") from error
