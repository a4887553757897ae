from __future__ import annotations

import csv
import json
import os
from pathlib import Path
from typing import Any

import pytest
from data_samples import picture

import edge_glass.data.scan as scan
from edge_glass.core.errors import DataError
from edge_glass.data.folder import read_folder


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder with a.png, b.png and sub/c.bmp, the last showing the same as a.png."""
    folder = tmp_path / "pictures"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.png").write_bytes(picture(1))
    (folder / "b.png").write_bytes(picture(2))
    (folder / "sub" / "c.bmp").write_bytes(picture(1, "BMP"))
    return folder


ROWS = [
    {"file_name": "a.png", "caption": "one"},
    {"file_name": "b.png", "caption": "two, with a comma"},
    {"file_name": "sub/c.bmp", "caption": "three"},
]


def write(path: Path, rows: list[dict[str, Any]], encoding: str = "utf-8") -> Path:
    with path.open("w", encoding=encoding, newline="") as stream:
        if path.suffix.lower() == ".csv":
            writer = csv.DictWriter(stream, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        elif path.suffix == ".jsonl":
            stream.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        else:
            json.dump(rows, stream, ensure_ascii=False)
    return path


def reasons(table) -> list[tuple[int, str, str]]:
    return [(found.row, found.identifier, found.reason) for found in table.rejected]


@pytest.mark.parametrize("name", ["rows.json", "rows.jsonl", "rows.csv", "rows.CSV"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_forms_of_the_metadata_file(pictures, tmp_path, name, encoding):
    table = read_folder(pictures, write(tmp_path / name, ROWS, encoding))
    assert list(table.ids) == ["a.png", "b.png", "sub/c.bmp"] and table.rejected == ()
    assert table.captions == [["one"], ["two, with a comma"], ["three"]]
    assert table.picture(1) == picture(2) and table.picture(2) == picture(1, "BMP")
    assert table.picture_hashes[0] == table.picture_hashes[2] != table.picture_hashes[1]


@pytest.mark.parametrize("name", ["rows.json", "rows.jsonl", "rows.csv"])
@pytest.mark.parametrize("inside", ["\u2028", "\u0085", "\x0b", "\x1c", "\n", "\r\n"])
def test_captions_with_line_separators(pictures, tmp_path, name, inside):
    rows = [{"file_name": "a.png", "caption": f"first{inside}second"}, *ROWS[1:]]
    table = read_folder(pictures, write(tmp_path / name, rows))
    assert table.captions[0] == [f"first{inside}second"] and len(table) == 3


def test_windows_line_ends(pictures, tmp_path):
    file = tmp_path / "rows.jsonl"
    file.write_bytes(b"\r\n".join(json.dumps(row).encode() for row in ROWS) + b"\r\n\r\n")
    assert len(read_folder(pictures, file)) == 3


def test_other_columns(pictures, tmp_path):
    rows = [
        {"file_name": "a.png", "words": "one", "id": 0},
        {"file_name": "b.png", "words": "two", "id": None},
    ]
    table = read_folder(pictures, write(tmp_path / "rows.json", rows), text_column="words", id_column="id")
    assert list(table.ids) == ["0", "b.png"]


def test_several_rows_may_name_one_picture(pictures, tmp_path, monkeypatch):
    decoded = []
    real = scan.decode_image
    monkeypatch.setattr(scan, "decode_image", lambda data: (decoded.append(1), real(data))[1])
    rows = [{"file_name": "a.png", "caption": f"caption {n}"} for n in range(4)]
    table = read_folder(pictures, write(tmp_path / "rows.json", rows))
    assert len(table) == 4 and len(set(table.picture_hashes)) == 1 and len(decoded) == 1
    assert table.picture(3) == picture(1)


def test_every_kind_of_bad_row_is_named_and_skipped(pictures, tmp_path):
    (tmp_path / "x.png").write_bytes(picture(9))
    (pictures / "empty.png").touch()
    (pictures / "cut.png").write_bytes(picture(3)[:-30])
    (pictures / "text.png").write_text("hello")
    (pictures / "circle.png").symlink_to(pictures / "circle.png")
    names = ["a.png", "../x.png", str(tmp_path / "x.png"), "nowhere.png", "sub", "", None, "."]
    names += ["empty.png", "cut.png", "text.png", "x" * 5000, "null\0byte.png", "circle.png", "b.png"]
    rows: list[dict[str, Any]] = [{"file_name": name, "caption": "c"} for name in names]
    rows += [{"file_name": "a.png", "caption": ""}, {"file_name": "a.png", "caption": None}]
    rows += [{"file_name": "a.png"}, {"file_name": "a.png", "caption": 3}, {"caption": "c"}]
    table = read_folder(pictures, write(tmp_path / "rows.json", rows))
    assert list(table.ids) == ["a.png", "b.png"] and table.picture(1) == picture(2)
    found = {row: reason for row, _, reason in reasons(table)}
    outside, missing = f"the file lies outside {pictures}", "file_name is missing or no file name"
    assert found[1] == found[2] == outside
    assert found[3] == found[4] == f"the file does not exist in {pictures}"
    assert found[5] == found[6] == found[7] == found[11] == found[12] == found[19] == missing
    assert found[8] == "the picture has no bytes (length 0)"
    assert "cannot be decoded" in found[9] and "no picture can be read" in found[10]
    assert 13 in found
    assert found[15] == "the caption is empty" and found[16] == found[17] == "the caption is missing"
    assert found[18] == "the caption is int, not text"
    assert len(found) == 18
    assert reasons(table)[0] == (1, "../x.png", outside)
    assert read_folder(pictures, tmp_path / "rows.json").rejected == table.rejected


def test_a_link_out_of_the_folder_is_not_followed(pictures, tmp_path):
    (tmp_path / "x.png").write_bytes(picture(9))
    (pictures / "link.png").symlink_to(tmp_path / "x.png")
    rows = [*ROWS, {"file_name": "link.png", "caption": "c"}]
    assert [row for row, _, _ in reasons(read_folder(pictures, write(tmp_path / "rows.json", rows)))] == [3]


def test_a_csv_row_with_too_many_or_too_few_cells(pictures, tmp_path):
    (tmp_path / "rows.csv").write_text("file_name,caption\na.png,one,more\nb.png\nsub/c.bmp,three\n")
    table = read_folder(pictures, tmp_path / "rows.csv")
    assert list(table.ids) == ["sub/c.bmp"]
    assert reasons(table) == [
        (0, "a.png", "1 more cells than the header has; quote texts with commas"),
        (1, "b.png", "the caption is missing"),
    ]


def test_half_of_a_character_is_a_bad_row(pictures, tmp_path):
    captions = {"a.png": "smile \ud83d", "b.png": "smile \U0001f600"}
    rows = [{"file_name": name, "caption": caption} for name, caption in captions.items()]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    table = read_folder(pictures, tmp_path / "rows.json")
    assert table.captions == [["smile \U0001f600"]]
    assert reasons(table) == [(0, "a.png", "the caption holds half of a character (an unpaired surrogate)")]


def test_files_that_are_not_what_they_should_be(pictures, tmp_path):
    with pytest.raises(DataError, match=r"nowhere\.json: no such file"):
        read_folder(pictures, tmp_path / "nowhere.json")
    file = write(tmp_path / "rows.json", ROWS)
    with pytest.raises(DataError, match=r"nowhere: no such folder"):
        read_folder(tmp_path / "nowhere", file)
    with pytest.raises(DataError, match=r"rows\.json: no column 'words'; it has file_name, caption"):
        read_folder(pictures, file, text_column="words")
    with pytest.raises(DataError, match=r"no column 'id'"):
        read_folder(pictures, file, id_column="id")
    (tmp_path / "semicolon.csv").write_text("file_name;caption\na.png;one\n")
    with pytest.raises(DataError, match=r"no column 'file_name'; it has file_name;caption"):
        read_folder(pictures, tmp_path / "semicolon.csv")
    (tmp_path / "cells.csv").write_text("file,words\na.png,one,more\n")
    with pytest.raises(DataError, match=r"no column 'file_name'; it has file, words"):
        read_folder(pictures, tmp_path / "cells.csv")
    file.write_bytes(b'[{"file_name": "caf\xe9.png"}]')
    with pytest.raises(DataError, match=r"rows\.json: not UTF-8 text \(byte 19\)"):
        read_folder(pictures, file)
    for content in ("{", "", "[1, 2", '{"file_name": "a.png"'):
        file.write_text(content)
        with pytest.raises(DataError, match=r"rows\.json: cannot be read"):
            read_folder(pictures, file)
    for content in ('{"a.png": "one"}', "[1, 2]", "null"):
        file.write_text(content)
        with pytest.raises(DataError, match=r"rows\.json: expected a list of objects"):
            read_folder(pictures, file)


def test_pictures_are_scanned_again_only_when_one_changes(pictures, tmp_path, monkeypatch):
    decoded = []
    real = scan.decode_image
    monkeypatch.setattr(scan, "decode_image", lambda data: (decoded.append(1), real(data))[1])
    file = write(tmp_path / "rows.json", ROWS)
    before = read_folder(pictures, file)
    again = read_folder(pictures, file)
    assert len(decoded) == 3 and again.picture_hashes == before.picture_hashes
    status = (pictures / "b.png").stat()
    (pictures / "b.png").write_bytes(picture(5))
    os.utime(pictures / "b.png", ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    assert read_folder(pictures, file).picture_hashes[1] != before.picture_hashes[1]
    assert len(decoded) == 6


def test_a_cache_folder_that_cannot_be_written_costs_time_only(pictures, tmp_path, monkeypatch, caplog):
    (tmp_path / "a file").touch()
    monkeypatch.setenv("EDGE_GLASS_HOME", str(tmp_path / "a file" / "home"))
    assert len(read_folder(pictures, write(tmp_path / "rows.json", ROWS))) == 3
    assert "pictures are scanned again next time" in caplog.text


def test_a_picture_that_vanished_after_the_scan_is_an_error_of_the_data(pictures, tmp_path):
    table = read_folder(pictures, write(tmp_path / "rows.json", ROWS))
    (pictures / "b.png").unlink()
    with pytest.raises(DataError, match=r"rows\.json: the picture of row b\.png changed"):
        table.image(1)
