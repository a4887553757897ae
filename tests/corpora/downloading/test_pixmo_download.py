from __future__ import annotations

import csv
import hashlib
import json
import math
import random
import re
import signal
import socket
import threading
from dataclasses import replace
from pathlib import Path

import download_process
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from picture_server import FAST, png

from edge_glass.core.errors import AssetError, ConfigError, DataError
from edge_glass.corpora.downloading import running, writing
from edge_glass.corpora.downloading.downloads import download
from edge_glass.corpora.downloading.journal import open_journal
from edge_glass.corpora.downloading.stopping import alone_in
from edge_glass.data.parquet import read_parquet
from patience import PATIENCE, wait_for


def write_index(file: Path, rows: list[dict]) -> Path:
    if file.suffix == ".jsonl":
        file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    else:
        pq.write_table(pa.Table.from_pylist(rows), file)
    return file


def captions(server, numbers) -> list[dict]:
    return [{"image_url": server.url(f"picture/{n}"), "caption": f"Number {n}."} for n in numbers]


def records(folder: Path) -> list[dict]:
    return pq.read_table(folder / "train.parquet").to_pylist()


def rejects(folder: Path) -> list[dict]:
    with (folder / "rejects.csv").open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_captions(server, tmp_path):
    rows = captions(server, range(40))
    rows[3]["image_url"] = server.url("html")
    rows[7]["caption"] = "\u200b "
    rows[9] = {"image_url": None, "caption": "no picture"}
    rows[11]["image_url"] = server.url("status/404")
    rows[12]["caption"] = None
    rows[20]["image_url"] = rows[19]["image_url"]
    index = write_index(tmp_path / "index.parquet", rows)
    out = tmp_path / "out"
    lines = download("pixmo-cap", out, FAST, index=[index])
    kept = [n for n in range(40) if n not in (3, 7, 9, 11, 12)]
    found = records(out)
    assert [row["id"] for row in found] == [str(n) for n in kept]
    for n, row in zip(kept, found, strict=True):
        data = png(19 if n == 20 else n)
        assert row["image_bytes"] == data and row["caption"] == f"Number {n}."
        assert row["sha256"] == hashlib.sha256(data).hexdigest()
        assert row["image_url"] == rows[n]["image_url"]
    assert server.hits["picture/19"] == 1, "one URL in two rows is fetched once"
    assert "picture/7" not in server.hits, "a row without a caption needs no picture"
    assert [(row["row"], row["attempts"]) for row in rejects(out)] == [
        ("3", "1"), ("7", "0"), ("9", "0"), ("11", "1"), ("12", "0"),
    ]  # fmt: skip
    reasons = [row["reason"] for row in rejects(out)]
    assert "HTML page" in reasons[0] and reasons[1] == "the caption is empty"
    assert reasons[2:] == ["the URL is missing", "status 404 Not Found", "the caption is missing"]
    assert "35 rows from 35 of 40 rows of the index" in "\n".join(lines)
    assert "image_url, caption" in (out / "README.md").read_text()
    table = read_parquet(out / "train.parquet", id_column="id")
    assert len(table) == 35 and not table.rejected


def test_transcripts_and_published_hashes(server, tmp_path):
    rows = captions(server, range(3))
    for n, row in enumerate(rows):
        row |= {
            "transcripts": [" spoken ", "", f"words {n}"],
            "image_sha256": hashlib.sha256(png(n)).hexdigest(),
        }
    rows[1]["image_sha256"] = "f" * 64
    rows.append(rows[0] | {"image_sha256": "none"})
    out = tmp_path / "out"
    download("pixmo-cap", out, FAST, index=[write_index(tmp_path / "a.jsonl", rows)])
    assert [row["transcripts"] for row in records(out)] == [["spoken", "words 0"], ["spoken", "words 2"]]
    assert rejects(out)[0]["reason"].endswith(f"published is {'f' * 64}")
    assert rejects(out)[1]["reason"] == "the SHA-256 'none' is none"


