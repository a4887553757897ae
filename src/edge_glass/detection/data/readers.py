"""Pictures with boxes from wherever they are: one name for every form."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from edge_glass.core.errors import ConfigError, DataError
from edge_glass.detection.boxes.spec import BoxSpec
from edge_glass.detection.data.coco import read_coco
from edge_glass.detection.data.hub import SPLIT_NAMES, hub_files, is_hub_id
from edge_glass.detection.data.parquet import read_detection_parquet
from edge_glass.detection.data.table import DetectionTable, join_detections
from edge_glass.detection.data.voc import read_voc, voc_splits
from edge_glass.detection.data.yolo import read_yolo, yolo_splits

__all__ = ["own_splits", "read_detection", "read_detection_parquet"]

_FORMS: Final = "FILE.parquet, coco:FILE.json, yolo:data.yaml, voc:FOLDER or OWNER/NAME on the hub"


def read_detection(
    source: str,
    spec: BoxSpec | str = BoxSpec.YXYX_RELATIVE,
    image_root: str | Path | None = None,
    bad_boxes: str = "skip_row",
    categories: Sequence[str] | None = None,
) -> DetectionTable:
    """The usable rows of one source.

    Args:
        source: `FILE.parquet` or a hub id `OWNER/NAME` in OpenFoodFacts' form, `coco:FILE.json`,
            `yolo:data.yaml` or `voc:FOLDER`. `#SPLIT` behind a hub id, YOLO or VOC source names one of its
            splits; without it that is train (of VOC, all there is).
        spec: How boxes are written in parquet files; the other forms have their own ways.
        image_root: Folder of the pictures that annotations name; by default where their form has them.
        bad_boxes: See `build_table`.
        categories: What is looked for; by default every category of the source.

    Raises:
        ConfigError: The source is of none of these forms, or a package for it is missing.
        DataError: It is missing or cannot be read; or a box is bad and `bad_boxes` is `error`.
    """
    form, place, split = parse_source(source)
    if form == "parquet":
        return read_detection_parquet(place, spec, bad_boxes, categories)
    if form == "hub":
        files = hub_files(place)
        if (split or "train") not in files:
            raise DataError(f"{place}: no split {split or 'train'!r}; it has {', '.join(files)}")
        tables = [
            read_detection_parquet(file, spec, bad_boxes, categories) for file in files[split or "train"]
        ]
        return join_detections(tables)
    if form == "coco":
        return read_coco(place, image_root, bad_boxes, categories)
    if form == "yolo":
        return read_yolo(place, split or "train", image_root, bad_boxes, categories)
    return read_voc(place, split, image_root, bad_boxes, categories)


def own_splits(source: str) -> dict[str, str]:
    """The sources of train, val and test that one source brings along, those that it has.

    A hub id, a YOLO file or a VOC folder may hold several; any other, and one with `#SPLIT`, is train alone.
    """
    form, place, split = parse_source(source)
    if split is not None or form in ("parquet", "coco"):
        return {"train": source}
    found = {"hub": hub_files, "yolo": yolo_splits, "voc": voc_splits}[form](place)
    return {name: f"{source}#{name}" for name in found} if "train" in found else {"train": source}


def parse_source(source: str) -> tuple[str, str, str | None]:
    """Form (`parquet`, `hub`, `coco`, `yolo` or `voc`), place and split of a source.

    Raises:
        ConfigError: It is of none of these forms.
    """
    place, _, name = source.partition("#")
    split = SPLIT_NAMES.get(name.lower(), name) or None
    form, colon, rest = place.partition(":")
    if colon and form in ("coco", "yolo", "voc") and rest:
        if form == "coco" and split:
            raise ConfigError(f"expected coco:FILE.json, since a COCO file has no splits; got {source!r}")
        return form, rest, split
    if source.endswith(".parquet"):
        return "parquet", source, None
    if is_hub_id(place):
        return "hub", place, split
    raise ConfigError(f"expected a source of pictures with boxes, {_FORMS}; got {source!r}")
