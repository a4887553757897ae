"""Pictures with boxes from YOLO folders, their lines parsed by supervision.

Its own loader stops at the first line it cannot read and looks at no picture; so its parser gets label files
one by one, and rows are checked as those of any source.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import yaml

from edge_glass.core.errors import DataError
from edge_glass.detection.boxes.spec import BoxSpec
from edge_glass.detection.data.files import (
    SUFFIXES,
    existing_folder,
    read_text,
    shown_files,
    supervision_parser,
)
from edge_glass.detection.data.hub import SPLIT_NAMES
from edge_glass.detection.data.rows import Annotated, Mark, build_table
from edge_glass.detection.data.table import DetectionTable

logger = logging.getLogger(__name__)

_SPLIT_KEYS: Final = ("train", "val", "validation", "valid", "test")


def yolo_splits(path: str | Path) -> list[str]:
    """Which of train, val and test a `data.yaml` names.

    Raises:
        DataError: The file is missing or no such file.
    """
    content = _read_yaml(Path(path))
    return list(dict.fromkeys(SPLIT_NAMES[key] for key in _SPLIT_KEYS if content.get(key)))


def read_yolo(
    path: str | Path,
    split: str = "train",
    image_root: str | Path | None = None,
    bad_boxes: str = "skip_row",
    categories: Sequence[str] | None = None,
) -> DetectionTable:
    """The usable pictures of one split of a YOLO data set.

    Labels stand in text files named like their pictures, in a folder `labels` where those stand in `images`,
    or beside them. A line is a class and a box, a polygon (its bounds are the box), or a box with key points
    (`kpt_shape`), which are not used. A picture without a label file is one with nothing to find.

    Args:
        path: The `data.yaml`.
        split: train, val or test.
        image_root: Folder that the paths in it are relative to; by default what it says, else its own.
        bad_boxes: See `build_table`.
        categories: What is looked for; by default all of `names`.

    Raises:
        ConfigError: supervision is missing.
        DataError: A file or folder is missing or cannot be read; or a box is bad and `bad_boxes` is `error`.
    """
    path = Path(path)
    content = _read_yaml(path)
    names = _class_names(path, content)
    extra_values = _key_point_values(path, content)
    given = next(
        (content[key] for key in _SPLIT_KEYS if SPLIT_NAMES[key] == split and content.get(key)), None
    )
    if given is None:
        raise DataError(f"{path}: no split {split!r}; it has {', '.join(yolo_splits(path)) or 'none'}")
    root = _yolo_root(path, content, image_root)
    places = given if isinstance(given, list) else [given]
    files = [file for place in places for file in _yolo_pictures(path, root, str(place))]
    labels = [_label_file(file) for file in files]
    without = sum(not label.is_file() for label in labels)
    if files and without == len(files):
        raise DataError(f"{path}: no picture of {split!r} has a label file; expected one at {labels[0]}")
    if without:
        logger.warning("%s: %d of %d pictures have no label file: nothing to find", path, without, len(files))
    parse = supervision_parser("yolo").yolo_annotations_to_detections
    rows = [
        _yolo_row(file, label, names, extra_values, parse) for file, label in zip(files, labels, strict=True)
    ]
    return build_table(
        source=f"{path}#{split}",
        rows=rows,
        shown=shown_files(files, None, str(path)),
        spec=BoxSpec.XYXY_RELATIVE,
        bad_boxes=bad_boxes,
        categories=categories,
        known=tuple(dict.fromkeys(names.values())),
    )


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        text = read_text(path)
        content = yaml.safe_load(text)
        if isinstance(content, dict) and "names" in content:  # as written: `no` and 0010 are names, too
            content["names"] = yaml.load(text, Loader=yaml.BaseLoader)["names"]
    except yaml.YAMLError as error:
        raise DataError(f"{path}: cannot be read as YAML ({' '.join(str(error).split())[:160]})") from error
    if not isinstance(content, dict) or "names" not in content:
        raise DataError(f"{path}: no YOLO data file: it has no 'names'")
    return content


def _class_names(path: Path, content: dict[str, Any]) -> dict[int, str]:
    given = content["names"]
    items = (
        given.items() if isinstance(given, dict) else enumerate(given) if isinstance(given, list) else None
    )
    try:
        assert items is not None
        return {int(number): str(name) for number, name in sorted(items, key=lambda item: int(item[0]))}
    except (AssertionError, TypeError, ValueError) as error:
        raise DataError(
            f"{path}: 'names' is neither a list of names nor a map of numbers to names"
        ) from error


def _key_point_values(path: Path, content: dict[str, Any]) -> int:
    """How many numbers follow the box of a line with key points; 0 where there are none."""
    shape = content.get("kpt_shape")
    if shape is None:
        return 0
    if not (isinstance(shape, list) and len(shape) == 2 and all(isinstance(one, int) for one in shape)):
        raise DataError(f"{path}: 'kpt_shape' is {shape!r}, expected [number of points, 2 or 3]")
    return int(shape[0]) * int(shape[1])


def _yolo_root(path: Path, content: dict[str, Any], image_root: str | Path | None) -> Path:
    if image_root is not None:
        return existing_folder(image_root)
    said = content.get("path")
    return existing_folder(path.parent / str(said) if said else path.parent)


def _yolo_pictures(path: Path, root: Path, place: str) -> list[Path]:
    """Pictures below a folder, or those that a text file lists."""
    found = root / place
    if not found.exists() and place.startswith("../"):  # Roboflow writes ../train/images for train/images
        found = root / place.removeprefix("../")
    if found.is_dir():
        # Not resolved: the labels of a picture that is a link stand beside the link.
        return sorted(_absolute(file) for file in found.rglob("*") if file.suffix.lower() in SUFFIXES)
    if found.suffix == ".txt" and found.is_file():
        lines = [line.strip() for line in read_text(found).splitlines()]
        return [_absolute(found.parent / line) for line in lines if line]
    raise DataError(f"{path}: {place!r} is neither a folder nor a list of pictures (.txt) in {root}")


def _absolute(file: Path) -> Path:
    return Path(os.path.normpath(file.absolute()))


def _label_file(picture: Path) -> Path:
    parts = list(picture.with_suffix(".txt").parts)
    for place in range(len(parts) - 2, 0, -1):
        if parts[place] == "images":
            parts[place] = "labels"
            break
    return Path(*parts)


def _yolo_row(file: Path, label: Path, names: dict[int, str], extra_values: int, parse: Any) -> Annotated:
    if not label.is_file():
        return Annotated(file.name)
    try:
        lines = [line.split() for line in read_text(label).splitlines() if line.strip()]
    except DataError as error:
        return Annotated(file.name, problem=str(error))
    lines = [words[:5] if extra_values and len(words) == 5 + extra_values else words for words in lines]
    joined = [" ".join(words) for words in lines]
    try:
        found = parse(joined, (1, 1), with_masks=False)  # a picture of one pixel: shares of the sides
        marks = [
            _yolo_mark(box, number, names) for box, number in zip(found.xyxy, found.class_id, strict=True)
        ]
    except ValueError:  # one of them: which?
        marks = [_yolo_line(line, number, names, parse) for number, line in enumerate(joined, start=1)]
    return Annotated(file.name, marks)


def _yolo_line(line: str, number: int, names: dict[int, str], parse: Any) -> Mark:
    try:
        found = parse([line], (1, 1), with_masks=False)
    except ValueError as error:
        return Mark(None, None, f"line {number} of its labels: {' '.join(str(error).split())}")
    return _yolo_mark(found.xyxy[0], found.class_id[0], names)


def _yolo_mark(box: Any, number: Any, names: dict[int, str]) -> Mark:
    if int(number) not in names:
        return Mark(box, None, f"the category {int(number)} is not among the {len(names)} names of data.yaml")
    return Mark(box, names[int(number)])