def test_questions(server, tmp_path):
    url = server.url("picture/1")
    rows = [
        {"image_url": url, "question": "[USER] What number?", "answer": "One."},
        {"image_url": url, "messages": ["First?", "Yes.", "Second?", "[ASSISTANT] No."]},
        {
            "image_url": url,
            "messages": [{"role": "user", "content": "A?"}, {"role": "assistant", "content": "B."}],
        },
        {"image_url": url, "messages": ["Left without an answer?"]},
        {"image_url": url, "question": "Q?", "answer": " "},
    ]
    out = tmp_path / "out"
    download("pixmo-cap-qa", out, FAST, index=[write_index(tmp_path / "a.jsonl", rows)])
    found = [(row["id"], row["question"], row["answer"]) for row in records(out)]
    assert found == [
        ("0", "[USER] What number?", "[ASSISTANT] One."),
        ("1", "[USER] First?", "[ASSISTANT] Yes."),
        ("1.1", "[USER] Second?", "[ASSISTANT] No."),
        ("2", "[USER] A?", "[ASSISTANT] B."),
    ]
    assert {row["source"] for row in records(out)} == {"pixmo-cap-qa"}
    assert [row["reason"] for row in rejects(out)] == [
        "the conversation does not alternate between user and assistant: user",
        "the answer is empty",
    ]


def test_the_result_does_not_depend_on_the_order_of_arrival(server, tmp_path):
    index = write_index(tmp_path / "a.parquet", captions(server, range(60)))
    digests = set()
    for workers in (1, 16):
        out = tmp_path / f"out{workers}"
        download("pixmo-cap", out, replace(FAST, workers=workers, per_host=workers), index=[index])
        digests.add(hashlib.sha256((out / "train.parquet").read_bytes()).hexdigest())
    assert len(digests) == 1


def test_a_host_gets_few_connections_at_once(server, tmp_path):
    server.delay = 0.02
    index = write_index(tmp_path / "a.parquet", captions(server, range(40)))
    download("pixmo-cap", tmp_path / "out", replace(FAST, workers=16, per_host=3), index=[index])
    assert server.most_active == 3


def test_a_second_call_goes_on(server, tmp_path):
    index = write_index(tmp_path / "a.parquet", captions(server, range(30)))
    out = tmp_path / "out"
    download("pixmo-cap", out, FAST, index=[index], limit=10)
    assert len(records(out)) == 10 and len(server.hits) == 10
    lines = download("pixmo-cap", out, FAST, index=[index], limit=30)
    assert len(records(out)) == 30 and set(server.hits.values()) == {1}
    assert lines[0].startswith("downloaded: 20 ok, 0 bad")
    lines = download("pixmo-cap", out, FAST, index=[index])
    assert lines[0] == "downloaded: nothing was left to download"
    assert set(server.hits.values()) == {1}


def test_what_failed_for_a_while_is_tried_again(server, tmp_path):
    paths = ["failing/3", "status/404", "picture/1"]
    index = write_index(tmp_path / "a.parquet", [{"image_url": server.url(p), "caption": p} for p in paths])
    out = tmp_path / "out"
    download("pixmo-cap", out, FAST, index=[index])
    assert [row["row"] for row in rejects(out)] == ["0", "1"]
    download("pixmo-cap", out, FAST, index=[index])
    assert [row["row"] for row in rejects(out)] == ["1"]
    assert (server.hits["status/404"], server.hits["picture/1"]) == (1, 1)
    download("pixmo-cap", out, FAST, index=[index], retry_rejected=True)
    assert (server.hits["status/404"], server.hits["picture/1"]) == (2, 1)


def test_parts_can_be_deleted(server, tmp_path):
    index = write_index(tmp_path / "a.parquet", captions(server, range(3)))
    out = tmp_path / "out"
    download("pixmo-cap", out, FAST, index=[index], delete_parts=True)
    assert sorted(path.name for path in out.glob("[!.]*")) == ["README.md", "rejects.csv", "train.parquet"]


def test_what_a_kill_left_half_written_is_removed(server, tmp_path):
    index = write_index(tmp_path / "a.parquet", captions(server, range(3)))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".train.parquet.0123abcd.part").write_bytes(b"half a file")
    download("pixmo-cap", tmp_path / "out", FAST, index=[index])
    assert not list((tmp_path / "out").glob("*.part"))


def test_a_damaged_part_is_fetched_again(server, tmp_path):
    index = write_index(tmp_path / "a.parquet", captions(server, range(5)))
    out = tmp_path / "out"
    download("pixmo-cap", out, FAST, index=[index])
    before = (out / "train.parquet").read_bytes()
    blob = out / "parts" / "pictures.bin"
    damaged = bytearray(blob.read_bytes())
    damaged[100] ^= 255
    blob.write_bytes(damaged)
    download("pixmo-cap", out, FAST, index=[index])
    assert (out / "train.parquet").read_bytes() == before
    assert sorted(server.hits.values()) == [1, 1, 1, 1, 2]


