from __future__ import annotations

import io
import json
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from edge_glass.core.errors import ConfigError
from edge_glass_scenes import nutrition_scenes as corpus
from edge_glass_scenes.packages import photograph
from edge_glass_scenes.packages.arranging import Panel
from edge_glass_scenes.packages.camera import LEAST_VISIBLE, aim
from edge_glass_scenes.packages.facts import RANGES, draw_facts
from edge_glass_scenes.packages.marks import bars, check_digit
from edge_glass_scenes.packages.panel import FORMS
from edge_glass_scenes.packages.product import barcode_of, draw_product, picture_count
from edge_glass_scenes.packages.surface import draw_surface
from edge_glass_scenes.packages.table_text import amount_text
from edge_glass_scenes.scene_parquet import schema
from edge_glass_scenes.words import LANGUAGES
from edge_glass_scenes.words.language import INGREDIENTS, KINDS, NUTRIENTS

PRODUCTS = range(10)


@pytest.fixture(scope="module")
def products():
    return [draw_product(0, number) for number in PRODUCTS]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    return corpus.build_nutrition_scenes(tmp_path_factory.mktemp("scenes"), rows=16, progress=False)


@pytest.fixture
def no_drawing(monkeypatch):
    """Products whose pictures are a few bytes, to build large sets; returns the numbers drawn."""
    drawn: list[int] = []

    def product(seed, number):
        drawn.append(number)

        def picture(place):
            view = SimpleNamespace(width=200, height=100)
            return SimpleNamespace(
                data=f"{seed} {number} {place}".encode(), view=view, boxes=((20, 10, 150, 90),)
            )

        return SimpleNamespace(barcode=barcode_of(seed, number), picture=picture)

    monkeypatch.setattr(corpus, "draw_product", product)
    return drawn


def rows_of(files):
    return {split: pq.read_table(file).to_pylist() for split, file in files.items()}


def test_the_columns_are_those_of_open_food_facts(built):
    assert list(built) == ["train", "val", "test"]
    for file in built.values():
        found = pq.read_schema(file)
        assert found.remove_metadata().equals(schema().remove_metadata())  # right: see test_emoji_scenes.py
        assert json.loads(found.metadata[b"huggingface"])["info"]["features"]["image"] == {"_type": "Image"}


def test_the_library_datasets_reads_the_files(built):
    datasets = pytest.importorskip("datasets")
    row = datasets.Dataset.from_parquet(str(built["val"]), cache_dir=str(built["val"].parent / "cache"))[0]
    assert row["image"].size == (row["width"], row["height"])
    assert row["objects"]["category_name"][0] == "nutrition-table"


def test_rows_agree_with_their_pictures(built):
    for rows in rows_of(built).values():
        assert rows
        for row in rows:
            image = Image.open(io.BytesIO(row["image"]["bytes"]))
            assert (image.format, image.size) == ("JPEG", (row["width"], row["height"]))
            assert 400 <= max(image.size) <= 1600
            number = row["meta"]["off_image_id"]
            assert row["image_id"] == f"{row['meta']['barcode']}_{number}"
            boxes = np.array(row["objects"]["bbox"])
            assert len(boxes) in (1, 2)
            assert row["objects"]["category_id"] == [0] * len(boxes)
            assert (boxes >= 0).all() and (boxes <= 1).all()
            assert (boxes[:, 2:] - boxes[:, :2] > 0.03).all()
            grey = np.asarray(image.convert("L"), dtype=float)
            top, left, bottom, right = np.round(boxes[0] * [*grey.shape, *grey.shape]).astype(int)
            assert grey[top:bottom, left:right].std() > 3  # print, not an even ground


@pytest.mark.parametrize("form", FORMS)
def test_boxes_are_the_hull_of_the_table_in_the_picture(products, form):
    """The table is painted white on a black panel; the white pixels reach to the box and not beyond."""
    for product in products:
        size = product.panel.image.size
        rng = np.random.default_rng(product.number)
        view = aim(rng, product.panel, draw_surface(rng, form, *size))
        for table in product.panel.tables:
            image = Image.new("RGB", size)
            image.paste((255, 255, 255), table)
            seen = np.asarray(photograph.project(Panel(image), view, covers=True))[..., 0] > 30
            x, y = np.flatnonzero(seen.any(axis=0)), np.flatnonzero(seen.any(axis=1))
            found = x[0], y[0], x[-1] + 1, y[-1] + 1
            assert np.abs(np.subtract(found, view.truth(table))).max() < 2


def test_tables_are_visible_and_nothing_is_over_them(products):
    languages = set()
    for product in products:
        languages |= {language.code for language in product.theme.languages}
        width, height = product.panel.image.size
        for table in product.panel.tables:
            assert 0 <= table[0] < table[2] <= width and 0 <= table[1] < table[3] <= height
            for kind, other in product.panel.others:
                over = max(0, min(table[2], other[2]) - max(table[0], other[0]))
                assert over * max(0, min(table[3], other[3]) - max(table[1], other[1])) == 0, kind
        assert product.panel.others  # look-alikes and the rest
        assert all(product.picture(0).view.visible(box) >= LEAST_VISIBLE for box in product.panel.tables)
    assert len(languages) > 3


