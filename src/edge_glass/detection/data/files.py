"""Pictures with boxes in files of their own: what the COCO, YOLO and VOC forms have in common."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from edge_glass.core.errors import DataError
from edge_glass.core.extras import optional_module
from edge_glass.data.folder import FilePictures, file_problem, scan_files
from edge_glass.detection.data.picture_sizes import files_identity, upright_sizes
from edge_glass.detection.data.rows import Shown

SUFFIXES: Final = (
    *(".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".avif"),
    *(".jp2", ".ppm", ".ico", ".mpo"),
)
"""Names of picture files end like this, in any case."""


def shown_files(files: Sequence[Path], root: Path | None, what: str) -> Shown:
    """Pictures that are files, one a row, as `build_table` takes them.

    Args:
        files: Resolved; the same file may be there several times.
        root: Resolved folder that they must lie in; None for any place.
        what: Where they come from, for the progress bar.
    """
    problems = {
        row: f"{problem} ({file.name})"
        for row, file in enumerate(files)
        if (problem := file_problem(root or file.parent, file)) is not None
    }
    scans = scan_files((file for row, file in enumerate(files) if row not in problems), what)
    for row, file in enumerate(files):
        if row not in problems and (problem := scans[file].problem):
            problems[row] = f"the picture {file.name}: {problem}"
    usable = [row for row in range(len(files)) if row not in problems]
    pictures = FilePictures(list(files))
    sizes = upright_sizes(pictures, usable, files_identity([files[row] for row in usable]), what)
    hashes = {row: str(scans[files[row]].digest) for row in usable}
    return Shown(pictures, hashes, problems, dict(zip(usable, sizes, strict=True)))


def existing_folder(folder: str | Path) -> Path:
    """The resolved folder.

    Raises:
        DataError: There is none.
    """
    if not Path(folder).is_dir():
        raise DataError(f"{folder}: no such folder")
    return Path(folder).resolve()


def read_text(path: Path) -> str:
    """A text file.

    Raises:
        DataError: It is missing, may not be read, or is not UTF-8.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error})") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text (byte {error.start})") from error


def whole(value: Any) -> Any:
    """A side of a picture as a whole number, where it is written as text or with a point; else as it is."""
    try:
        return int(value) if float(value) == int(float(value)) else value
    except (TypeError, ValueError, OverflowError):
        return value


def supervision_parser(form: str) -> Any:
    """The module of supervision that parses `yolo` or `pascal_voc`.

    Raises:
        ConfigError: supervision is missing.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it misses OpenCV, which reading labels does not need
        return optional_module(f"supervision.dataset.formats.{form}", "detection")
