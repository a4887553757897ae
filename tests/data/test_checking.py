from __future__ import annotations

import csv
import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from edge_glass.core.errors import DataError
from edge_glass.data.checking import check_parquet, split_names, write_rejects


def picture(seed: int, kind: str = "PNG") -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def write(path: Path, images: list, texts: list, image_type=None, text_type=None) -> Path:
    columns = {
        "image_bytes": pa.array(images, image_type or pa.binary()),
        "caption": pa.array(texts, text_type or pa.string()),
    }
    pq.write_table(pa.table(columns), path)
    return path


def reasons(report) -> list[tuple[str, int, str, str]]:
    return [(found.split, found.row, found.severity, found.reason) for found in report.findings]


def test_clean_files(tmp_path):
    files = {
        "train": write(tmp_path / "train.parquet", [picture(1), picture(2)], ["one", "two"]),
        "test": write(tmp_path / "test.parquet", [picture(3)], ["three"]),
    }
    report = check_parquet(files)
    assert report.ok and report.findings == []
    assert report.rows == {"train": 2, "test": 1}
    assert report.lines() == ["train: 2 rows, 0 unusable", "test: 1 rows, 0 unusable"]


def test_every_kind_of_bad_row_is_named_with_its_place(tmp_path):
    good = picture(0)
    images = [
        good,
        picture(1, "JPEG")[:-30],
        b"",
        None,
        b"no picture",
        good[:-40],
        *[picture(n) for n in range(6, 11)],
    ]
    texts = [b"a", b"b", b"c", b"d", b"e", b"f", None, b"", b" \t\n", "\u200b\ufeff".encode(), b"caf\xe9"]
    report = check_parquet({"train": write(tmp_path / "a.parquet", images, texts, text_type=pa.binary())})
    assert reasons(report) == [
        ("train", 1, "error", "truncated"),
        ("train", 2, "error", "no_picture"),
        ("train", 3, "error", "no_picture"),
        ("train", 4, "error", "not_a_picture"),
        ("train", 5, "error", "truncated"),
        ("train", 6, "error", "no_text"),
        ("train", 7, "error", "text_empty"),
        ("train", 8, "error", "text_empty"),
        ("train", 9, "error", "text_empty"),
        ("train", 10, "error", "text_not_utf8"),
    ]
    assert not report.ok
    assert report.unusable("train") == list(range(1, 11))
    assert report.counts()["text_empty"] == 3
    assert "byte 3 is 0xe9" in report.findings[-1].detail


def test_a_row_can_be_wrong_twice_and_counts_once(tmp_path):
    report = check_parquet({"train": write(tmp_path / "a.parquet", [b"", picture(1)], ["", "x"])})
    assert [found.reason for found in report.findings] == ["no_picture", "text_empty"]
    assert report.unusable("train") == [0]


def test_a_string_column_with_bytes_that_are_not_utf8(tmp_path):
    bad = pa.StringArray.from_buffers(1, pa.py_buffer(np.array([0, 2], np.int32)), pa.py_buffer(b"\xff\xfe"))
    pq.write_table(pa.table({"image_bytes": [picture(1)], "caption": bad}), tmp_path / "a.parquet")
    assert check_parquet({"train": tmp_path / "a.parquet"}).counts() == {"text_not_utf8": 1}


def test_duplicates_are_warnings_and_name_the_first_one(tmp_path):
    files = {
        "train": write(
            tmp_path / "train.parquet", [picture(1), picture(2), picture(1, "BMP")], ["a", "b", "b"]
        ),
        "test": write(tmp_path / "test.parquet", [picture(2), picture(9), picture(9)], ["c", "a", "e"]),
    }
    report = check_parquet(files)
    assert report.ok
    assert reasons(report) == [
        ("train", 2, "warning", "duplicate_picture"),
        ("train", 2, "warning", "duplicate_text"),
        ("test", 0, "warning", "picture_across_splits"),
        ("test", 1, "warning", "text_across_splits"),
        ("test", 2, "warning", "duplicate_picture"),
    ]
    assert [found.detail for found in report.findings] == [
        "same picture as train row 0",
        "same text as train row 1",
        "same picture as train row 1",
        "same text as train row 0",
        "same picture as test row 1",
    ]


def test_a_picture_over_the_limit(tmp_path):
    file = write(tmp_path / "a.parquet", [picture(1)], ["a"])
    assert check_parquet({"train": file}, max_pixels=63).counts("error") == {"too_large": 1}
    assert check_parquet({"train": file}, max_pixels=64).ok


@pytest.mark.parametrize(
    "text_type", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())]
)
def test_column_types_of_texts(tmp_path, text_type):
    file = write(tmp_path / "a.parquet", [picture(1), picture(2)], ["a", " "], text_type=text_type)
    assert check_parquet({"train": file}).counts() == {"text_empty": 1}