def whole(server, tmp_path: Path, index: Path) -> bytes:
    download("pixmo-cap", tmp_path / "whole", FAST, index=[index])
    server.hits.clear()
    return (tmp_path / "whole" / "train.parquet").read_bytes()


def wait_for_hits(server, number: int) -> None:
    wait_for(lambda: len(server.hits) >= number)


def test_kills_lose_what_was_in_flight_only(server, tmp_path):
    index = write_index(tmp_path / "a.parquet", captions(server, range(60)))
    expected = whole(server, tmp_path, index)
    out = tmp_path / "out"
    for number in (15, 40):
        server.most_answered = number
        process = download_process.start("pixmo-cap", out, index=[index])
        wait_for_hits(server, number + 1)
        process.kill()
        process.communicate()
        assert not (out / "train.parquet").exists()
    server.most_answered = math.inf
    process = download_process.start("pixmo-cap", out, index=[index])
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, errors
    assert (out / "train.parquet").read_bytes() == expected
    again = sum(hits - 1 for hits in server.hits.values())
    assert 0 < again <= 2 * (4 + 4), "4 on their way and 4 waiting to be written, twice"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_ctrl_c_stops_cleanly_and_says_how_to_go_on(server, tmp_path, number, code):
    index = write_index(tmp_path / "a.parquet", captions(server, range(30)))
    server.most_answered = 12  # whoever asks for the next ones waits for ever
    out = tmp_path / "out"
    process = download_process.start("pixmo-cap", out, index=[index])
    wait_for_hits(server, 13)
    process.send_signal(number)
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == code
    found = re.fullmatch(
        r"error: interrupted; (\d+) pictures are kept in \S+/parts\.\nContinue with the same command\.\n",
        errors,
    )
    assert found and 4 <= int(found[1]) < 30, errors
    with open_journal(out / "parts") as journal:
        assert journal.pictures == int(found[1])


