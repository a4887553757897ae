"""Pictures with boxes from a COCO annotation file, indexed by pycocotools."""

from __future__ import annotations

import contextlib
import io
import json
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from edge_glass.core.errors import DataError
from edge_glass.core.extras import optional_module
from edge_glass.data.folder import file_below
from edge_glass.detection.boxes.spec import BoxSpec
from edge_glass.detection.data.files import existing_folder, read_text, shown_files, whole
from edge_glass.detection.data.rows import Annotated, Mark, build_table
from edge_glass.detection.data.table import DetectionTable

logger = logging.getLogger(__name__)

_PARTS = ("images", "annotations", "categories")


def read_coco(
    path: str | Path,
    image_root: str | Path | None = None,
    bad_boxes: str = "skip_row",
    categories: Sequence[str] | None = None,
) -> DetectionTable:
    """The usable pictures of a COCO file.

    A picture without annotations is one with nothing to find. Boxes of crowds (`iscrowd`) surround many
    things at once and are left out. Annotations of pictures that the file does not list are bad rows.

    Args:
        path: The file.
        image_root: Folder that `file_name` is relative to; by default the file's own.
        bad_boxes: See `build_table`.
        categories: What is looked for; by default every category of the file.

    Raises:
        ConfigError: pycocotools is missing.
        DataError: The file is missing or no COCO file; or a box is bad and `bad_boxes` is `error`.
    """
    path = Path(path)
    content = _read(path)
    names = _category_names(path, content["categories"])
    root = existing_folder(path.parent if image_root is None else image_root)
    images, strays = _by_picture(content["images"], content["annotations"])
    times = Counter(record.get("id") for record in content["images"] if _has_id(record))
    rows, files = [], []
    for position, record in enumerate(content["images"]):
        row, file = _picture(record, position, images, names, root)
        if _has_id(record) and times[record["id"]] > 1:
            row = replace(row, problem=f"{times[record['id']]} pictures have the id {record['id']!r}")
        rows.append(row)
        files.append(file)
    for name, problem in strays.items():
        rows.append(Annotated(name, problem=problem))
        files.append(root)
    return build_table(
        source=str(path),
        rows=rows,
        shown=shown_files(files, root, str(path)),
        spec=BoxSpec.XYWH,
        bad_boxes=bad_boxes,
        categories=categories,
        known=tuple(dict.fromkeys(names.values())),
    )


def _read(path: Path) -> dict[str, list[Any]]:
    try:
        content = json.loads(read_text(path))
    except (json.JSONDecodeError, RecursionError) as error:
        raise DataError(f"{path}: cannot be read as JSON ({str(error)[:120]})") from error
    missing = [part for part in _PARTS if not isinstance(content, dict) or part not in content]
    if missing:
        raise DataError(f"{path}: no COCO annotations: it has no list {', '.join(missing)}")
    for part in _PARTS:
        if not isinstance(content[part], list):
            raise DataError(f"{path}: '{part}' is {type(content[part]).__name__}, expected a list")
    return content


def _category_names(path: Path, records: Sequence[Any]) -> dict[Any, str]:
    """Category id → name, in the order of the ids as the file has them."""
    names: dict[Any, str] = {}
    for position, record in enumerate(records):
        name = record.get("name") if isinstance(record, dict) else None
        if not isinstance(name, str) or not name.strip() or not _is_id(record.get("id")):
            raise DataError(f"{path}: categories[{position}] has no id or no name")
        if record["id"] in names:
            raise DataError(f"{path}: two categories have the id {record['id']}")
        names[record["id"]] = name.strip()
    return names


def _by_picture(
    images: Sequence[Any], annotations: Sequence[Any]
) -> tuple[Mapping[Any, Sequence[Any]], dict[str, str]]:
    """Annotations by picture id; and those of no picture, by name, with what is wrong."""
    module = optional_module("pycocotools.coco", "detection")
    listed = {image["id"] for image in images if isinstance(image, dict) and _is_id(image.get("id"))}
    strays: dict[str, str] = {}
    usable = []
    for position, annotation in enumerate(annotations):
        if not isinstance(annotation, dict):
            strays[f"annotations[{position}]"] = "the annotation is no object"
            continue
        image = annotation.get("image_id")
        if not _is_id(image) or image not in listed:
            name = f"annotation {annotation.get('id', position)}"
            strays[name] = f"it belongs to the picture {image!r}, which the file does not list"
            continue
        usable.append({"id": position, "category_id": None, **annotation})
    crowds = [one for one in usable if _is_crowd(one)]
    if crowds:
        logger.info("%d boxes of crowds (iscrowd) are left out", len(crowds))
    index = module.COCO()
    index.dataset = {"annotations": [one for one in usable if not _is_crowd(one)]}
    with contextlib.redirect_stdout(io.StringIO()):  # it prints
        index.createIndex()
    return index.imgToAnns, strays


def _picture(
    record: Any, position: int, annotations: Mapping[Any, Sequence[Any]], names: Mapping[Any, str], root: Path
) -> tuple[Annotated, Path]:
    """One picture with its boxes, and its file."""
    name = record.get("file_name") if isinstance(record, dict) else None
    if not isinstance(name, str) or not name or not _is_id(record.get("id")):
        return Annotated(f"images[{position}]", problem="the picture has no id or no file_name"), root
    said = (whole(record.get("width")), whole(record.get("height")))
    marks = [_mark(annotation, names) for annotation in annotations.get(record["id"], ())]
    return Annotated(name, marks, None if said == (None, None) else said), file_below(root, name)


def _mark(annotation: Mapping[str, Any], names: Mapping[Any, str]) -> Mark:
    category = annotation["category_id"]
    if not _is_id(category) or category not in names:
        fault = f"annotation {annotation['id']}: the category {category!r} is not in the file's categories"
        return Mark(annotation.get("bbox"), None, fault)
    return Mark(annotation.get("bbox"), names[category])


def _has_id(record: Any) -> bool:
    return isinstance(record, dict) and _is_id(record.get("id"))


def _is_crowd(annotation: Mapping[str, Any]) -> bool:
    """Read `iscrowd`, which some programs write as text."""
    value = annotation.get("iscrowd")
    return value.strip().casefold() not in ("", "0", "false") if isinstance(value, str) else bool(value)


def _is_id(value: Any) -> bool:
    return isinstance(value, int | str) and not isinstance(value, bool)
