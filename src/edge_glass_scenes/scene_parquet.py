"""Pictures with boxes as parquet files, columns and types as in OpenFoodFacts' nutrition-table-detection.

Boxes stand as `[y_min, x_min, y_max, x_max]`, relative to the picture's height and width, in float32: the
order and the unit of that data set (`ml_utils/ml_utils_cli/cli/sample.py` of openfoodfacts/openfoodfacts-ai).
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final

from edge_glass.core.files import atomic_file

_ROW_GROUP: Final = 256

# What the library `datasets` reads from a parquet file: that `image` is a picture and not just a struct.
_FEATURES: Final = {
    "image_id": {"dtype": "string", "_type": "Value"},
    "image": {"_type": "Image"},
    "width": {"dtype": "int64", "_type": "Value"},
    "height": {"dtype": "int64", "_type": "Value"},
    "meta": {
        "barcode": {"dtype": "string", "_type": "Value"},
        "off_image_id": {"dtype": "string", "_type": "Value"},
        "image_url": {"dtype": "string", "_type": "Value"},
    },
    "objects": {
        "bbox": {
            "feature": {"feature": {"dtype": "float32", "_type": "Value"}, "_type": "List"},
            "_type": "List",
        },
        "category_id": {"feature": {"dtype": "int64", "_type": "Value"}, "_type": "List"},
        "category_name": {"feature": {"dtype": "string", "_type": "Value"}, "_type": "List"},
    },
}


@dataclass(frozen=True)
class Scene:
    """One picture: `boxes` are xyxy pixels; `barcode` is what must not stand on two sides of a split."""

    image_id: str
    image: bytes
    suffix: str
    width: int
    height: int
    barcode: str
    boxes: tuple[tuple[float, float, float, float], ...]
    category_ids: tuple[int, ...]
    category_names: tuple[str, ...]

    def columns(self) -> dict[str, Any]:
        """Return the row as OpenFoodFacts has it."""
        scale = (self.height, self.width, self.height, self.width)
        boxes = [(y_min, x_min, y_max, x_max) for x_min, y_min, x_max, y_max in self.boxes]
        return {
            "image_id": self.image_id,
            "image": {"bytes": self.image, "path": f"{self.image_id}{self.suffix}"},
            "width": self.width,
            "height": self.height,
            "meta": {
                "barcode": self.barcode,
                "off_image_id": self.image_id.rpartition("_")[2],
                "image_url": "",
            },
            "objects": {
                "bbox": [[edge / side for edge, side in zip(box, scale, strict=True)] for box in boxes],
                "category_id": list(self.category_ids),
                "category_name": list(self.category_names),
            },
        }


def schema() -> Any:
    """Return the arrow schema, with the features of the library `datasets` in its metadata."""
    import pyarrow as pa

    text = pa.string()
    return pa.schema(
        [
            ("image_id", text),
            ("image", pa.struct([("bytes", pa.binary()), ("path", text)])),
            ("width", pa.int64()),
            ("height", pa.int64()),
            ("meta", pa.struct([("barcode", text), ("off_image_id", text), ("image_url", text)])),
            (
                "objects",
                pa.struct(
                    [
                        ("bbox", pa.list_(pa.list_(pa.float32()))),
                        ("category_id", pa.list_(pa.int64())),
                        ("category_name", pa.list_(text)),
                    ]
                ),
            ),
        ],
        metadata={"huggingface": json.dumps({"info": {"features": _FEATURES}})},
    )


def write_scenes(file: Path, scenes: Iterable[Scene]) -> Path:
    """Write scenes as they come, a few hundred in memory at a time; the file appears whole or not at all."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with (
        atomic_file(file) as temporary,
        pq.ParquetWriter(temporary, schema(), use_dictionary=False) as writer,
    ):
        rows = iter(scenes)
        while part := list(islice(rows, _ROW_GROUP)):
            writer.write_table(pa.Table.from_pylist([scene.columns() for scene in part], schema()))
    return file
