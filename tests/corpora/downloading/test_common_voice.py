from __future__ import annotations

import csv
import io
import os
import tarfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from edge_glass.core.errors import ConfigError, DataError
from edge_glass.corpora.downloading.common_voice import download_common_voice, speaker_side
from edge_glass.corpora.downloading.downloads import download

soundfile = pytest.importorskip("soundfile")
COLUMNS = ("client_id", "path", "sentence", "locale")


def sound(number: int, kind: str = "MP3") -> bytes:
    buffer = io.BytesIO()
    wave = np.sin(np.arange(8000) * (0.02 + number / 500)).astype("float32") / 2
    soundfile.write(buffer, wave, 16000, format=kind)
    return buffer.getvalue()


def table(rows: list[tuple[str, str, str]], columns: tuple[str, ...] = COLUMNS) -> bytes:
    lines = ["\t".join(columns), *("\t".join((*row, "en")) for row in rows)]
    return ("\r\n".join(lines) + "\r\n").encode()


def clip(number: int) -> str:
    return f"common_voice_en_{number}.mp3"


def release(speakers: str = "ababcd", language: str = "en") -> dict[str, bytes]:
    """Six clips: four of them train, one dev, one test; `speakers` says one letter each."""
    rows = [(speaker, clip(n), f'Say "{n}".') for n, speaker in enumerate(speakers)]
    tables = {"train": rows[:4], "dev": rows[4:5], "test": rows[5:], "validated": rows}
    root = f"cv-corpus-22.0/{language}"
    files = {f"{root}/clips/{clip(n)}": sound(n) for n in range(6)}
    return files | {f"{root}/{name}.tsv": table(part) for name, part in tables.items()}


def pack(
    file: Path, files: dict[str, bytes], mode: str = "w:gz", links: dict[str, str] | None = None
) -> Path:
    with tarfile.open(file, mode) as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        for name, target in (links or {}).items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            archive.addfile(info)
    return file


