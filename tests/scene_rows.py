"""Pictures with boxes in every form, for the tests of data and tasks."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from edge_glass.detection.boxes.spec import BoxSpec
from edge_glass.detection.data.generated import draw_scene

ORIENTATION = 0x0112

OBJECTS = pa.struct(
    [
        ("bbox", pa.list_(pa.list_(pa.float32()))),
        ("category_id", pa.list_(pa.int64())),
        ("category_name", pa.list_(pa.string())),
    ]
)
SCHEMA = pa.schema(
    [
        ("image_id", pa.string()),
        ("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
        ("width", pa.int64()),
        ("height", pa.int64()),
        (
            "meta",
            pa.struct([("barcode", pa.string()), ("off_image_id", pa.string()), ("image_url", pa.string())]),
        ),
        ("objects", OBJECTS),
    ]
)
"""Of OpenFoodFacts' nutrition-table-detection."""


def noise(seed: int, size: tuple[int, int] = (32, 24), kind: str = "PNG", **options: Any) -> bytes:
    """A picture that no other seed gives."""
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return encoded(Image.fromarray(pixels), kind, **options)


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def turned(seed: int, size: tuple[int, int], orientation: int = 6) -> bytes:
    """A JPEG stored with this size and shown turned."""
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return noise(seed, size, "JPEG", exif=exif)


def row(
    image: bytes | None,
    boxes: Sequence[Sequence[float]] | None,
    name: str = "a",
    barcode: str | None = None,
    size: tuple[int | None, int | None] = (32, 24),
    categories: Sequence[tuple[int, str | None]] | None = None,
) -> dict[str, Any]:
    """A row of OpenFoodFacts' columns; `boxes` as they are written there."""
    found = categories if categories is not None else [(0, "table")] * len(boxes or ())
    return {
        "image_id": name,
        "image": None if image is None else {"bytes": image, "path": f"{name}.png"},
        "width": size[0],
        "height": size[1],
        "meta": {"barcode": barcode, "off_image_id": "1", "image_url": ""},
        "objects": None
        if boxes is None
        else {
            "bbox": boxes,
            "category_id": [number for number, _ in found],
            "category_name": [label for _, label in found],
        },
    }


def write_rows(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    """A parquet file with exactly OpenFoodFacts' columns and types."""
    pq.write_table(pa.Table.from_pylist(list(rows), SCHEMA), path)
    return path


def shape_rows(
    count: int, first: int = 0, spec: str = "yxyx_relative", each: int = 1
) -> list[dict[str, Any]]:
    """Rows of one shape on grey, boxes written as `spec` says, `each` of them to a barcode."""
    rows = []
    for number in range(first, first + count):
        generator = np.random.default_rng(number)
        width, height = ((96, 72), (72, 96))[number % 2]
        left, top = (int(generator.integers(2, side // 2)) for side in (width, height))
        right = int(generator.integers(left + 12, width - 2))
        bottom = int(generator.integers(top + 12, height - 2))
        box, category = (left, top, right, bottom), ("rectangle", "ellipse")[int(generator.integers(2))]
        picture = draw_scene((width, height), [(category, "red", box)], 120 + number % 100)
        written = BoxSpec(spec).from_pixels([box], width, height).tolist()
        rows.append(
            row(
                picture,
                written,
                f"{number // each}_{number}",
                f"40{number // each:06d}",
                (width, height),
                [(("rectangle", "ellipse").index(category), category)],
            )
        )
    return rows


def write_coco(
    folder: Path, images: Sequence[Any], annotations: Sequence[Any], names: Sequence[str] = ("cat", "dog")
) -> Path:
    """A COCO file; ids of categories are 1, 3, 5, …: they have gaps, as the real ones do."""
    file = folder / "annotations.json"
    categories = [{"id": 2 * place + 1, "name": name} for place, name in enumerate(names)]
    file.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return file


def write_voc(folder: Path, name: str, picture: bytes, objects: Sequence[Any], size: tuple[int, int]) -> Path:
    """One picture of a VOC folder; objects are (name, (xmin, ymin, xmax, ymax) as texts)."""
    (folder / "Annotations").mkdir(parents=True, exist_ok=True)
    (folder / "JPEGImages").mkdir(exist_ok=True)
    (folder / "JPEGImages" / f"{name}.png").write_bytes(picture)
    corners = ("xmin", "ymin", "xmax", "ymax")
    parts = [
        f"<object><name>{label}</name><bndbox>"
        + "".join(f"<{corner}>{value}</{corner}>" for corner, value in zip(corners, box, strict=False))
        + "</bndbox></object>"
        for label, box in objects
    ]
    file = folder / "Annotations" / f"{name}.xml"
    file.write_text(
        f"<annotation><filename>{name}.png</filename><size><width>{size[0]}</width>"
        f"<height>{size[1]}</height><depth>3</depth></size>{''.join(parts)}</annotation>"
    )
    return file


def write_yolo(folder: Path, split: str, rows: Sequence[tuple[str, bytes, str | None]]) -> None:
    """Pictures of one split with their label files; None writes no label file."""
    for part in ("images", "labels"):
        (folder / part / split).mkdir(parents=True, exist_ok=True)
    for name, picture, lines in rows:
        (folder / "images" / split / f"{name}.png").write_bytes(picture)
        if lines is not None:
            (folder / "labels" / split / f"{name}.txt").write_text(lines)
