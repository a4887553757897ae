"""Pictures and sounds as users give them: files, bytes, or decoded already."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image

from edge_glass.core.errors import DataError
from edge_glass.data.pictures import BadPicture, decode_image
from edge_glass.data.sounds import BadSound, decode_sound

PICTURE_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff"}

Picture = Image.Image | str | Path | bytes
"""A picture file, its bytes, or a decoded picture."""

SoundSource = tuple[np.ndarray, int] | str | Path | bytes
"""A sound file, its bytes, or mono samples and their rate in Hz."""

Decoded = TypeVar("Decoded")


def open_picture(picture: Picture) -> Image.Image:
    """Open a picture as upright RGB(A).

    Raises:
        DataError: It is missing or cannot be decoded.
    """
    if isinstance(picture, Image.Image):
        return picture
    return _decoded("the picture", picture, decode_image)


def picture_files(paths: Iterable[str | Path]) -> list[Path]:
    """List files as they are, folders as the pictures in them (sub-folders included) by name.

    Raises:
        DataError: A path does not exist, or a folder has no picture.
    """
    files: list[Path] = []
    for path in map(Path, paths):
        if not path.is_dir():
            if not path.is_file():
                raise DataError(f"{path}: no such file or folder.")
            files.append(path)
            continue
        within = sorted(file for file in path.rglob("*") if file.suffix.lower() in PICTURE_SUFFIXES)
        if not within:
            raise DataError(f"{path}: no picture ({', '.join(sorted(PICTURE_SUFFIXES))}) in it.")
        files += within
    return files


def open_sound(sound: SoundSource) -> tuple[np.ndarray, int]:
    """Return mono samples and their rate.

    Raises:
        DataError: It is missing or cannot be decoded.
    """
    if not isinstance(sound, tuple):
        return _decoded("the sound", sound, decode_sound)
    if not len(sound[0]):
        raise DataError("the sound has no samples (length 0).")
    return sound


def _decoded(what: str, source: str | Path | bytes, decode: Callable[[bytes], Decoded]) -> Decoded:
    """Decode a file or its bytes; `what` names bytes in messages."""
    name = what if isinstance(source, bytes) else str(source)
    try:
        return decode(source if isinstance(source, bytes) else Path(source).read_bytes())
    except FileNotFoundError as error:
        raise DataError(f"{name}: no such file.") from error
    except (BadPicture, BadSound) as error:
        raise DataError(f"{name}: {error.reason}.") from error
    except OSError as error:
        raise DataError(f"{name}: cannot be read ({error.strerror}).") from error
