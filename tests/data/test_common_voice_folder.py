"""Common Voice folders as tables."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from data_samples import sound, to_mel

from edge_glass.core.errors import DataError
from edge_glass.data.common_voice import read_common_voice
from edge_glass.data.datasets import AudioTextDataset
from edge_glass.data.sounds import decode_sound
from edge_glass.data.splits import split_by_group

HEADER = "client_id\tpath\tsentence\tup_votes"


def write_folder(folder: Path, rows: list[tuple[str, str, str]], header: str = HEADER) -> Path:
    """A folder with `validated.tsv` of (client_id, path, sentence), and a clip for each row."""
    (folder / "clips").mkdir(parents=True)
    lines = [header, *("\t".join((*row, "2")) for row in rows)]
    (folder / "validated.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    for number, (_, name, _) in enumerate(rows):
        if name:
            (folder / "clips" / name).write_bytes(sound(number))
    return folder


def people(count: int, speakers: int) -> list[tuple[str, str, str]]:
    return [(f"speaker-{n % speakers}", f"clip_{n}.flac", f"Sentence {n}.") for n in range(count)]


def test_sentences_sounds_and_speakers(tmp_path):
    rows = [
        ("s1", "a.mp3", ' "Quotes\u201d, he said '),
        ("", "b.mp3", "caf\u00e9 \u72ac"),
        ("s1", "c.mp3", "x"),
    ]
    table = read_common_voice(write_folder(tmp_path / "cv", rows))
    assert list(table.ids) == ["a", "b", "c"] and table.rejected == ()
    assert table.captions == [['"Quotes\u201d, he said'], ["caf\u00e9 \u72ac"], ["x"]]
    assert table.groups == ["s1", None, "s1"]
    assert [len(keys) for keys in table.keys("vision")] == [0, 0, 0]
    assert np.array_equal(table.sound(2).samples, decode_sound(sound(2)).samples)
    assert np.array_equal(pickle.loads(pickle.dumps(table)).sound(1).samples, decode_sound(sound(1)).samples)


def test_bad_rows_are_named_and_skipped(tmp_path):
    folder = write_folder(tmp_path / "cv", [*people(6, 2), ("s", "", "no clip"), ("s", "g.mp3", "  ")])
    (folder / "clips" / "clip_1.flac").unlink()
    (folder / "clips" / "clip_2.flac").write_bytes(b"")
    (folder / "clips" / "clip_3.flac").write_bytes(b"<html>not found</html>")
    (folder / "clips" / "clip_4.flac").write_bytes(sound(4, seconds=0.5))
    table = read_common_voice(folder, max_audio_seconds=0.2)
    assert list(table.ids) == ["clip_0", "clip_5"]
    assert np.array_equal(table.sound(1).samples, decode_sound(sound(5)).samples)
    reasons = {(bad.row, bad.identifier): bad.reason for bad in table.rejected}
    assert list(reasons) == [
        *((n, f"clip_{n}.flac") for n in range(1, 5)),
        (6, "6"),
        (7, "g.mp3"),
    ]
    assert reasons[1, "clip_1.flac"] == "the clip cannot be read (No such file or directory)"
    assert reasons[2, "clip_2.flac"] == "the sound has no bytes (length 0)"
    assert "an HTML page" in reasons[3, "clip_3.flac"] and "too long: 0.5 s" in reasons[4, "clip_4.flac"]
    assert reasons[7, "g.mp3"] == "the caption is empty"


def test_a_clip_is_looked_for_among_the_clips_only(tmp_path):
    folder = write_folder(tmp_path / "cv", people(2, 1))
    (tmp_path / "secret.flac").write_bytes(sound(7))
    text = (folder / "validated.tsv").read_text().replace("clip_1.flac", "../../secret.flac")
    (folder / "validated.tsv").write_text(text)
    assert list(read_common_voice(folder).ids) == ["clip_0"]


def test_files_and_columns_that_are_missing(tmp_path):
    with pytest.raises(DataError, match=r"nowhere/validated\.tsv: no such file; a Common Voice folder has"):
        read_common_voice(tmp_path / "nowhere")
    folder = write_folder(tmp_path / "cv", people(2, 1), HEADER.replace("sentence", "text"))
    with pytest.raises(
        DataError, match=r"validated\.tsv: no column 'sentence'; it has client_id, path, text"
    ):
        read_common_voice(folder)
    with pytest.raises(DataError, match=r"train\.tsv: no such file"):
        read_common_voice(folder, "train.tsv")
    (folder / "validated.tsv").write_bytes(b"client_id\tpath\tsentence\ns\tclip_0.flac\tcaf\xe9\n")
    with pytest.raises(DataError, match=r"validated\.tsv: cannot be read \("):
        read_common_voice(folder)
    (folder / "validated.tsv").write_bytes(b"")
    with pytest.raises(DataError, match=r"no column 'client_id'; it has nothing"):
        read_common_voice(folder)


def test_a_row_with_too_few_cells_is_a_bad_row(tmp_path):
    folder = write_folder(tmp_path / "cv", people(3, 1))
    with (folder / "validated.tsv").open("a") as stream:
        stream.write("speaker-9\n")
    table = read_common_voice(folder)
    assert len(table) == 3 and [(bad.row, bad.reason) for bad in table.rejected] == [
        (3, "the caption is missing")
    ]


def test_a_speaker_is_on_one_side(tmp_path):
    table = read_common_voice(write_folder(tmp_path / "cv", people(90, 30)))
    splits = split_by_group(table, {"test": 0.3, "val": 0.3})
    sides = [set(part.groups) for part in splits.values()]
    assert all(sides) and sum(map(len, sides)) == len(set.union(*sides)) == 30
    assert sum(len(part) for part in splits.values()) == 90


def test_as_a_data_set(tmp_path):
    folder = write_folder(tmp_path / "cv", people(3, 2))
    dataset = AudioTextDataset(folder, to_mel)
    assert len(dataset) == 3 and dataset[2]["text"] == "Sentence 2."
    assert torch.equal(dataset[2]["mel"], to_mel(decode_sound(sound(2))))
    (folder / "clips" / "clip_1.flac").unlink()
    with pytest.raises(DataError, match=r"1 of 3 rows cannot be used \(first: row 1 \(clip_1\.flac\)"):
        AudioTextDataset(folder, to_mel)