def unpack(folder: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def rows(out: Path, split: str) -> list[dict]:
    return pq.read_table(out / f"{split}.parquet").to_pylist()


def reasons(out: Path) -> dict[str, str]:
    with (out / "rejects.csv").open(newline="", encoding="utf-8") as stream:
        return {row["url"]: row["reason"] for row in csv.DictReader(stream)}


@pytest.mark.parametrize(("name", "mode"), [("cv.tar.gz", "w:gz"), ("cv.tar", "w"), ("cv.tar.xz", "w:xz")])
def test_an_archive_with_its_official_split(tmp_path, name, mode):
    out = tmp_path / "out"
    lines = download("common-voice", out, archive=pack(tmp_path / name, release(), mode))
    assert lines[0] == "en: the official split; no speaker is on two sides (checked)"
    assert {split: [row["id"] for row in rows(out, split)] for split in ("train", "val", "test")} == {
        "train": [f"common_voice_en_{n}" for n in range(4)],
        "val": ["common_voice_en_4"],
        "test": ["common_voice_en_5"],
    }
    first = rows(out, "train")[0]
    assert first["audio"] == [sound(0)] and first["caption"] == 'Say "0".' and first["client_id"] == "a"
    assert sorted(path.name for path in out.glob("[!.]*")) == [
        "rejects.csv",
        "test.parquet",
        "train.parquet",
        "val.parquet",
    ]


@pytest.mark.parametrize("inner", [".", "cv-corpus-22.0", "cv-corpus-22.0/en"])
def test_a_folder_gives_the_same(tmp_path, inner):
    download("common-voice", tmp_path / "a", archive=pack(tmp_path / "cv.tar.gz", release()))
    folder = unpack(tmp_path / "unpacked", release())
    download("common-voice", tmp_path / "b", archive=folder / inner)
    for split in ("train", "val", "test"):
        assert rows(tmp_path / "a", split) == rows(tmp_path / "b", split)


def test_shared_speakers_are_noticed(tmp_path):
    out = tmp_path / "out"
    lines = download("common-voice", out, archive=pack(tmp_path / "cv.tar.gz", release("abcdea")))
    assert lines[0] == "en: split by speaker, because the official train and test share speakers"
    sides = {}
    for split in ("train", "val", "test"):
        for row in rows(out, split):
            assert sides.setdefault(row["client_id"], split) == split == speaker_side(row["client_id"])
    assert len(sides) == 5


def test_a_release_without_an_official_split(tmp_path):
    files = {name: data for name, data in release().items() if not name.endswith(("dev.tsv", "test.tsv"))}
    lines = download("common-voice", tmp_path / "out", archive=pack(tmp_path / "cv.tar.gz", files))
    assert lines[0] == "en: validated.tsv split by speaker; the release has no official split"


def test_the_split_by_speaker():
    sides = [speaker_side(f"speaker {n}") for n in range(5000)]
    assert 0.08 < sides.count("test") / 5000 < 0.12 and 0.08 < sides.count("val") / 5000 < 0.12


def test_rows_that_cannot_be_used(tmp_path):
    files = release()
    bad = [
        ("a", "../../etc/passwd", "path"),
        ("a", clip(1), ""),
        ("", clip(2), "no speaker"),
        ("a", clip(3), "text"),
        ("a", clip(0), "again"),
        ("a", "missing.mp3", "missing"),
        ("a", "link.mp3", "a link"),
        ("a", "large.mp3", "large"),
    ]
    root = "cv-corpus-22.0/en"
    files[f"{root}/train.tsv"] = table([("a", clip(0), "good"), *bad])
    files[f"{root}/clips/{clip(3)}"] = b"<html>not a sound"
    files[f"{root}/clips/large.mp3"] = bytes(50_000)
    files[f"{root}/other/{clip(1)}"] = sound(1)
    archive = pack(tmp_path / "cv.tar.gz", files, links={f"{root}/clips/link.mp3": "/etc/passwd"})
    out = tmp_path / "out"
    download_common_voice(archive, out, max_bytes=40_000)
    assert [row["caption"] for row in rows(out, "train")] == ["good"]
    found = reasons(out)
    assert "an HTML page" in found.pop(clip(3))
    assert found == {
        "../../etc/passwd": "the path is no file name",
        clip(1): "the sentence is empty",
        clip(2): "the client_id is missing",
        clip(0): "the clip stands twice",
        "missing.mp3": "the clip is missing",
        "link.mp3": "the clip is missing",
        "large.mp3": "the clip is larger than 0.0381 MiB",
    }


def test_a_link_out_of_a_folder(tmp_path):
    folder = unpack(tmp_path / "unpacked", release())
    (tmp_path / "secret.mp3").write_bytes(sound(9))
    place = folder / "cv-corpus-22.0/en/clips" / clip(0)
    place.unlink()
    place.symlink_to(tmp_path / "secret.mp3")
    download("common-voice", tmp_path / "out", archive=folder)
    assert reasons(tmp_path / "out") == {clip(0): f"the clip is a link out of {folder}"}


def test_only_some_rows_of_each_table(tmp_path):
    download("common-voice", tmp_path / "out", archive=pack(tmp_path / "cv.tar.gz", release()), limit=2)
    assert [len(rows(tmp_path / "out", split)) for split in ("train", "val", "test")] == [2, 1, 1]


def test_several_languages(tmp_path):
    archive = pack(tmp_path / "cv.tar.gz", release() | release("uvwxyz", "de"))
    with pytest.raises(ConfigError, match="several languages; choose with --language: de, en"):
        download("common-voice", tmp_path / "out", archive=archive)
    with pytest.raises(ConfigError, match="has no language 'fr'"):
        download("common-voice", tmp_path / "out", archive=archive, language="fr")
    download("common-voice", tmp_path / "out", archive=archive, language="de")
    assert [row["client_id"] for row in rows(tmp_path / "out", "train")] == list("uvwx")


def test_a_damaged_archive(tmp_path):
    archive = pack(tmp_path / "cv.tar.gz", release() | {"z": os.urandom(100_000)})
    whole = archive.read_bytes()
    for size in (0, 10, len(whole) // 3, len(whole) - 50_000):
        archive.write_bytes(whole[:size])
        with pytest.raises(DataError, match=r"damaged or incomplete after .*\n.*Download the archive again"):
            download("common-voice", tmp_path / "out", archive=archive)
    assert not list((tmp_path / "out").glob("[!.]*"))


def test_what_is_no_release(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        download("common-voice", tmp_path / "out", archive=tmp_path / "none.tar.gz")
    with pytest.raises(DataError, match="is this a Common Voice release"):
        download("common-voice", tmp_path / "out", archive=pack(tmp_path / "a.tar.gz", {"a/b.txt": b"x"}))
    with pytest.raises(ConfigError, match=r"needs --archive(.|\n)*hub are gone"):
        download("common-voice", tmp_path / "out")
    files = {"cv/en/train.tsv": table([], ("client_id", "path"))}
    with pytest.raises(DataError, match="no column 'sentence'; it has client_id, path"):
        download("common-voice", tmp_path / "out", archive=pack(tmp_path / "b.tar.gz", files))
    files = {"cv/en/validated.tsv": table([("a", "x.mp3", "text")])}
    with pytest.raises(DataError, match="no clip of en can be used"):
        download("common-voice", tmp_path / "out", archive=pack(tmp_path / "c.tar.gz", files))
