from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from edge_glass.core.errors import DataError
from edge_glass.corpora.downloading.fetching import Failed, Fetched, Kind, Picture
from edge_glass.corpora.downloading.journal import open_journal


def fetched(data: bytes) -> Fetched:
    return Fetched(data, hashlib.sha256(data).hexdigest(), 1)


RESULTS = {
    Picture("http://a/1"): fetched(b"one"),
    Picture("http://a/ü\u2028 \ud800"): fetched(b"two " * 100),
    Picture("http://a/gone"): Failed("status 404 Not Found", 1, Kind.ANSWER),
    Picture("http://a/busy"): Failed("status 503", 4, Kind.BUSY),
    Picture("http://a/1", "0" * 64): Failed("the SHA-256 is …", 1, Kind.ANSWER),
    Picture("http://a/3"): fetched(b"three"),
}


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    with open_journal(tmp_path) as journal:
        for picture, result in RESULTS.items():
            journal.add(picture, result)
    return tmp_path


def expected(result: Fetched | Failed) -> object:
    return result if isinstance(result, Failed) else (result.data, result.sha256)


def test_what_was_added_is_there_again(filled):
    with open_journal(filled) as journal:
        assert {p: journal.read(p) for p in RESULTS} == {p: expected(r) for p, r in RESULTS.items()}
        assert journal.pictures == 3 and journal.size == 408
        assert Picture("http://a/4") not in journal
        assert journal.read(Picture("http://a/4")) == Failed("not downloaded", 0, Kind.BUSY)


def test_failures_are_forgotten(filled):
    with open_journal(filled) as journal:
        assert journal.forget_failures() == 1
        assert Picture("http://a/busy") not in journal and Picture("http://a/gone") in journal
        assert journal.forget_failures(passing_only=False) == 2
        assert len(journal.results) == 3


def test_an_end_at_any_byte(filled):
    """Whatever a kill left of the two files: whole results remain, and new ones can be added."""
    lines, blob = (filled / "journal.jsonl").read_bytes(), (filled / "pictures.bin").read_bytes()
    whole = list(RESULTS.items())
    ends = [place for place, byte in enumerate(lines) if byte == ord("\n")]
    for cut in sorted({*range(0, len(lines), 29), *ends, *(end + 1 for end in ends)}):
        (filled / "journal.jsonl").write_bytes(lines[:cut])
        (filled / "pictures.bin").write_bytes(blob + b"of a picture without a line")
        with open_journal(filled) as journal:
            number = lines[:cut].count(b"\n")
            assert list(journal.results) == [picture.key for picture, _ in whole[:number]]
            journal.add(Picture("http://new/"), fetched(b"new"))
        with open_journal(filled) as journal:
            for picture, result in whole[:number]:
                assert journal.read(picture) == expected(result)
            assert journal.read(Picture("http://new/")) == expected(fetched(b"new"))


def test_bytes_that_did_not_reach_the_disk(filled):
    """After a power failure the lines may be there and the pictures not."""
    (filled / "pictures.bin").write_bytes(b"one" + bytes(10))
    with open_journal(filled) as journal:
        assert journal.pictures == 1
        assert journal.read(Picture("http://a/1")) == expected(fetched(b"one"))
        assert Picture("http://a/3") not in journal


def test_a_damaged_line_costs_only_itself(filled):
    lines = (filled / "journal.jsonl").read_bytes().split(b"\n")
    lines[0] = b"\x00" * 20
    (filled / "journal.jsonl").write_bytes(b"\n".join(lines))
    with open_journal(filled) as journal:
        assert len(journal.results) == len(RESULTS) - 1
        assert journal.read(Picture("http://a/3")) == expected(fetched(b"three"))


def test_a_damaged_picture_is_noticed_and_stays_forgotten(filled):
    (filled / "pictures.bin").write_bytes(b"onE" + (filled / "pictures.bin").read_bytes()[3:])
    with open_journal(filled) as journal:
        assert journal.read(Picture("http://a/1")) == Failed("the kept copy is damaged", 0, Kind.BUSY)
        assert journal.forget_damaged() == 1 and journal.pictures == 2
        assert Picture("http://a/1") not in journal
    with open_journal(filled) as journal:
        assert journal.forget_failures() == 2
        assert Picture("http://a/1") not in journal


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="cannot be written"), open_journal(tmp_path / "file" / "parts"):
        pass
