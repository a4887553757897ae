from __future__ import annotations

import io
import json
import pickle
from functools import partial
from pathlib import Path

import pyarrow as pa
import pytest
import torch
from data_samples import make_table, picture, to_tensor, write_parquet
from PIL import Image
from torch.utils.data import DataLoader

import edge_glass.data.samples as samples
import edge_glass.data.scan as scan
from edge_glass.core.errors import DataError
from edge_glass.data.datasets import (
    ImageTextDataset,
    PixmoParquetImageTextDataset,
    TriModalDataset,
    build_image_datasets_from_parquet,
    collate_samples,
    complete_splits,
)
from edge_glass.data.parquet import read_parquet

COLLATE = {
    "vision": lambda pixels: {"pixels": torch.stack(pixels) if pixels else torch.zeros(0, 3, 2, 2)},
    "text": lambda texts: {"input_ids": torch.tensor([[len(text)] for text in texts])},
}


def small(image: Image.Image) -> torch.Tensor:
    return to_tensor(image.resize((8, 8))).float()


def table_of(tmp_path: Path, count: int = 12):
    more = pa.array([[f"also {n}", f"or {n}"] for n in range(count)])
    images = [picture(n, size=(20 + n % 3, 16)) for n in range(count)]
    file = write_parquet(tmp_path / "a.parquet", images, [f"caption {n}" for n in range(count)], more=more)
    return read_parquet(file, extra_captions_column="more")


def test_an_item(tmp_path):
    table = table_of(tmp_path)
    item = TriModalDataset(table, {"vision": to_tensor})[3]
    assert item["id"] == "3" and item["text"] == "caption 3" and isinstance(item["groups"]["vision"], int)
    assert torch.equal(item["pixels"], to_tensor(Image.open(io.BytesIO(picture(3, size=(20, 16))))))
    assert len(TriModalDataset(table, {"vision": to_tensor})) == 12


def test_groups_mean_the_same_picture_and_the_same_text():
    table = make_table([("a", ["x"]), ("b", ["y"]), ("a", ["y"])])
    items = [TriModalDataset(table, {"vision": to_tensor})[row] for row in range(3)]
    assert items[0]["groups"]["vision"] == items[2]["groups"]["vision"] != items[1]["groups"]["vision"]
    assert items[1]["groups"]["text"] == items[2]["groups"]["text"] != items[0]["groups"]["text"]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_rotated_jpeg_is_upright(tmp_path, orientation):
    upright = Image.new("RGB", (32, 16), "white")
    upright.paste("red", (0, 0, 16, 8))  # red in the top left corner
    inverse = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = upright.transpose(inverse[orientation]) if orientation > 1 else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    stored.save(buffer, "JPEG", quality=100, exif=exif)
    file = write_parquet(tmp_path / "a.parquet", [buffer.getvalue()], ["c"])
    pixels = PixmoParquetImageTextDataset(file, to_tensor)[0]["pixels"].int()
    assert pixels.shape == (3, 16, 32)
    assert (pixels - to_tensor(upright).int()).abs().float().mean() < 5


def test_augmentation_is_a_pure_function_of_seed_epoch_and_row(tmp_path):
    table = table_of(tmp_path)

    def pixels(seed: int, key: tuple[int, int]) -> torch.Tensor:
        return TriModalDataset(table, {"vision": small}, training=True, seed=seed, augmentation="crop_flip")[
            key
        ]["pixels"]

    assert torch.equal(pixels(1, (4, 7)), pixels(1, (4, 7)))
    drawn = [pixels(seed, (epoch, 7)) for seed in range(3) for epoch in range(3)]
    assert len({tensor.numpy().tobytes() for tensor in drawn}) >= 7  # small pictures have few crops
    plain = TriModalDataset(table, {"vision": small})[7]["pixels"]
    assert torch.equal(TriModalDataset(table, {"vision": small}, training=True)[4, 7]["pixels"], plain)
    assert torch.equal(
        TriModalDataset(table, {"vision": small}, augmentation="crop_flip")[4, 7]["pixels"], plain
    )


def dataset_and_keys(tmp_path: Path) -> tuple[TriModalDataset, list[tuple[int, int]]]:
    dataset = TriModalDataset(
        table_of(tmp_path),
        {"vision": small},
        training=True,
        seed=5,
        text_dropout_prob=0.3,
        augmentation="crop_flip",
    )
    return dataset, [(epoch, (row * 5) % 12) for epoch in range(3) for row in range(12)]


