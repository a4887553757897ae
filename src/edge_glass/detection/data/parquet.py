"""Pictures with boxes from parquet files in the form of OpenFoodFacts' nutrition-table-detection.

Columns: `image` (struct of bytes and path) and `objects` (struct of the lists `bbox`, `category_id` and
`category_name`); where they are there, `image_id`, `width`, `height` and `meta.barcode`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from edge_glass.data.parquet_file import PICTURES, ColumnKind, open_parquet, read_cells
from edge_glass.data.spool import ArrowPictures, Spool, spool_pictures
from edge_glass.detection.boxes.spec import BoxSpec
from edge_glass.detection.data.picture_sizes import upright_sizes
from edge_glass.detection.data.rows import Annotated, Mark, Shown, build_table
from edge_glass.detection.data.table import DetectionTable

if TYPE_CHECKING:
    import pyarrow as pa

_HINT: Final = (
    ".\nExpected are the columns of OpenFoodFacts' nutrition-table-detection: image, and objects with bbox, "
    "category_id and category_name."
)
_OPTIONAL: Final = ("image_id", "width", "height", "meta")


def _holds_objects(kind: pa.DataType) -> bool:
    import pyarrow.types as types

    def is_list(one: pa.DataType) -> bool:
        return types.is_list(one) or types.is_large_list(one) or types.is_fixed_size_list(one)

    if not types.is_struct(kind) or not {"bbox", "category_name"} <= set(kind.names):
        return False
    boxes = kind.field("bbox").type
    return is_list(boxes) and is_list(boxes.value_type) and is_list(kind.field("category_name").type)


OBJECTS: Final = ColumnKind(
    "structs of the lists bbox (of four numbers each), category_id and category_name", _holds_objects
)


def read_detection_parquet(
    path: str | Path,
    spec: BoxSpec | str = BoxSpec.YXYX_RELATIVE,
    bad_boxes: str = "skip_row",
    categories: Sequence[str] | None = None,
) -> DetectionTable:
    """The usable rows of a parquet file with OpenFoodFacts' columns.

    Args:
        path: The file.
        spec: How `objects.bbox` is written.
        bad_boxes: See `build_table`.
        categories: What is looked for; by default every category of the file.

    Raises:
        DataError: The file is missing, no parquet, damaged or empty, or lacks a column; or a box is bad and
            `bad_boxes` is `error`.
    """
    path = Path(path)
    with open_parquet(path, [("image", PICTURES), ("objects", OBJECTS)], _HINT) as file:
        names = ["objects", *(name for name in _OPTIONAL if name in file.schema_arrow.names)]
        cells = read_cells(path, file, names)
        spool = spool_pictures(path, file, "image")
    count = len(cells["objects"])
    ids, meta = cells.get("image_id", [None] * count), cells.get("meta", [None] * count)
    widths, heights = (cells.get(side, [None] * count) for side in ("width", "height"))
    rows = [
        _annotated(row, ids[row], (widths[row], heights[row]), meta[row], cells["objects"][row])
        for row in range(count)
    ]
    return build_table(
        source=str(path),
        rows=rows,
        shown=_shown(spool, str(path)),
        spec=BoxSpec(spec),
        bad_boxes=bad_boxes,
        categories=categories,
        known=_known(cells["objects"]),
    )


def _annotated(row: int, name: Any, size: tuple[Any, Any], meta: Any, objects: Any) -> Annotated:
    identifier = str(row) if name in (None, "") else str(name)
    barcode = meta.get("barcode") if isinstance(meta, dict) else None
    group = None if barcode in (None, "") else str(barcode)
    said = None if size == (None, None) else size
    if not isinstance(objects, dict) or objects.get("bbox") is None:
        return Annotated(identifier, size=said, group=group, problem="its objects are missing (null)")
    boxes, names = objects["bbox"], objects.get("category_name") or []
    if len(names) != len(boxes):
        problem = f"it has {len(boxes)} boxes but {len(names)} category names"
        return Annotated(identifier, size=said, group=group, problem=problem)
    numbers = objects.get("category_id") or [None] * len(boxes)
    marks = [
        _mark(box, label, number)
        for box, label, number in zip(boxes, names, [*numbers, *[None] * len(boxes)], strict=False)
    ]
    return Annotated(identifier, marks, said, group)


def _mark(box: Any, label: Any, number: Any) -> Mark:
    name = label.strip() if isinstance(label, str) else ""
    if name:
        return Mark(box, name)
    return Mark(box, None, f"its category {'' if number is None else f'{number} '}has no name")


def _known(objects: Sequence[Any]) -> tuple[str, ...]:
    """All category names, in the order of their lowest number."""
    lowest: dict[str, float] = {}
    for cell in objects:
        if not isinstance(cell, dict):
            continue
        names, numbers = cell.get("category_name") or [], cell.get("category_id") or []
        for place, name in enumerate(names):
            if isinstance(name, str) and (stripped := name.strip()):
                number = numbers[place] if place < len(numbers) else None
                number = float("inf") if number is None else number
                lowest[stripped] = min(number, lowest.get(stripped, float("inf")))
    return tuple(sorted(lowest, key=lambda name: (lowest[name], name)))


def _shown(spool: Spool, what: str) -> Shown:
    scans = spool.scans()
    empty = "it has no picture: the cell is empty (null)"
    problems = {
        row: scan.problem or empty for row, scan in enumerate(scans) if scan.problem or not scan.digests
    }
    usable = [row for row in range(len(scans)) if row not in problems]
    pictures = ArrowPictures(spool)
    sizes = upright_sizes(pictures, usable, spool.path.stem, what)
    hashes = {row: scans[row].digests[0] for row in usable}
    return Shown(pictures, hashes, problems, dict(zip(usable, sizes, strict=True)))
