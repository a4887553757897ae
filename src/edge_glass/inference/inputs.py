"""Pictures and sounds as users give them: files, bytes, or decoded already."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image

from edge_glass.data.pictures import BadPicture, decode_image
from edge_glass.data.sounds import BadSound, decode_sound
from edge_glass.errors import DataError

Picture = Image.Image | str | Path | bytes
"""A picture file, its bytes, or a decoded picture."""

SoundSource = tuple[np.ndarray, int] | str | Path | bytes
"""A sound file, its bytes, or mono samples and their rate in Hz."""

Decoded = TypeVar("Decoded")


def open_picture(picture: Picture) -> Image.Image:
    """A picture as upright RGB(A).

    Raises:
        DataError: It is missing or cannot be decoded.
    """
    if isinstance(picture, Image.Image):
        return picture
    return _decoded("the picture", picture, decode_image)


def open_sound(sound: SoundSource) -> tuple[np.ndarray, int]:
    """Mono samples and their rate.

    Raises:
        DataError: It is missing or cannot be decoded.
    """
    if not isinstance(sound, tuple):
        return _decoded("the sound", sound, decode_sound)
    if not len(sound[0]):
        raise DataError("the sound has no samples (length 0).")
    return sound


def _decoded(what: str, source: str | Path | bytes, decode: Callable[[bytes], Decoded]) -> Decoded:
    """A file or its bytes, decoded; `what` names bytes in messages."""
    name = what if isinstance(source, bytes) else str(source)
    try:
        return decode(source if isinstance(source, bytes) else Path(source).read_bytes())
    except FileNotFoundError as error:
        raise DataError(f"{name}: no such file.") from error
    except (BadPicture, BadSound) as error:
        raise DataError(f"{name}: {error.reason}.") from error
    except OSError as error:
        raise DataError(f"{name}: cannot be read ({error.strerror}).") from error
