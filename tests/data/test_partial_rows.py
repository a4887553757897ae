"""Parquet files with sounds: a row may lack a picture, its sounds or its words, but not two of them."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from data_samples import hash_of, picture, sound, strings, write_parquet

import edge_glass.data.scan as scan
from edge_glass.core.errors import DataError
from edge_glass.data.parquet import read_parquet
from edge_glass.data.samples import SampleTable, row_kinds
from edge_glass.data.sounds import decode_sound

STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
TAKES = pa.list_(pa.binary())


def read(path: Path, images, captions, audio, **options) -> SampleTable:
    return read_parquet(write_parquet(path, images, captions, audio=audio), audio_column="audio", **options)


def test_null_cells_are_kept_and_lack_their_modality(tmp_path):
    table = read(
        tmp_path / "a.parquet",
        pa.array([picture(0), None, picture(2), picture(3)], pa.binary()),
        ["a", "b", None, "d"],
        pa.array([sound(0), sound(1), sound(2), None], pa.binary()),
    )
    assert list(table.ids) == ["0", "1", "2", "3"] and table.rejected == ()
    assert table.captions == [["a"], ["b"], [], ["d"]]
    assert [digest is None for digest in table.picture_hashes] == [False, True, False, False]
    assert table.sound_hashes == [[hash_of(sound(0))], [hash_of(sound(1))], [hash_of(sound(2))], []]
    assert row_kinds(table, ("vision", "audio", "text")).tolist() == [7, 6, 3, 5]
    assert table.image(2).tobytes() and table.picture(3) == picture(3)
    assert np.array_equal(table.sound(1).samples, decode_sound(sound(1)).samples)
    assert table.item("audio", 2, 0).rate == 8000 and table.item("text", 1) == "b"


def test_broken_cells_and_rows_with_one_modality_are_rejected_by_name(tmp_path):
    table = read(
        tmp_path / "a.parquet",
        pa.array(
            [picture(0)[:-30], picture(1), None, picture(3), None, picture(5), b"", picture(7)], pa.binary()
        ),
        strings(b"a", b"b", b"c", b"", b"", b"caf\xe9", b"g", b" \t"),
        pa.array([sound(0), b"no sound", None, None, sound(4), sound(5), sound(6), sound(7)], pa.binary()),
    )
    assert len(table) == 0
    reasons = [rejected.reason for rejected in table.rejected]
    assert [rejected.row for rejected in table.rejected] == list(range(8))
    assert "the PNG data cannot be decoded" in reasons[0]
    assert "no sound can be read from 8 bytes" in reasons[1]
    assert reasons[2:5] == ["it has only one of picture, sound and caption"] * 3
    assert reasons[5] == "the caption is not UTF-8 text"
    assert reasons[6] == "the picture has no bytes (length 0)"
    assert reasons[7] == "the caption is empty"


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.binary()])
def test_an_empty_caption_is_none(tmp_path, kind):
    captions = pa.array(["", "b"], pa.string()).cast(kind)
    table = read(tmp_path / "a.parquet", [picture(0), picture(1)], captions, [sound(0), sound(1)])
    assert table.captions == [[], ["b"]] and table.rejected == ()


def test_without_sounds_every_row_needs_its_picture_and_caption(tmp_path):
    images = pa.array([picture(0), None, picture(2)], pa.binary())
    file = write_parquet(tmp_path / "a.parquet", images, ["a", "b", None], audio=[sound(n) for n in range(3)])
    assert list(read_parquet(file).ids) == ["0"]
    assert list(read_parquet(file, audio_column="audio").ids) == ["0", "1", "2"]
    heard = read_parquet(file, None, audio_column="audio")  # no pictures at all: a caption is needed
    assert list(heard.ids) == ["0", "1"] and heard.picture_hashes == [None, None]


@pytest.mark.parametrize(
    ("kind", "cells"),
    [
        (pa.binary(), [sound(0), sound(1)]),
        (pa.large_binary(), [sound(0), sound(1)]),
        (STRUCT, [{"bytes": sound(0), "path": None}, {"bytes": sound(1), "path": "b.flac"}]),
        (TAKES, [[sound(0)], [sound(1)]]),
        (pa.list_(STRUCT), [[{"bytes": sound(0), "path": None}], [{"bytes": sound(1), "path": None}]]),
    ],
)
def test_column_types_of_sounds(tmp_path, kind, cells):
    table = read(tmp_path / "a.parquet", [picture(0), picture(1)], ["a", "b"], pa.array(cells, kind))
    assert [table.sounds[row] for row in range(2)] == [[sound(0)], [sound(1)]]


def test_takes_stay_in_their_order_and_one_broken_take_makes_the_row_bad(tmp_path):
    cells = pa.array([[sound(0), sound(1)], [], None, [sound(2), b"broken"], [sound(3), None]], TAKES)
    table = read(tmp_path / "a.parquet", [picture(n) for n in range(5)], list("abcde"), cells)
    assert list(table.ids) == ["0", "1", "2"]
    assert table.sound_hashes == [[hash_of(sound(0)), hash_of(sound(1))], [], []]
    assert np.array_equal(table.sound(0, take=1).samples, decode_sound(sound(1)).samples)
    assert "no sound can be read" in table.rejected[0].reason
    assert table.rejected[1].reason == "the cell is empty (null)"


def test_long_sounds_are_bad_ones_by_the_limit_asked_for(tmp_path):
    cells = [sound(0, seconds=0.5), sound(1)]
    images = [picture(0), picture(1)]
    for _ in range(2):  # the second time from the copy
        table = read(tmp_path / "a.parquet", images, ["a", "b"], cells, max_audio_seconds=0.2)
        assert list(table.ids) == ["1"]
        assert table.rejected[0].reason == "too long: 0.5 s, the limit is 0.2 s"
    assert len(read_parquet(tmp_path / "a.parquet", audio_column="audio")) == 2


def test_the_column_is_named_when_it_is_missing_or_holds_no_sounds(tmp_path):
    file = write_parquet(tmp_path / "a.parquet", [picture(0)], ["a"], number=[1])
    with pytest.raises(DataError, match=r"no column 'audio'; it has image_bytes, caption, number") as caught:
        read_parquet(file, audio_column="audio")
    assert "dataset.audio_column" in str(caught.value) and caught.value.exit_code == 3
    for column, found in (("caption", "string"), ("number", "int64")):
        with pytest.raises(DataError, match=rf"column '{column}' holds {found}, expected sound bytes"):
            read_parquet(file, audio_column=column)


def test_groups_are_read_as_names(tmp_path):
    file = write_parquet(
        tmp_path / "a.parquet", [picture(n) for n in range(3)], list("abc"), speaker=[7, None, 8]
    )
    assert read_parquet(file, group_column="speaker").groups == ["7", None, "8"]
    assert not read_parquet(file).groups
    with pytest.raises(DataError, match=r"no column 'spaeker'"):
        read_parquet(file, group_column="spaeker")


def test_sounds_are_decoded_once_and_travel_as_a_path(tmp_path, monkeypatch):
    decoded = []
    monkeypatch.setattr(scan, "decode_sound", lambda *given: (decoded.append(1), decode_sound(*given))[1])
    cells = [sound(n, seconds=0.5) for n in range(20)]
    file = write_parquet(tmp_path / "a.parquet", [picture(n) for n in range(20)], ["a"] * 20, audio=cells)
    read_parquet(file, audio_column="audio")
    table = read_parquet(file, audio_column="audio")
    assert len(decoded) == 20
    table.sound(3)
    carried = pickle.dumps(table.sounds)
    assert len(carried) < 1000 and pickle.loads(carried)[19] == [cells[19]]


def test_a_sound_that_changed_since_it_was_read_is_an_error_of_the_data(tmp_path):
    table = read(tmp_path / "a.parquet", [picture(0)], ["a"], [sound(0)])
    broken = replace(table, sounds=[[b"broken"]])
    with pytest.raises(DataError, match=r"a\.parquet: the sound of row 0 changed after it was first read"):
        broken.sound(0)
