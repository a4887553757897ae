from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from picture_server import FAST, png

from edge_glass.core.errors import ConfigError, DataError
from edge_glass.corpora.downloading.downloads import download


def conversation(*words: str) -> list[dict[str, str]]:
    return [{"from": "gpt" if n % 2 else "human", "value": text} for n, text in enumerate(words)]


SPOKEN = [{"role": role, "content": role} for role in ("system", "user", "assistant")]


def write(file: Path, rows: list[dict]) -> Path:
    file.write_text(json.dumps(rows), encoding="utf-8")
    return file


def records(folder: Path) -> list[tuple]:
    rows = pq.read_table(folder / "train.parquet").to_pylist()
    return [(row["id"], row["image_bytes"], row["question"], row["answer"], row["source"]) for row in rows]


def reasons(folder: Path) -> dict[int, str]:
    with (folder / "rejects.csv").open(newline="", encoding="utf-8") as stream:
        return {int(row["row"]): row["reason"] for row in csv.DictReader(stream)}


def test_pictures_by_url(server, tmp_path):
    rows = [
        {"image": server.url("picture/1"), "conversations": conversation("<image>\nWhat?", "One.")},
        {"image": "/picture/2", "conversations": conversation("A?", "B.", "C?", "D.")},
        {"image": "picture/3", "messages": SPOKEN},
        {"conversations": conversation("No picture?", "None.")},
        {"image": ["a", "b"], "conversations": conversation("Two?", "Yes.")},
        {"image": "picture/4", "conversations": conversation("<image>", "Nothing was asked.")},
        {"image": "picture/4", "conversations": [{"from": "robot", "value": "x"}]},
        {"image": "picture/4", "conversations": []},
        {"image": "html", "conversations": conversation("A?", "B.")},
    ]  # fmt: skip
    out = tmp_path / "out"
    file = write(tmp_path / "llava_mix.json", rows)
    download("instruction", out, FAST, annotations=[file], image_url_prefix=server.url(""))
    assert records(out) == [
        ("0", png(1), "[USER] What?", "[ASSISTANT] One.", "llava_mix"),
        ("1", png(2), "[USER] A?", "[ASSISTANT] B.", "llava_mix"),
        ("1.1", png(2), "[USER] C?", "[ASSISTANT] D.", "llava_mix"),
        ("2", png(3), "[USER] user", "[ASSISTANT] assistant", "llava_mix"),
    ]
    found = reasons(out)
    assert "HTML page" in found.pop(8)
    assert found == {
        3: "the row has no picture",
        4: "the row has several pictures",
        5: "the question is empty",
        6: "unknown speaker 'robot' in the conversation",
        7: "the conversation is missing",
    }
    assert not server.hits["picture/4"]


def test_names_without_a_place(server, tmp_path):
    rows = [
        {"image": name, "conversations": conversation("A?", "B.")}
        for name in ("a.png", server.url("picture/1"))
    ]
    download("instruction", tmp_path / "out", FAST, annotations=[write(tmp_path / "a.json", rows)])
    assert len(records(tmp_path / "out")) == 1
    assert reasons(tmp_path / "out") == {
        0: "the picture 'a.png' is no URL; give --image-root or --image-url-prefix"
    }


def test_names_with_other_letters(server, tmp_path):
    rows = [{"image": "ä b?c/d.png", "conversations": conversation("A?", "B.")}]
    file = write(tmp_path / "a.json", rows)
    download("instruction", tmp_path / "out", FAST, annotations=[file], image_url_prefix=server.url("named/"))
    assert list(server.hits) == ["named/%C3%A4%20b%3Fc/d.png"]
    assert len(records(tmp_path / "out")) == 1


def test_pictures_in_a_folder(tmp_path):
    root = tmp_path / "pictures"
    (root / "sub").mkdir(parents=True)
    (root / "sub" / "ü.png").write_bytes(png(1))
    (root / "half.png").write_bytes(png(2)[:-30])
    (root / "page.png").write_text("<html>")
    (root / "large.bmp").write_bytes(bytes(FAST.max_bytes + 1))
    (tmp_path / "secret.png").write_bytes(png(3))
    (root / "link.png").symlink_to(tmp_path / "secret.png")
    os.mkfifo(root / "pipe.png")
    names = ["sub/ü.png", "half.png", "page.png", "large.bmp", "../secret.png", "link.png", "pipe.png",
             "none.png", "\0", "sub", str(tmp_path / "secret.png"), "x" * 5000]  # fmt: skip
    rows = [{"image": name, "conversations": conversation("A?", "B.")} for name in names]
    out = tmp_path / "out"
    lines = download(
        "instruction", out, FAST, annotations=[write(tmp_path / "a.json", rows)], image_root=root
    )
    assert records(out) == [("0", png(1), "[USER] A?", "[ASSISTANT] B.", "a")]
    found = reasons(out)
    assert sorted(found) == list(range(1, 12))
    assert "cannot be decoded" in found[1] and "no picture can be read" in found[2]
    assert found[3] == "larger than 0.191 MiB"
    assert found[4] == found[5] == found[10] == f"the file lies outside {root}"
    assert found[6] == found[7] == found[9] == "the file does not exist"
    assert "cannot be read" in found[8] and "cannot be read" in found[11]
    assert not (out / "parts").exists() and "1 rows from 1 of 12" in lines[0]


def test_repeated_pictures_take_little_room(tmp_path):
    (tmp_path / "a.bmp").write_bytes(b"BM")
    noise = os.urandom(64 * 64 * 3)
    from PIL import Image

    Image.frombytes("RGB", (64, 64), noise).save(tmp_path / "a.bmp")
    rows = [{"image": "a.bmp", "conversations": conversation(*["A?", "B."] * 20)}]
    out = tmp_path / "out"
    download("instruction", out, FAST, annotations=[write(tmp_path / "a.json", rows)], image_root=tmp_path)
    assert len(records(out)) == 20
    assert (out / "train.parquet").stat().st_size < 3 * len(noise)


def test_wrong_options(tmp_path):
    with pytest.raises(ConfigError, match="needs --annotations FILE"):
        download("instruction", tmp_path)
    file = write(tmp_path / "a.json", [{"image": "a", "conversations": []}])
    with pytest.raises(ConfigError, match="--image-root or --image-url-prefix, not both"):
        download(
            "instruction", tmp_path, annotations=[file], image_root=tmp_path, image_url_prefix="http://a/"
        )
    with pytest.raises(DataError, match="no such folder"):
        download("instruction", tmp_path, annotations=[file], image_root=tmp_path / "none")
    with pytest.raises(DataError, match="no column 'conversations' or 'messages'; it has text"):
        download("instruction", tmp_path, annotations=[write(tmp_path / "b.json", [{"text": "t"}])])
