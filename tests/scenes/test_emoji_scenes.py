from __future__ import annotations

import io
import random

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageDraw

from edge_glass.core.errors import ConfigError
from edge_glass_scenes import emoji_scenes as corpus
from edge_glass_scenes.emoji_drawings import DEFAULT_CLASSES, read_drawings, split_drawings
from edge_glass_scenes.emoji_scenes import SceneOptions

TEXT = pa.string()
OPEN_FOOD_FACTS = pa.schema(
    {
        "image_id": TEXT,
        "image": pa.struct({"bytes": pa.binary(), "path": TEXT}),
        "width": pa.int64(),
        "height": pa.int64(),
        "meta": pa.struct({"barcode": TEXT, "off_image_id": TEXT, "image_url": TEXT}),
        "objects": pa.struct(
            {
                "bbox": pa.list_(pa.list_(pa.float32())),
                "category_id": pa.list_(pa.int64()),
                "category_name": pa.list_(TEXT),
            }
        ),
    }
)


@pytest.fixture(scope="module")
def drawings(tmp_path_factory):
    """Ten PNG files a class: an ellipse of its own shape and colour on transparent ground."""
    folder = tmp_path_factory.mktemp("twemoji") / "72x72"
    folder.mkdir()
    rng = random.Random(1)
    first = {"face": [0x1F600], "animal": [0x1F400], "flag": [0x1F1E6, 0x1F1E6], "clock": [0x1F550]}
    for codes in first.values():
        for number in range(10):
            picture = Image.new("RGBA", (72, 72))
            colour = (*(rng.randrange(200) for _ in range(3)), 255)
            corner = rng.randrange(20)
            ImageDraw.Draw(picture).ellipse((corner, 8, 60, rng.randrange(40, 70)), fill=colour)
            picture.save(
                folder / f"{'-'.join(f'{code:x}' for code in [*codes[:-1], codes[-1] + number])}.png"
            )
    Image.new("RGBA", (72, 72), "red").save(folder / "1f1e6.png")  # a letter, no flag
    return folder


@pytest.fixture
def fetched(drawings, monkeypatch):
    monkeypatch.setattr(corpus.assets, "fetch", lambda name, progress: drawings.parent)
    monkeypatch.setattr(corpus, "HELD_OUT_ROWS", 12)


def colours_of(pixels):
    """Distinct colours [n, 3] and how often each is there; faster than `np.unique` of rows."""
    codes, counts = np.unique(pixels.reshape(-1, 3) @ np.array([1, 256, 65536]), return_counts=True)
    return np.stack([codes & 255, codes >> 8 & 255, codes >> 16], axis=1), counts


def pool_of(drawings, split="train"):
    return split_drawings(read_drawings(drawings))[split]


def test_columns_and_types_are_those_of_open_food_facts(fetched, tmp_path):
    files = corpus.build_emoji_scenes(tmp_path, rows=20)
    assert list(files) == ["train", "val", "test"]
    tables = {split: pq.read_table(file) for split, file in files.items()}
    assert {split: table.num_rows for split, table in tables.items()} == {"train": 20, "val": 12, "test": 12}
    assert all(table.schema.remove_metadata().equals(OPEN_FOOD_FACTS) for table in tables.values())
    row = tables["test"].to_pylist()[3]
    assert (row["image_id"], row["image"]["path"], row["width"], row["height"]) == (
        "test_3",
        "test_3.png",
        168,
        168,
    )
    assert Image.open(io.BytesIO(row["image"]["bytes"])).size == (168, 168)
    assert row["objects"]["category_name"] == [DEFAULT_CLASSES[i] for i in row["objects"]["category_id"]]


def test_the_library_datasets_sees_pictures(fetched, tmp_path):
    datasets = pytest.importorskip("datasets")
    files = corpus.build_emoji_scenes(tmp_path / "scenes", rows=3)
    loaded = datasets.load_dataset(
        "parquet", data_files=str(files["train"]), split="train", cache_dir=str(tmp_path / "cache")
    )
    assert isinstance(loaded[0]["image"], Image.Image)


def test_no_drawing_is_in_two_files(fetched, tmp_path):
    files = corpus.build_emoji_scenes(tmp_path, rows=200, options=SceneOptions(most_objects=3))
    seen = {
        split: {
            stem for meta in pq.read_table(file)["meta"].to_pylist() for stem in meta["barcode"].split("+")
        }
        for split, file in files.items()
    }
    assert len(seen["train"]) == 28 and 0 < len(seen["test"]) <= 8 and 0 < len(seen["val"]) <= 4
    assert (
        not seen["train"] & seen["val"]
        and not seen["train"] & seen["test"]
        and not seen["val"] & seen["test"]
    )


def test_drawings_that_look_the_same_count_as_one(drawings, tmp_path):
    data = (drawings / "1f600.png").read_bytes()
    for stem in ("1f600", "1f601", "1f400"):
        (tmp_path / f"{stem}.png").write_bytes(data)
    assert [drawing.stem for drawing in read_drawings(tmp_path)] == ["1f600"]