def test_a_picture_is_the_same_every_time_and_unlike_the_others(products):
    number = next(number for number in PRODUCTS if picture_count(0, number) > 1)
    again = draw_product(0, number).picture(1)
    assert again.data == products[number].picture(1).data
    assert again.data != products[number].picture(0).data
    assert draw_product(1, number).picture(1).data != again.data


def test_a_row_does_not_depend_on_how_many_there_are(tmp_path, no_drawing):
    few = rows_of(corpus.build_nutrition_scenes(tmp_path / "few", rows=40, progress=False))
    many = rows_of(corpus.build_nutrition_scenes(tmp_path / "many", rows=777, progress=False))
    for split, rows in few.items():
        assert rows == many[split][: len(rows)]
    assert sum(map(len, many.values())) == 777
    assert sum(map(len, few.values())) == 40


def test_no_barcode_is_on_two_sides(tmp_path, no_drawing):
    files = corpus.build_nutrition_scenes(tmp_path, rows=777, progress=False)
    rows = rows_of(files)
    codes = {split: {row["meta"]["barcode"] for row in found} for split, found in rows.items()}
    assert not codes["train"] & codes["val"] | codes["train"] & codes["test"] | codes["val"] & codes["test"]
    assert 0.82 < len(rows["train"]) / 777 < 0.93
    assert 0.03 < len(rows["val"]) / 777 < 0.1
    names = [row["image_id"] for found in rows.values() for row in found]
    assert len(set(names)) == 777
    metadata = pq.read_metadata(files["train"])
    assert max(metadata.row_group(n).num_rows for n in range(metadata.num_row_groups)) < 128
    assert not (tmp_path / ".parts").exists()


def test_a_stopped_build_goes_on_and_ends_with_the_same_bytes(tmp_path, no_drawing, monkeypatch):
    whole = corpus.build_nutrition_scenes(tmp_path / "whole", rows=200, progress=False)
    drawn = list(no_drawing)
    draw = corpus.draw_product

    def failing(seed, number):
        if number == 40:
            raise KeyboardInterrupt
        return draw(seed, number)

    monkeypatch.setattr(corpus, "draw_product", failing)
    with pytest.raises(KeyboardInterrupt):
        corpus.build_nutrition_scenes(tmp_path / "again", rows=200, progress=False)
    assert not (tmp_path / "again" / "train.parquet").exists()
    monkeypatch.setattr(corpus, "draw_product", draw)
    no_drawing.clear()
    again = corpus.build_nutrition_scenes(tmp_path / "again", rows=200, progress=False)
    assert no_drawing == [number for number in drawn if number >= 32]  # two parts of 16 were kept
    for split, file in whole.items():
        assert file.read_bytes() == again[split].read_bytes()
    card = (tmp_path / "whole" / "README.md").read_text()
    assert card == (tmp_path / "again" / "README.md").read_text()


@pytest.mark.parametrize(("options", "says"), [({"rows": 15}, "16 rows, got 15"), ({"seed": -1}, "got -1")])
def test_too_few_rows_or_a_negative_seed_are_refused(tmp_path, options, says):
    with pytest.raises(ConfigError, match=says):
        corpus.build_nutrition_scenes(tmp_path, **options)


def test_the_fewest_rows_reach_every_split(tmp_path, no_drawing):
    for seed in range(8):
        files = corpus.build_nutrition_scenes(tmp_path, rows=corpus.LEAST_ROWS, seed=seed, progress=False)
        assert all(pq.read_metadata(file).num_rows for file in files.values())


def test_barcodes_are_valid_and_all_different():
    assert check_digit("400638133393") == "1"
    assert len({barcode_of(0, number) for number in range(20_000)}) == 20_000
    code = barcode_of(7, 12)
    assert (len(code), code[0], check_digit(code[:12])) == (13, "2", code[12])
    halves = "000110101001110111101000101100101110011101", "110011010011101001110101110010010001010000"
    assert bars("4003994155486") == f"101{halves[0]}01010{halves[1]}101"


def test_every_language_has_every_word():
    assert [language.code for language in LANGUAGES] == ["en", "fr", "de", "es", "it", "nl", "pl"]
    for language in LANGUAGES:
        assert len(language.nutrients) == len(set(language.nutrients)) == len(NUTRIENTS)
        assert len(language.ingredients) == len(set(language.ingredients)) == len(INGREDIENTS)
        assert len(language.products) == len(KINDS)
        assert "{amount}" in language.per and all("{amount}" in text for text in language.portion)
    for span in RANGES.values():
        assert set(span.ingredients.split()) <= set(INGREDIENTS)
    assert set(RANGES) == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_facts_could_be_true(kind):
    for seed in range(20):
        facts = draw_facts(np.random.default_rng(seed), kind)
        a = facts.amounts
        assert a["saturates"] <= a["fat"] and a["sugars"] <= a["carbohydrate"]
        assert a["fat"] + a["carbohydrate"] + a["protein"] < 96.01
        assert abs(a["energy"] / 4.184 - facts.kcal) < 0.03 * facts.kcal + 2


def test_amounts_are_written_as_on_labels():
    written = [amount_text("fat", amount, ",") for amount in (0.001, 0.02, 0.44, 9.96, 12.0, 14.3)]
    assert written == ["0", "<0,1", "0,4", "10,0", "12", "14,3"]
    assert amount_text("salt", 1.234, ".") == "1.23"
