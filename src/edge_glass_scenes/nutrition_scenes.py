"""Nutrition scenes: rendered photographs of food packages, each nutrition table in a box, as parquet.

An offline stand-in for OpenFoodFacts' `nutrition-table-detection`
(https://huggingface.co/datasets/openfoodfacts/nutrition-table-detection), with the same columns and types.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import logging
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from edge_glass.core.errors import ConfigError
from edge_glass.core.files import atomic_file, write_whole
from edge_glass.core.progress import progress_bar
from edge_glass_scenes.packages.product import draw_product, picture_count
from edge_glass_scenes.scene_parquet import Scene, schema

if TYPE_CHECKING:
    import pyarrow as pa

logger = logging.getLogger(__name__)

CATEGORY: Final = "nutrition-table"
LEAST_ROWS: Final = 16
"""With so many rows each split has a product."""

# Of 16 products in turn, which go to val and test; the products themselves are random.
_CYCLE: Final = 16
_VAL: Final = 3
_TEST: Final = 5
_ROW_GROUP: Final = 64  # some 6 MB of pictures
_DESIGN: Final = 1  # raise it when the same seed gives other pictures


class _Part(NamedTuple):
    """A run of products: (number, how many of its pictures)."""

    products: tuple[tuple[int, int], ...]

    @property
    def rows(self) -> int:
        return sum(count for _, count in self.products)


def build_nutrition_scenes(
    folder: Path, rows: int = 2000, seed: int = 0, progress: bool = True
) -> dict[str, Path]:
    """Write train.parquet, val.parquet, test.parquet and a data set card; the same bytes every time.

    Columns as OpenFoodFacts has them: `image_id` ("BARCODE_N"), `image` {bytes, path} (JPEG), `width`,
    `height`, `meta` {barcode, off_image_id, image_url} and `objects` {bbox, category_id, category_name}; a
    bbox is [y_min, x_min, y_max, x_max] relative to the picture. A product has one to three pictures, all in
    one split. Row k of the whole set is the same whatever `rows` is. A build that was stopped goes on where
    it was.

    Args:
        folder: where the files go; it is made if need be.
        rows: how many pictures, at least `LEAST_ROWS`.
        seed: another seed gives other products; 0 or more.
        progress: show a progress bar.

    Returns:
        Split name → file, in the order train, val, test.

    Raises:
        ConfigError: too few rows or a negative seed.
    """
    if rows < LEAST_ROWS:
        raise ConfigError(f"nutrition-scenes: expected at least {LEAST_ROWS} rows, got {rows}")
    if seed < 0:
        raise ConfigError(f"nutrition-scenes: expected a seed of 0 or more, got {seed}")
    import pyarrow.parquet as pq

    kept = folder / ".parts" / _digest(seed)
    parts = []
    with progress_bar("nutrition scenes", rows, progress) as advance:
        for part in _parts(rows, seed):
            file = kept / f"{part.products[0][0]:08d}-{part.rows}.parquet"
            if not file.is_file():
                with atomic_file(file) as temporary:
                    pq.write_table(_render(part, seed), temporary, use_dictionary=False)
            parts.append(file)
            advance(part.rows)
    files = {split: folder / f"{split}.parquet" for split in ("train", "val", "test")}
    counts = {split: _join(file, parts, split) for split, file in files.items()}
    write_whole(folder / "README.md", _card(counts, seed))
    shutil.rmtree(folder / ".parts")
    logger.info("wrote %d pictures of packages to %s", rows, folder)
    return files


def split_of(product: int) -> str:
    """Return the split of a product: of 16 in turn, one is val, one test and 14 are train."""
    return {_VAL: "val", _TEST: "test"}.get(product % _CYCLE, "train")


def _digest(seed: int) -> str:
    """Name what kept parts depend on, besides their products."""
    versions = [importlib.metadata.version(name) for name in ("pillow", "numpy", "matplotlib")]
    return hashlib.sha256(json.dumps([_DESIGN, seed, *versions]).encode()).hexdigest()[:16]


def _parts(rows: int, seed: int) -> Iterator[_Part]:
    """Split the products of `rows` pictures, `_CYCLE` at a time; the last have what pictures are left."""
    left, first = rows, 0
    while left:
        products = []
        for number in range(first, first + _CYCLE):
            count = min(left, picture_count(seed, number))
            if count:
                products.append((number, count))
            left -= count
        yield _Part(tuple(products))
        first += _CYCLE


def _render(part: _Part, seed: int) -> pa.Table:
    """Return the rows of a part in the columns of `scene_parquet.schema`, and `split`."""
    import pyarrow as pa

    rows = [row for number, count in part.products for row in _rows(seed, number, count)]
    return pa.Table.from_pylist(rows, schema=schema().append(pa.field("split", pa.string())))


def _rows(seed: int, number: int, count: int) -> Iterator[dict[str, Any]]:
    product = draw_product(seed, number)
    for place in range(count):
        picture = product.picture(place)
        scene = Scene(
            image_id=f"{product.barcode}_{place + 1}",
            image=picture.data,
            suffix=".jpg",
            width=picture.view.width,
            height=picture.view.height,
            barcode=product.barcode,
            boxes=picture.boxes,
            category_ids=(0,) * len(picture.boxes),
            category_names=(CATEGORY,) * len(picture.boxes),
        )
        yield {**scene.columns(), "split": split_of(number)}


def _join(file: Path, parts: list[Path], split: str) -> Counter[str]:
    """Write the rows of one split; returns how many rows, products and boxes there are."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    counts: Counter[str] = Counter()
    waiting: list[pa.Table] = []
    with (
        atomic_file(file) as temporary,
        pq.ParquetWriter(temporary, schema(), use_dictionary=False) as writer,
    ):
        for part in parts:
            # One file at a time: with the pictures of all parts, a large set would not fit into memory.
            table = pq.ParquetFile(part).read()
            table = table.filter(pc.equal(table["split"], split)).drop_columns(["split"])
            waiting.append(table)
            counts["products"] += len(set(pc.struct_field(table["meta"], "barcode").to_pylist()))
            counts["boxes"] += sum(len(row["bbox"]) for row in table["objects"].to_pylist())
            counts["rows"] += len(table)
            if sum(map(len, waiting)) >= _ROW_GROUP or part == parts[-1]:
                together = pa.concat_tables(waiting).cast(schema())
                if len(together):
                    writer.write_table(together, row_group_size=len(together))
                waiting = []
    return counts