def test_a_disk_that_is_full(server, tmp_path):
    """A limit on file sizes makes the kernel refuse real writes, first of the parts, then of the result."""
    rows = captions(server, range(60))
    for row in rows:
        row["caption"] = random.Random(row["caption"]).randbytes(400).hex()
    index = write_index(tmp_path / "a.parquet", rows)
    expected = whole(server, tmp_path, index)
    kept = max(file.stat().st_size for file in (tmp_path / "whole" / "parts").iterdir())
    assert len(expected) > kept + 2000, "a limit between the two cannot be chosen"
    out = tmp_path / "out"
    for limit in (kept // 2, len(expected) - 1000):
        process = download_process.start("pixmo-cap", out, file_size=limit, index=[index])
        _, errors = process.communicate(timeout=PATIENCE)
        assert process.returncode == 3, errors
        assert "the disk is full (File too large; " in errors and "continue with the same command" in errors
        assert "Traceback" not in errors and not (out / "train.parquet").exists()
        assert not [path for path in out.iterdir() if path.suffix == ".part"]
    process = download_process.start("pixmo-cap", out, index=[index])
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, errors
    assert (out / "train.parquet").read_bytes() == expected
    assert sum(hits - 1 for hits in server.hits.values()) <= 9


def test_without_a_network_it_stops_early(tmp_path, monkeypatch):
    monkeypatch.setattr(running, "_UNREACHABLE", 8)
    urls = [f"http://host{n}.invalid/a.png" for n in range(500)]
    index = write_index(tmp_path / "a.parquet", [{"image_url": url, "caption": "c"} for url in urls])
    asked = []

    def getaddrinfo(host, *args, **options):
        asked.append(host)
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with pytest.raises(
        DataError, match=r"URLs in a row cannot be reached .*is there a network\?\n0 pictures"
    ):
        download("pixmo-cap", tmp_path / "out", FAST, index=[index])
    assert len(set(asked)) < 50, "it stopped early"


def test_one_dead_site_does_not_stop_it(server, tmp_path, monkeypatch):
    monkeypatch.setattr(running, "_UNREACHABLE", 4)
    rows = [{"image_url": f"http://dead.invalid/{n}.png", "caption": "c"} for n in range(6)]
    index = write_index(tmp_path / "a.parquet", [*rows, *captions(server, range(3))])
    download("pixmo-cap", tmp_path / "out", FAST, index=[index])
    assert len(records(tmp_path / "out")) == 3


def test_large_pictures_make_small_row_groups(server, tmp_path, monkeypatch):
    monkeypatch.setattr(writing, "_GROUP_BYTES", 2 * len(png(0)))
    index = write_index(tmp_path / "a.parquet", captions(server, range(10)))
    download("pixmo-cap", tmp_path / "out", FAST, index=[index])
    assert pq.ParquetFile(tmp_path / "out" / "train.parquet").num_row_groups >= 4
    assert len(records(tmp_path / "out")) == 10


def test_two_at_the_same_output(server, tmp_path):
    index = write_index(tmp_path / "a.parquet", captions(server, range(3)))
    with alone_in(tmp_path / "out"), pytest.raises(DataError, match="another download writes"):
        download("pixmo-cap", tmp_path / "out", FAST, index=[index])


def test_no_usable_row(server, tmp_path):
    rows = [
        {"image_url": server.url("html"), "caption": "c"},
        {"image_url": server.url("status/404"), "caption": "c"},
    ]
    index = write_index(tmp_path / "a.parquet", rows)
    with pytest.raises(DataError, match=r"none of 2 rows can be used \(first: row 0: .*HTML"):
        download("pixmo-cap", tmp_path / "out", FAST, index=[index])
    assert len(rejects(tmp_path / "out")) == 2 and not (tmp_path / "out" / "train.parquet").exists()


def test_threads_end(server, tmp_path):
    index = write_index(tmp_path / "a.parquet", captions(server, range(3)))
    download("pixmo-cap", tmp_path / "out", FAST, index=[index])
    wait_for(lambda: not [each for each in threading.enumerate() if each.name.startswith("download-")])


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"url": "u", "text": "t"}], r"no column 'image_url'; it has url, text"),
        ([{"image_url": "u", "question": "q"}], r"no column 'question and answer' or 'messages'"),
        ([], "has no rows"),
    ],
)
def test_an_index_of_another_kind(tmp_path, rows, message):
    index = write_index(tmp_path / "a.jsonl", rows)
    with pytest.raises(DataError, match=message):
        download("pixmo-cap-qa", tmp_path / "out", FAST, index=[index])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.parquet", b"PAR1 but not really", "not a readable parquet file"),
        ("a.jsonl", b'{"image_url": "u", "caption": "c"}\n{"image', "line 2 is not JSON"),
        ("a.jsonl", b"[1]\n", "line 1 is no object"),
        ("a.json", b"\xff\xfe", "not JSON"),
        ("a.json", b'{"a": 1}', "expected a list of objects"),
    ],
)
def test_a_damaged_index(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        download("pixmo-cap", tmp_path / "out", FAST, index=[tmp_path / name])


def test_an_index_of_several_files_and_folders(server, tmp_path):
    (tmp_path / "data").mkdir()
    write_index(tmp_path / "data" / "b.parquet", captions(server, [2]))
    write_index(tmp_path / "data" / "a.parquet", captions(server, [1]))
    last = write_index(tmp_path / "c.jsonl", captions(server, [3]))
    download("pixmo-cap", tmp_path / "out", FAST, index=[tmp_path / "data", last])
    assert [(row["id"], row["caption"]) for row in records(tmp_path / "out")] == [
        ("0", "Number 1."), ("1", "Number 2."), ("2", "Number 3."),
    ]  # fmt: skip
    for missing in ("nothing", "empty"):
        (tmp_path / "empty").mkdir(exist_ok=True)
        with pytest.raises(DataError, match=r"no such file|no parquet files there"):
            download("pixmo-cap", tmp_path / "out", FAST, index=[tmp_path / missing])


def test_without_a_hub_the_way_out_is_named(tmp_path):
    with pytest.raises(AssetError, match=r"allenai/pixmo-cap could not be fetched(.|\n)*--index FILE"):
        download("pixmo-cap", tmp_path / "out", FAST)


def test_options_of_other_data_sets(tmp_path):
    with pytest.raises(ConfigError, match="--archive belongs to common-voice, not to pixmo-cap"):
        download("pixmo-cap", tmp_path, archive=tmp_path / "a.tar.gz")
    with pytest.raises(ConfigError, match="--image-root belongs to instruction, not to common-voice"):
        download("common-voice", tmp_path, image_root=tmp_path)
