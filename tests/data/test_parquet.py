from __future__ import annotations

import errno
import multiprocessing
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from data_samples import picture, strings, write_parquet

import edge_glass.data.scan as scan
from edge_glass.core.errors import DataError
from edge_glass.data.parquet import ArrowPictures, read_parquet
from edge_glass.data.samples import check_rejected

STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def spools(home: Path) -> list[Path]:
    return sorted((home / "arrow").glob("*.arrow"))


def count_decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A list that gets longer with every picture that is decoded by the scan."""
    decoded: list[int] = []
    decode = scan.decode_image
    monkeypatch.setattr(scan, "decode_image", lambda data: (decoded.append(1), decode(data))[1])
    return decoded


def test_good_rows(tmp_path):
    file = write_parquet(
        tmp_path / "a.parquet", [picture(n) for n in range(300)], [f" c{n} " for n in range(300)]
    )
    table = read_parquet(file)
    assert len(table) == 300 and table.rejected == () and table.source == str(file)
    assert table.ids[7] == "7" and table.captions[7] == ["c7"]
    for row in (0, 63, 64, 299):
        assert table.picture(row) == picture(row)
    assert table.image(3).size == (8, 8)


def test_every_kind_of_bad_row_is_named_and_skipped(tmp_path):
    images = [
        picture(0),
        None,
        b"",
        picture(3)[:-30],
        b"no picture at all",
        picture(5),
        picture(6),
        picture(7),
        picture(8),
        b"\0" * 100,
    ]
    captions = strings(b"a", b"b", b"c", b"d", b"e", b"", b" \t", b"caf\xe9", b"good", b"zero")
    table = read_parquet(write_parquet(tmp_path / "a.parquet", images, captions))
    assert list(table.ids) == ["0", "8"] and table.captions == [["a"], ["good"]]
    assert table.picture(1) == picture(8)
    reasons = {rejected.row: rejected.reason for rejected in table.rejected}
    assert list(reasons) == [1, 2, 3, 4, 5, 6, 7, 9]
    assert reasons[1] == "the cell is empty (null)"
    assert reasons[2] == "the picture has no bytes (length 0)"
    assert "the PNG data cannot be decoded" in reasons[3]
    assert "no picture can be read" in reasons[4] and "no picture can be read" in reasons[9]
    assert reasons[5] == reasons[6] == "the caption is empty"
    assert reasons[7] == "the caption is not UTF-8 text"
    again = read_parquet(tmp_path / "a.parquet")
    assert again.rejected == table.rejected and again.ids == table.ids
    with pytest.raises(
        DataError, match=r"8 of 10 rows cannot be used \(first: row 1: the cell is empty"
    ) as caught:
        check_rejected(table, 0.5)
    assert caught.value.exit_code == 3


def test_a_missing_caption(tmp_path):
    table = read_parquet(write_parquet(tmp_path / "a.parquet", [picture(0), picture(1)], [None, "b"]))
    assert [(found.row, found.reason) for found in table.rejected] == [(0, "the caption is missing")]


def test_hugging_face_structs(tmp_path):
    cells = [
        {"bytes": picture(0), "path": "a.png"},
        {"bytes": None, "path": "b.png"},
        None,
        {"bytes": b"", "path": None},
    ]
    table = read_parquet(write_parquet(tmp_path / "a.parquet", pa.array(cells, STRUCT), list("abcd")))
    assert table.picture(0) == picture(0) and len(table) == 1
    assert [found.row for found in table.rejected] == [1, 2, 3]
    assert "b.png" in table.rejected[0].reason


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary(), STRUCT])
def test_column_types_of_pictures(tmp_path, kind):
    cells = [{"bytes": picture(n), "path": None} if kind == STRUCT else picture(n) for n in range(3)]
    table = read_parquet(write_parquet(tmp_path / "a.parquet", pa.array(cells, kind), list("abc")))
    assert [table.picture(row) for row in range(3)] == [picture(row) for row in range(3)]


@pytest.mark.parametrize(
    "kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string()), pa.binary()]
)
def test_column_types_of_captions(tmp_path, kind):
    captions = pa.array(["é", "b", "é"], pa.string())
    captions = captions.dictionary_encode() if pa.types.is_dictionary(kind) else captions.cast(kind)
    table = read_parquet(write_parquet(tmp_path / "a.parquet", [picture(n) for n in range(3)], captions))
    assert table.captions == [["é"], ["b"], ["é"]]


def test_bytes_that_are_not_utf8_in_every_text_column(tmp_path):
    bad = strings(b"good", b"\xff")
    offsets = pa.array([0, 2, 2], pa.int32())
    file = write_parquet(
        tmp_path / "a.parquet",
        [picture(0), picture(1)],
        strings(b"a", b"b"),
        names=bad,
        more=pa.ListArray.from_arrays(offsets, bad),
    )
    table = read_parquet(file, extra_captions_column="more", id_column="names")
    assert table.captions == [["a", "good"], ["b"]]
    assert table.ids[0] == "good" and table.ids[1] == str(b"\xff")
    # A dictionary is checked by Arrow itself, as a whole.
    dictionary = pa.DictionaryArray.from_arrays(pa.array([1, 0]), bad)
    file = write_parquet(tmp_path / "b.parquet", [picture(0), picture(1)], dictionary)
    with pytest.raises(DataError, match=r"b\.parquet: damaged \(Invalid UTF8"):
        read_parquet(file)


def test_a_path_that_is_not_utf8_does_not_matter(tmp_path):
    cells = pa.StructArray.from_arrays(
        [pa.array([picture(0), picture(1)]), strings(b"caf\xe9", b"b")], STRUCT.names
    )
    table = read_parquet(write_parquet(tmp_path / "a.parquet", cells, ["a", "b"]))
    assert [table.picture(row) for row in range(2)] == [picture(0), picture(1)]


def test_further_captions_and_names(tmp_path):
    file = write_parquet(
        tmp_path / "a.parquet",
        [picture(n) for n in range(4)],
        list("abcd"),
        more=pa.array([["x", "a", " x "], None, [], [None, "", "y"]], pa.list_(pa.string())),
        number=pa.array([10, None, 30, 40]),
    )
    table = read_parquet(file, extra_captions_column="more", id_column="number")
    assert table.captions == [["a", "x"], ["b"], ["c"], ["d", "y"]]
    assert list(table.ids) == ["10", "1", "30", "40"]
    assert list(read_parquet(file, id_column="caption").ids) == list("abcd")


def test_the_same_picture_in_two_formats_is_one(tmp_path):
    images = [picture(1, "PNG"), picture(1, "BMP"), picture(2, "PNG"), picture(1, "PNG", compress_level=0)]
    hashes = read_parquet(write_parquet(tmp_path / "a.parquet", images, list("abcd"))).picture_hashes
    assert hashes[0] == hashes[1] == hashes[3] != hashes[2]


def test_files_and_columns_that_are_not_what_they_should_be(tmp_path):
    with pytest.raises(DataError, match=r"nowhere\.parquet: no such file"):
        read_parquet(tmp_path / "nowhere.parquet")
    (tmp_path / "text.parquet").write_text("caption\n")
    with pytest.raises(DataError, match=r"text\.parquet: not a readable parquet file"):
        read_parquet(tmp_path / "text.parquet")
    (tmp_path / "empty.parquet").write_bytes(b"")
    with pytest.raises(DataError, match=r"empty\.parquet: not a readable parquet file"):
        read_parquet(tmp_path / "empty.parquet")
    with pytest.raises(DataError, match=r"rows\.parquet: has no rows"):
        read_parquet(
            write_parquet(tmp_path / "rows.parquet", pa.array([], pa.binary()), pa.array([], pa.string()))
        )
    file = write_parquet(tmp_path / "a.parquet", [picture(0)], ["a"], number=[1])
    for columns in ({"image_column": "jpg"}, {"text_column": "jpg"}, {"extra_captions_column": "jpg"}):
        with pytest.raises(
            DataError, match=r"a\.parquet: no column 'jpg'; it has image_bytes, caption, number"
        ):
            read_parquet(file, **columns)
    with pytest.raises(DataError, match=r"column 'caption' holds string, expected picture bytes"):
        read_parquet(file, image_column="caption")
    with pytest.raises(DataError, match=r"column 'number' holds int64, expected text"):
        read_parquet(file, text_column="number")
    with pytest.raises(DataError, match=r"column 'caption' holds string, expected lists of text"):
        read_parquet(file, extra_captions_column="caption")


@pytest.mark.parametrize("column", ["image_bytes", "caption"])
def test_a_file_damaged_in_its_middle(tmp_path, own_home, column):
    file = tmp_path / "a.parquet"
    table = pa.table(
        {"image_bytes": [picture(n) for n in range(200)], "caption": [f"{n} words" for n in range(200)]}
    )
    pq.write_table(table, file, row_group_size=20, write_page_checksum=True, compression="none")
    index = table.column_names.index(column)
    chunk = pq.ParquetFile(file).metadata.row_group(5).column(index)
    data = bytearray(file.read_bytes())
    start = chunk.dictionary_page_offset or chunk.data_page_offset
    data[start : start + chunk.total_compressed_size] = bytes(chunk.total_compressed_size)
    file.write_bytes(data)
    with pytest.raises(DataError, match=r"a\.parquet: damaged") as caught:
        read_parquet(file)
    assert "EDGE_GLASS_HOME" not in str(caught.value)
    assert spools(own_home) == []


def test_pictures_are_decoded_once_and_not_again_until_the_file_changes(tmp_path, own_home, monkeypatch):
    file = write_parquet(tmp_path / "a.parquet", [picture(n) for n in range(5)], list("abcde"))
    decoded = count_decoded(monkeypatch)
    read_parquet(file)
    assert len(decoded) == 5 and len(spools(own_home)) == 1
    assert read_parquet(file, "image_bytes", "caption").picture(4) == picture(4)
    assert len(decoded) == 5

    status = file.stat()
    write_parquet(file, [picture(n + 10) for n in range(5)], list("abcde"))
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    assert read_parquet(file).picture(4) == picture(14)
    assert len(decoded) == 10 and len(spools(own_home)) == 2

    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns + 2))
    read_parquet(file)
    assert len(decoded) == 15

    status = file.stat()
    write_parquet(file, [picture(n + 10) for n in range(6)], list("abcdef"))
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert len(read_parquet(file)) == 6


def test_leftovers_of_a_killed_process_are_harmless(tmp_path, own_home):
    file = write_parquet(tmp_path / "a.parquet", [picture(0), picture(1)], ["a", "b"])
    read_parquet(file)
    target = spools(own_home)[0]
    content = target.read_bytes()
    target.unlink()
    leftover = target.with_name(f".{target.name}.0123abcd.part")
    leftover.write_bytes(content[:100])
    target.with_name(f"{target.name}.lock").touch()
    assert read_parquet(file).picture(1) == picture(1)
    assert target.read_bytes() == content and not leftover.exists()


def test_a_scan_that_breaks_off_leaves_nothing(tmp_path, own_home, monkeypatch):
    file = write_parquet(
        tmp_path / "a.parquet", [picture(n) for n in range(200)], [str(n) for n in range(200)]
    )

    class Killed(BaseException):
        pass

    def breaking(cell):
        if cell == picture(150):
            raise Killed
        return real(cell)

    real = scan.scan_picture
    monkeypatch.setattr(scan, "scan_picture", breaking)
    with pytest.raises(Killed):
        read_parquet(file)
    assert [path.suffix for path in (own_home / "arrow").iterdir()] in ([".lock"], [])
    monkeypatch.setattr(scan, "scan_picture", real)
    assert len(read_parquet(file)) == 200


def test_a_disk_that_is_full_is_said_clearly(tmp_path):
    # A limit on file sizes makes the kernel refuse a real write, as a full disk does; no rights are needed.
    file = write_parquet(
        tmp_path / "a.parquet", [picture(n, size=(64, 64)) for n in range(20)], list("a" * 20)
    )
    code = (
        "import resource, sys\n"
        "from edge_glass.data.parquet import read_parquet\n"
        "from edge_glass.core.errors import DataError\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "try:\n    read_parquet(sys.argv[1])\n"
        "except DataError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(file)], capture_output=True, text=True, check=True)
    assert "a.parquet could not be copied there" in done.stdout and os.strerror(errno.EFBIG) in done.stdout
    assert "GiB free" in done.stdout and "Set EDGE_GLASS_HOME" in done.stdout


def test_a_cache_folder_that_cannot_be_made(tmp_path, monkeypatch):
    (tmp_path / "a file").touch()
    monkeypatch.setenv("EDGE_GLASS_HOME", str(tmp_path / "a file" / "home"))
    with pytest.raises(DataError, match="Set EDGE_GLASS_HOME to a folder"):
        read_parquet(write_parquet(tmp_path / "a.parquet", [picture(0)], ["a"]))


def read_in_process(file: str, barrier, results) -> None:
    barrier.wait()
    table = read_parquet(file)
    results.put([table.picture(row) for row in range(len(table))])


def test_two_processes_that_read_at_once(tmp_path, own_home):
    file = write_parquet(
        tmp_path / "a.parquet", [picture(n) for n in range(100)], [str(n) for n in range(100)]
    )
    context = multiprocessing.get_context("fork")
    barrier, results = context.Barrier(2), context.Queue()
    processes = [
        context.Process(target=read_in_process, args=(str(file), barrier, results)) for _ in range(2)
    ]
    for process in processes:
        process.start()
    found = [results.get(timeout=300) for _ in processes]
    for process in processes:
        process.join(timeout=300)
    assert found[0] == found[1] == [picture(n) for n in range(100)]
    assert len(spools(own_home)) == 1


def test_pictures_travel_to_other_processes_as_a_path(tmp_path):
    file = write_parquet(
        tmp_path / "a.parquet", [picture(n, size=(100, 100)) for n in range(20)], list("a" * 20)
    )
    pictures = read_parquet(file).pictures
    assert isinstance(pictures, ArrowPictures)
    pictures[3]
    carried = pickle.dumps(pictures)
    assert len(carried) < 1000
    assert pickle.loads(carried)[19] == picture(19, size=(100, 100))


def test_memory_is_bounded_by_pages_not_by_row_groups(tmp_path):
    file = tmp_path / "large.parquet"
    head = picture(1)
    # Bytes behind the end of a PNG are ignored: one row group of 100 MB that decodes in no time.
    cells = [head + np.random.default_rng(n).bytes(200_000) for n in range(500)]
    table = pa.table({"image_bytes": cells, "caption": [str(n) for n in range(500)]})
    pq.write_table(table, file, compression="none", use_dictionary=False, write_batch_size=2)
    code = (
        "import sys, pyarrow; from edge_glass.data.parquet import read_parquet\n"
        "read_parquet(sys.argv[1]); print(pyarrow.default_memory_pool().max_memory())"
    )
    done = subprocess.run([sys.executable, "-c", code, str(file)], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 60e6