def loaded(dataset: TriModalDataset, keys: list[tuple[int, int]], workers: int, **options) -> list[dict]:
    return list(DataLoader(dataset, sampler=keys, batch_size=None, num_workers=workers, **options))


def same(one: list[dict], other: list[dict]) -> bool:
    return len(one) == len(other) and all(
        torch.equal(a.pop("pixels"), b.pop("pixels")) and a == b for a, b in zip(one, other, strict=True)
    )


def test_workers_change_nothing(tmp_path):
    dataset, keys = dataset_and_keys(tmp_path)
    assert len({item["text"] for item in loaded(dataset, keys, 0)}) > 12
    assert same(loaded(dataset, keys, 2), loaded(dataset, keys, 0))
    assert same(loaded(dataset, keys[::-1], 2, prefetch_factor=1)[::-1], loaded(dataset, keys, 0))


def test_spawned_workers_change_nothing(tmp_path):
    dataset, keys = dataset_and_keys(tmp_path)
    dataset[0, 0]
    assert same(loaded(dataset, keys, 1, multiprocessing_context="spawn"), loaded(dataset, keys, 0))


def test_a_data_set_is_small_when_it_travels(tmp_path):
    images = [picture(n, size=(60, 60)) for n in range(30)]
    dataset = PixmoParquetImageTextDataset(write_parquet(tmp_path / "a.parquet", images, ["c"] * 30), small)
    dataset[3]
    carried = pickle.dumps(dataset)
    assert len(carried) < sum(len(data) for data in images) / 10
    assert torch.equal(pickle.loads(carried)[7]["pixels"], dataset[7]["pixels"])


def test_nothing_is_decoded_until_a_row_is_asked_for(tmp_path, monkeypatch):
    file = write_parquet(
        tmp_path / "a.parquet", [picture(n) for n in range(300)], [str(n) for n in range(300)]
    )
    read_parquet(file)
    decoded = []
    real = scan.decode_image
    for module in (scan, samples):
        monkeypatch.setattr(module, "decode_image", lambda data: (decoded.append(1), real(data))[1])
    dataset = PixmoParquetImageTextDataset(file, small)
    assert len(dataset) == 300 and decoded == []
    dataset[299]
    assert len(decoded) == 1


def test_bad_rows_are_skipped_named_and_limited(tmp_path, caplog):
    images = [picture(0), b"", picture(2)]
    file = write_parquet(tmp_path / "a.parquet", images, ["a", "b", "c"])
    dataset = PixmoParquetImageTextDataset(file, small, max_bad_fraction=0.5)
    assert [dataset[row]["text"] for row in range(2)] == ["a", "c"]
    assert "a.parquet: row 1 is skipped: the picture has no bytes" in caplog.text
    with pytest.raises(DataError, match=r"1 of 3 rows cannot be used \(first: row 1"):
        PixmoParquetImageTextDataset(file, small)


def test_a_folder(tmp_path):
    (tmp_path / "a.png").write_bytes(picture(1))
    rows = [{"file_name": "a.png", "words": "one"}, {"file_name": "b.png", "words": "two"}]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    dataset = ImageTextDataset(
        tmp_path, tmp_path / "rows.json", to_tensor, text_column="words", max_bad_fraction=0.5
    )
    assert len(dataset) == 1 and dataset[0]["text"] == "one"
    assert torch.equal(dataset[0]["pixels"], to_tensor(Image.open(io.BytesIO(picture(1)))))
    with pytest.raises(DataError, match=r"row 1 \(b\.png\): the file does not exist") as caught:
        ImageTextDataset(tmp_path, tmp_path / "rows.json", to_tensor, text_column="words")
    assert "data check" not in str(caught.value)  # it reads parquet files only


def test_collating():
    items = [
        {
            "id": str(n),
            "pixels": torch.full((3, 2, 2), n),
            "text": "x" * n,
            "groups": {"vision": n, "text": 7},
        }
        for n in (1, 2)
    ]
    batch = collate_samples(items, COLLATE)
    assert batch["ids"] == ["1", "2"] and batch["vision"]["pixels"].shape == (2, 3, 2, 2)
    assert batch["text"]["input_ids"].tolist() == [[1], [2]]
    assert batch["groups"]["vision"].tolist() == [1, 2] and batch["groups"]["text"].dtype == torch.int64
    assert batch["rows"]["vision"].tolist() == batch["rows"]["text"].tolist() == [0, 1]