@pytest.mark.parametrize("options", [SceneOptions(), SceneOptions(side=101, most_objects=4)])
def test_boxes_are_tight_around_what_is_drawn(drawings, options):
    """On plain ground every pixel that differs from it by much lies in a box, and each edge touches one."""
    for scene in corpus.draw_scenes(pool_of(drawings), 30, "train", 0, options):
        pixels = np.asarray(Image.open(io.BytesIO(scene.image)).convert("RGB")).astype(int)
        colours, counts = colours_of(pixels)
        distance = np.abs(pixels - colours[counts.argmax()]).sum(-1)
        differs, strong = distance > 0, distance > 0.35 * 60
        outside = strong.copy()
        for x_min, y_min, x_max, y_max in scene.boxes:
            assert 0 <= x_min < x_max <= scene.width and 0 <= y_min < y_max <= scene.height
            inside = differs[y_min:y_max, x_min:x_max]
            assert inside[0].any() and inside[-1].any() and inside[:, 0].any() and inside[:, -1].any()
            outside[y_min - 1 if y_min else 0 : y_max + 1, x_min - 1 if x_min else 0 : x_max + 1] = False
        assert not outside.any()


def test_the_file_writes_y_before_x_and_relative(drawings):
    scene = next(corpus.draw_scenes(pool_of(drawings), 1, "train", 0, SceneOptions(side=120)))
    x_min, y_min, x_max, y_max = scene.boxes[0]
    expected = [y_min / 120, x_min / 120, y_max / 120, x_max / 120]
    assert scene.columns()["objects"]["bbox"] == [expected]
    assert len({x_min, y_min, x_max, y_max}) == 4


def test_emoji_of_one_scene_do_not_cover_one_another(drawings):
    options = SceneOptions(most_objects=4, background="textured")
    numbers = set()
    for scene in corpus.draw_scenes(pool_of(drawings), 60, "train", 0, options):
        numbers.add(len(scene.boxes))
        for i, one in enumerate(scene.boxes):
            assert not any(corpus._overlap(one, other) for other in scene.boxes[:i])
    assert numbers == {1, 2, 3, 4}


def test_backgrounds_stand_out_and_textures_have_several_colours(drawings):
    pool = pool_of(drawings)
    for background, colours in (("plain", 1), ("textured", 2)):
        options = SceneOptions(background=background)
        for seed in range(20):
            ground = corpus.draw_background(random.Random(seed), options, [pool[0].colour])
            found = colours_of(np.asarray(ground))[0]
            assert ground.size == (168, 168) and (len(found) >= colours if colours > 1 else len(found) == 1)
            distance = np.linalg.norm(found - np.array(pool[0].colour), axis=1)
            assert max(distance) >= 60


def test_classes_come_alike_whatever_their_number_of_drawings(drawings):
    pool = [d for d in pool_of(drawings) if d.category != 1 or d.stem == "1f400"]
    names = [s.category_names[0] for s in corpus.draw_scenes(pool, 400, "train", 0, SceneOptions(side=40))]
    assert all(70 < names.count(name) < 130 for name in DEFAULT_CLASSES)


def test_a_scene_is_a_function_of_seed_split_and_row(drawings):
    pool, options = pool_of(drawings), SceneOptions(side=48)
    few = list(corpus.draw_scenes(pool, 3, "train", 0, options))
    assert few == list(corpus.draw_scenes(pool, 6, "train", 0, options))[:3]
    assert few[0].image != next(corpus.draw_scenes(pool, 1, "train", 1, options)).image
    assert few[0].image != next(corpus.draw_scenes(pool, 1, "val", 0, options)).image


def test_two_builds_have_the_same_bytes(fetched, tmp_path):
    one, other = (corpus.build_emoji_scenes(tmp_path / name, rows=5, seed=3) for name in ("one", "other"))
    assert all(one[split].read_bytes() == other[split].read_bytes() for split in one)
    card = (tmp_path / "one" / "README.md").read_text(encoding="utf-8")
    assert "CC-BY 4.0" in card and "| train.parquet | 5 | 7 | 7 | 7 | 7 |" in card


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        (5, SceneOptions(classes=("face", "tree")), "no class tree; there are face, animal, flag"),
        (0, SceneOptions(), "at least 1 row, side 32.*got 0 rows"),
        (5, SceneOptions(side=16), "side 16"),
    ],
)
def test_impossible_options_are_named(fetched, tmp_path, rows, options, message):
    with pytest.raises(ConfigError, match=message):
        corpus.build_emoji_scenes(tmp_path, rows=rows, options=options)


@pytest.mark.weights
def test_the_published_drawings(tmp_path, monkeypatch):
    monkeypatch.setattr(corpus, "HELD_OUT_ROWS", 8)
    files = corpus.build_emoji_scenes(tmp_path, rows=8, progress=False)
    card = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "| train.parquet | 8 | 64 | 79 | 177 | 17 |" in card
    assert pq.read_table(files["test"]).num_rows == 8
