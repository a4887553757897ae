"""Pictures with boxes from Pascal VOC folders, their objects parsed by supervision.

Its own loader stops at the first file it cannot read and turns inverted boxes round without a word; so its
parser gets objects one by one, and rows are checked as those of any source.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final
from xml.etree.ElementTree import Element, SubElement

from edge_glass.core.errors import DataError
from edge_glass.core.extras import optional_module
from edge_glass.data.folder import file_below
from edge_glass.detection.boxes.spec import BoxSpec
from edge_glass.detection.data.files import (
    SUFFIXES,
    existing_folder,
    read_text,
    shown_files,
    supervision_parser,
    whole,
)
from edge_glass.detection.data.hub import SPLIT_NAMES
from edge_glass.detection.data.rows import Annotated, Mark, build_table
from edge_glass.detection.data.table import DetectionTable

ANNOTATIONS: Final = "Annotations"
PICTURES: Final = "JPEGImages"
LISTS: Final = "ImageSets/Main"
_CORNERS: Final = ("xmin", "ymin", "xmax", "ymax")


def voc_splits(folder: str | Path) -> list[str]:
    """Which of train, val and test a folder has a list of names for (`ImageSets/Main/train.txt`).

    Raises:
        DataError: There is no such folder.
    """
    lists = existing_folder(folder) / LISTS
    return [name for name in ("train", "val", "test") if (lists / f"{name}.txt").is_file()]


def read_voc(
    folder: str | Path,
    split: str | None = None,
    image_root: str | Path | None = None,
    bad_boxes: str = "skip_row",
    categories: Sequence[str] | None = None,
) -> DetectionTable:
    """The usable pictures of a Pascal VOC folder.

    Its corners are whole pixels that count from 1, the last one within the box: 1 to 10 are ten pixels.
    Objects marked `difficult` are among the boxes.

    Args:
        folder: With `Annotations/NAME.xml` and `JPEGImages`, or with both kinds of files side by side.
        split: Those that `ImageSets/Main/SPLIT.txt` lists; None for all there are.
        image_root: Folder of the pictures; by default `JPEGImages`, or else the folder itself.
        bad_boxes: See `build_table`.
        categories: What is looked for; by default every name there is.

    Raises:
        ConfigError: supervision is missing.
        DataError: A folder or list is missing; or a box is bad and `bad_boxes` is `error`.
    """
    home = existing_folder(folder)
    notes = home / ANNOTATIONS if (home / ANNOTATIONS).is_dir() else home
    default = home / PICTURES if (home / PICTURES).is_dir() else home
    root = existing_folder(default if image_root is None else image_root)
    files = _annotation_files(home, notes, split)
    parse = supervision_parser("pascal_voc").detections_from_xml_obj
    read_xml = optional_module("defusedxml.ElementTree", "detection").parse
    rows, pictures = [], []
    for file in files:
        row, picture = _row(file, root, parse, read_xml)
        rows.append(row)
        pictures.append(picture)
    return build_table(
        source=f"{folder}#{split}" if split else str(folder),
        rows=rows,
        shown=shown_files(pictures, root, str(folder)),
        spec=BoxSpec.XYXY,
        bad_boxes=bad_boxes,
        categories=categories,
        known=sorted({mark.label for row in rows for mark in row.marks if mark.label}),
    )


def _annotation_files(home: Path, notes: Path, split: str | None) -> list[Path]:
    if split is None:
        files = sorted(file for file in notes.iterdir() if file.suffix.lower() == ".xml")
        if not files:
            raise DataError(f"{notes}: no annotations (*.xml)")
        return files
    lists = {SPLIT_NAMES.get(file.stem, ""): file for file in (home / LISTS).glob("*.txt")}
    if split not in lists:
        raise DataError(f"{home}: no split {split!r}: there is no {LISTS}/{split}.txt")
    words = [line.split() for line in read_text(lists[split]).splitlines() if line.strip()]
    return [notes / f"{name[0]}.xml" for name in words]


def _row(file: Path, root: Path, parse: Any, read_xml: Any) -> tuple[Annotated, Path]:
    """One picture with its boxes, and its file."""
    if not file.is_file():
        return Annotated(file.stem, problem=f"there is no annotation {file.name} in {file.parent}"), root
    try:
        content = read_xml(file).getroot()
    except Exception as error:  # of the XML parser, and of defusedxml where a file tries to attack it
        return Annotated(file.stem, problem=f"{file.name} cannot be read as XML ({str(error)[:120]})"), root
    for element in content.iter():  # names without their XML namespace
        element.tag = str(element.tag).rpartition("}")[2]
    marks = [_mark(item, parse) for item in content.findall("object")]
    said = tuple(whole(content.findtext(f"size/{side}")) for side in ("width", "height"))
    # labelImg writes 0x0 where it could not read the picture.
    size = None if said in ((None, None), (0, 0)) else (said[0], said[1])
    return Annotated(file.stem, marks, size), _picture(content, file, root)


def _picture(content: Any, file: Path, root: Path) -> Path:
    """The picture of an annotation: what it names, or else a file named like itself."""
    named = (content.findtext("filename") or "").strip()
    if named and (found := file_below(root, named)).is_file():
        return found
    beside = (root / f"{file.stem}{suffix}" for suffix in SUFFIXES)
    return next(
        (one.resolve() for one in beside if one.is_file()), file_below(root, named or f"{file.stem}.jpg")
    )


def _mark(item: Any, parse: Any) -> Mark:
    """One object: supervision parses it; what it would mend without a word is a fault here."""
    label = (item.findtext("name") or "").strip()
    alone = Element("annotation")
    bare = SubElement(alone, "object")  # without polygons, which it would draw
    bare.extend(part for part in item if part.tag in ("name", "bndbox"))
    try:
        found, _ = parse(alone, [], (1, 1))
    except ValueError as error:
        return Mark(None, label or None, " ".join(str(error).split()))
    if not label:
        return Mark(None, None, "an object has no name")
    corners = [float(item.findtext(f"bndbox/{corner}")) for corner in _CORNERS]
    if corners[0] > corners[2] or corners[1] > corners[3]:
        written = ", ".join(f"{corner:g}" for corner in corners)
        return Mark(None, label, f"the box ({written}), xmin ymin xmax ymax, is inverted")
    return Mark(found.xyxy[0], label)