def test_build_from_one_file(tmp_path):
    rows = [(picture(n), f"caption {n}") for n in range(60)]
    file = write_parquet(tmp_path / "a.parquet", *map(list, zip(*rows, strict=True)))
    train, val, test = build_image_datasets_from_parquet(
        file, small, val_fraction=0.2, test_fraction=0.2, augmentation="flip", seed=3
    )
    assert len(train) + len(val) + len(test) == 60
    assert (train.training, val.training, test.training) == (True, False, False)
    assert (train.augmentation, val.augmentation) == ("flip", "none")
    again = build_image_datasets_from_parquet(file, small, val_fraction=0.2, test_fraction=0.2)
    assert [dataset.table.ids for dataset in again] == [dataset.table.ids for dataset in (train, val, test)]


def test_build_from_three_files(tmp_path):
    def file(name: str, seeds: range) -> Path:
        more = pa.array([[f"{name} more", "val 10"]] * len(seeds))
        captions = [f"{name} {seed}" for seed in seeds]
        return write_parquet(tmp_path / f"{name}.parquet", [picture(n) for n in seeds], captions, more=more)

    files = [file("train", range(9)), file("val", range(10, 13)), file("test", range(20, 24))]
    build = partial(build_image_datasets_from_parquet, columns={"extra_captions_column": "more"})
    train, val, test = build(files[0], small, *files[1:])
    assert [len(dataset) for dataset in (train, val, test)] == [9, 3, 4]
    # What validation measures is in no caption of the training; its own further captions do no harm.
    assert train.table.captions[0] == ["train 0", "train more"]
    assert val.table.captions[1] == ["val 11", "val more", "val 10"]

    shared = file("shared", range(7, 11))
    with pytest.raises(DataError, match=r"train\.parquet: 2 rows share their picture .* also in test"):
        build(files[0], small, files[1], shared)
    train, val, test = build(files[0], small, files[1], shared, shared_pictures="leave_out")
    assert [len(dataset) for dataset in (train, val, test)] == [7, 2, 4]


def test_max_bad_fraction_holds_for_every_file(tmp_path):
    good = write_parquet(tmp_path / "good.parquet", [picture(n) for n in range(4)], list("abcd"))
    bad = write_parquet(tmp_path / "bad.parquet", [picture(10), picture(11), b""], list("efg"))
    with pytest.raises(DataError, match=r"bad\.parquet: 1 of 3 rows"):
        build_image_datasets_from_parquet(good, small, bad, test_fraction=0.5)


@pytest.mark.parametrize(
    ("missing", "fractions"), [("val", (0.0, 0.4)), ("test", (0.4, 0.0)), ("train", (0.5, 0.49))]
)
def test_a_split_that_is_too_small_is_named(missing, fractions):
    table = make_table([(f"picture {n}", [f"caption {n}"]) for n in range(30)], "a.parquet")
    with pytest.raises(DataError, match=rf"a\.parquet: the {missing} split has [01] usable rows; at least 2"):
        complete_splits({"train": table}, *fractions, "error")


def test_a_split_that_is_empty_once_shared_pictures_are_left_out():
    table = make_table([("a", ["x"]), ("b", ["y"]), ("c", ["z"])])
    others = {
        "val": make_table([("a", ["1"]), ("b", ["2"])]),
        "test": make_table([("d", ["3"]), ("e", ["4"])]),
    }
    with pytest.raises(DataError, match=r"the train split has 1 usable rows"):
        complete_splits({"train": table, **others}, 0.1, 0.1, "leave_out")


def test_a_caption_of_half_the_rows_is_named_and_so_is_the_split_it_lands_in(caplog):
    same = [(f"same {n}", ["no description"]) for n in range(50)]
    other = [(f"other {n}", [f"caption {n}"]) for n in range(50)]
    splits = complete_splits({"train": make_table(same + other, "a.parquet")}, 0.1, 0.1, "error")
    assert "a.parquet: 50 of 100 rows have the caption 'no description'" in caplog.text
    for name in ("val", "test"):
        far = abs(len(splits[name]) - 10) > 5
        assert far == (f"the {name} split has {len(splits[name])} of 100 rows" in caplog.text)


def test_nothing_is_said_of_captions_that_differ(caplog):
    table = make_table([(f"picture {n}", [f"caption {n}"]) for n in range(100)])
    complete_splits({"train": table}, 0.1, 0.1, "error")
    assert caplog.text == ""