def test_hugging_face_structs(tmp_path):
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    cells = [{"bytes": picture(1), "path": "a.png"}, {"bytes": None, "path": "b.png"}, None]
    report = check_parquet({"train": write(tmp_path / "a.parquet", cells, ["a", "b", "c"], image_type=kind)})
    assert [(found.row, found.reason) for found in report.findings] == [(1, "no_picture"), (2, "no_picture")]
    assert "b.png" in report.findings[0].detail


def test_other_column_names(tmp_path):
    file = tmp_path / "a.parquet"
    pq.write_table(pa.table({"jpg": [picture(1)], "words": ["a"], "extra": [1]}), file)
    assert check_parquet({"train": file}, image_column="jpg", text_column="words").ok
    with pytest.raises(DataError, match=r"a\.parquet: no column 'caption'; it has jpg, words, extra"):
        check_parquet({"train": file}, image_column="jpg")


def test_columns_of_the_wrong_type(tmp_path):
    file = tmp_path / "a.parquet"
    pq.write_table(pa.table({"image_bytes": ["a.png"], "caption": ["a"], "number": [1]}), file)
    with pytest.raises(DataError, match=r"'image_bytes' holds string, expected picture bytes"):
        check_parquet({"train": file})
    pq.write_table(pa.table({"image_bytes": [picture(1)], "caption": [1]}), file)
    with pytest.raises(DataError, match=r"'caption' holds int64, expected text"):
        check_parquet({"train": file})


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(DataError, match=r"nowhere\.parquet: no such file"):
        check_parquet({"train": tmp_path / "nowhere.parquet"})
    (tmp_path / "a.parquet").write_text("caption\n")
    with pytest.raises(DataError, match=r"a\.parquet: not a readable parquet file"):
        check_parquet({"train": tmp_path / "a.parquet"})
    with pytest.raises(DataError, match=r"b\.parquet: has no rows"):
        check_parquet({"train": write(tmp_path / "b.parquet", [], [])})


def test_a_file_damaged_in_its_middle(tmp_path):
    rows = 200
    table = pa.table(
        {"image_bytes": [picture(n) for n in range(rows)], "caption": [str(n) for n in range(rows)]}
    )
    file = tmp_path / "a.parquet"
    pq.write_table(table, file, row_group_size=20, write_page_checksum=True)
    data = bytearray(file.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 2000] = bytes(2000)
    file.write_bytes(data)
    with pytest.raises(DataError, match=r"a\.parquet: damaged after row \d+") as caught:
        check_parquet({"train": file})
    assert 20 <= int(str(caught.value).split("after row ")[1].split()[0]) <= 180


def test_rejects_table(tmp_path):
    images = [picture(1), picture(1), b'no, "picture"']
    report = check_parquet({"train": write(tmp_path / "a.parquet", images, ["a", "b", "c"])})
    write_rejects(report, tmp_path / "out" / "rejects.csv")
    with (tmp_path / "out" / "rejects.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["row"], row["severity"], row["reason"]) for row in rows] == [
        ("2", "error", "not_a_picture"),
        ("1", "warning", "duplicate_picture"),
    ]
    assert rows[0]["file"] == str(tmp_path / "a.parquet") and rows[0]["split"] == "train"


def test_lines_give_counts_and_a_first_place(tmp_path):
    report = check_parquet({"train": write(tmp_path / "a.parquet", [picture(1), b"", b""], ["a", "b", "c"])})
    assert report.lines()[0] == "train: 3 rows, 2 unusable"
    assert report.lines()[1].startswith("error: no_picture x 2, first ")
    assert "row 1: " in report.lines()[1]


def test_split_names():
    assert split_names([Path("a/train.parquet"), Path("a/test.parquet")]) == {
        "train": Path("a/train.parquet"),
        "test": Path("a/test.parquet"),
    }
    assert list(split_names([Path("a/x.parquet"), Path("b/x.parquet")])) == ["a/x", "b/x"]


def test_memory_is_bounded_by_pages_not_by_row_groups(tmp_path):
    file = tmp_path / "large.parquet"
    head = picture(1)
    # Bytes behind the end of a PNG are ignored: one row group of 60 MB that decodes in no time.
    cells = [head + np.random.default_rng(n).bytes(200_000) for n in range(300)]
    table = pa.table({"image_bytes": cells, "caption": [str(n) for n in range(300)]})
    pq.write_table(table, file, compression="none", use_dictionary=False, write_batch_size=2)
    code = (
        "import sys, pyarrow; from pathlib import Path; from edge_glass.data.checking import check_parquet\n"
        "check_parquet({'train': Path(sys.argv[1])}); print(pyarrow.default_memory_pool().max_memory())"
    )
    done = subprocess.run([sys.executable, "-c", code, str(file)], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 30e6