def _card(counts: dict[str, Counter[str]], seed: int) -> str:
    lines = [
        f"| {split}.parquet | {found['rows']:,} | {found['products']:,} | {found['boxes']:,} |"
        for split, found in counts.items()
    ]
    return _CARD.format(table="\n".join(lines), seed=seed)


_CARD: Final = """\
# Nutrition scenes

Rendered photographs of food packages; every nutrition table has a box. Seed {seed}.

| file | pictures | products | boxes |
|---|---|---|---|
{table}

A product (a barcode) has one to three pictures, all of them in one file: the same print, seen from another
side, at another size, in other light. Of 16 products in turn, 14 are in train, one is in val, one in test.

Columns and types are those of OpenFoodFacts' `nutrition-table-detection`: `image_id` (barcode, "_", number of
the picture), `image` (`bytes`: a JPEG file; `path`), `width`, `height`, `meta` (`barcode`, `off_image_id`,
`image_url`, which is no address here), `objects` (`bbox`: [y_min, x_min, y_max, x_max], each from 0 to 1;
`category_id` 0; `category_name` "nutrition-table").

A box is the upright hull of the table with its title, its frame and its footnote, cut at the picture's edge;
at least 60 % of a table is always to be seen. One picture in twelve has two tables, none has none. What is no
nutrition table, but may look like one, has no box: cooking times, recipes, dosages, lists of ingredients,
recycling boxes, barcodes.

The pictures are drawn by code: no photograph, product, brand or company in them is real, and the barcodes are
from the range for use inside shops. Numbers agree with each other (energy follows from fat, carbohydrate,
protein and fibre) but describe nothing. Fonts: DejaVu and STIX, which come with matplotlib, and Aileron,
which comes with Pillow; with other versions of these packages the bytes can differ.
"""
