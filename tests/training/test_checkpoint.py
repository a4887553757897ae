"""Checkpoints are whole or absent, whatever happens while one is written."""

from __future__ import annotations

import errno
import json
import logging
import multiprocessing
import os
import resource
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from edge_glass.core.errors import CheckpointError
from edge_glass.training import checkpoint
from edge_glass.training.checkpoint import (
    MANIFEST,
    drop_later_checkpoints,
    find_checkpoint,
    list_checkpoints,
    problems,
    prune_checkpoints,
    read_checkpoint,
    write_checkpoint,
)

WEIGHTS, STATE = "model.safetensors", "trainer_state.json"
FORK = multiprocessing.get_context("fork")


def tensors(step: int, size: int = 1000) -> dict[str, dict[str, torch.Tensor]]:
    """One file of weights whose values tell the step."""
    return {WEIGHTS: {"weight": torch.arange(size, dtype=torch.float32) + step, "scale": torch.tensor(step)}}


def write(root: Path, step: int, size: int = 1000) -> Path:
    """A checkpoint of `step`."""
    return write_checkpoint(root, step, tensors(step, size), {STATE: {"global_step": step}})


def in_child(work: Callable[[], Any]) -> int:
    """Exit code of a forked process that does `work`; 128 + N when signal N ended it."""
    process = FORK.Process(target=work)
    process.start()
    process.join(60)
    assert process.exitcode is not None, "the child hangs"
    return process.exitcode if process.exitcode >= 0 else 128 - process.exitcode


def flip_byte(file: Path) -> None:
    """Invert one byte in the middle."""
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0xFF
    file.write_bytes(content)


def test_round_trip(tmp_path: Path) -> None:
    folder = write(tmp_path, 7)
    assert folder == tmp_path / "step-000007"
    assert problems(folder) is None
    read, documents = read_checkpoint(folder)
    assert torch.equal(read[WEIGHTS]["weight"], tensors(7)[WEIGHTS]["weight"])
    assert read[WEIGHTS]["scale"].item() == 7
    assert documents[STATE] == {"global_step": 7}
    assert [path.name for path in tmp_path.iterdir()] == ["step-000007"]


def test_nothing_is_pickled(tmp_path: Path) -> None:
    names = {path.name for path in write(tmp_path, 1).iterdir()}
    assert names == {WEIGHTS, STATE, MANIFEST}


def test_a_tensor_that_is_a_view_is_written_alone(tmp_path: Path) -> None:
    big = torch.randn(100, 100)
    folder = write_checkpoint(tmp_path, 1, {WEIGHTS: {"column": big.t()[0]}}, {})
    assert (folder / WEIGHTS).stat().st_size < 2000
    assert torch.equal(read_checkpoint(folder)[0][WEIGHTS]["column"], big[:, 0])


# Killed while writing


class Point(NamedTuple):
    """The `nth` call of a function by the writer."""

    module: Any
    name: str
    nth: int

    def __str__(self) -> str:
        return f"{self.name}-{self.nth}"


POINTS = [
    *(Point(os, "fsync", nth) for nth in range(1, 6)),
    Point(os, "mkdir", 2),  # the first asks for the folder of all, which is there
    Point(os, "rename", 1),
    Point(checkpoint, "save_file", 1),
    Point(checkpoint, "_sha256", 1),
    Point(checkpoint, "_sha256", 2),
    Point(checkpoint, "_write_manifest", 1),
]


def die_at(point: Point, after: bool) -> None:
    """Make this process end, without any cleaning up, just before or just after a call."""
    original, calls = getattr(point.module, point.name), 0

    def deadly(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == point.nth and not after:
            os._exit(99)
        result = original(*args, **kwargs)
        if calls == point.nth:
            os._exit(99)
        return result

    setattr(point.module, point.name, deadly)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("point", POINTS, ids=str)
def test_killed_at_any_point_it_is_whole_or_absent(tmp_path: Path, point: Point, after: bool) -> None:
    write(tmp_path, 10)

    def work() -> None:
        die_at(point, after)
        write(tmp_path, 20)

    assert in_child(work) == 99, "the writer never came to this point"
    found = find_checkpoint(tmp_path)
    assert found is not None
    step = int(found.name.removeprefix("step-"))
    assert step in (10, 20)
    assert read_checkpoint(found)[0][WEIGHTS]["scale"].item() == step
    # And the next write goes through, and cleans up.
    assert problems(write(tmp_path, 20)) is None
    prune_checkpoints(tmp_path, 2)
    assert {path.name for path in tmp_path.iterdir()} == {"step-000010", "step-000020"}


def test_the_points_cover_absent_and_whole(tmp_path: Path) -> None:
    """Before the rename there is no new checkpoint, after it there is one."""
    outcomes = {}
    for after in (False, True):
        root = tmp_path / str(after)
        write(root, 10)

        def work(root: Path = root, after: bool = after) -> None:
            die_at(Point(os, "rename", 1), after)
            write(root, 20)

        assert in_child(work) == 99
        outcomes[after] = find_checkpoint(root)
    assert outcomes == {False: tmp_path / "False/step-000010", True: tmp_path / "True/step-000020"}


def test_killed_while_deleting_nothing_half_looks_whole(tmp_path: Path) -> None:
    write(tmp_path, 10)
    write(tmp_path, 20)

    def work() -> None:
        shutil.rmtree = lambda *args, **kwargs: os._exit(99)  # type: ignore[assignment]
        prune_checkpoints(tmp_path, 1)

    assert in_child(work) == 99
    assert problems(tmp_path / "step-000010") == f"{MANIFEST} is missing"
    assert find_checkpoint(tmp_path) == tmp_path / "step-000020"


# Damaged afterwards


def truncate(folder: Path) -> None:
    os.truncate(folder / WEIGHTS, (folder / WEIGHTS).stat().st_size - 1)


def empty(folder: Path) -> None:
    os.truncate(folder / STATE, 0)


DAMAGES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "truncated": (truncate, f"{WEIGHTS} has "),
    "emptied": (empty, f"{STATE} has 0 bytes"),
    "flipped weights": (lambda folder: flip_byte(folder / WEIGHTS), f"{WEIGHTS} does not match its hash"),
    "flipped state": (lambda folder: flip_byte(folder / STATE), f"{STATE} does not match its hash"),
    "no manifest": (lambda folder: (folder / MANIFEST).unlink(), f"{MANIFEST} is missing"),
    "no weights": (lambda folder: (folder / WEIGHTS).unlink(), f"{WEIGHTS} is missing"),
    "torn manifest": (lambda folder: os.truncate(folder / MANIFEST, 30), f"{MANIFEST} cannot be read"),
    "foreign manifest": (lambda folder: (folder / MANIFEST).write_text("[1]"), f"{MANIFEST} cannot be read"),
    "binary manifest": (
        lambda folder: (folder / MANIFEST).write_bytes(b"\xff\xfe\x00"),
        f"{MANIFEST} cannot be read",
    ),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_checkpoint_is_named_and_skipped(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    damage, reason = DAMAGES[name]
    write(tmp_path, 10)
    broken = write(tmp_path, 20)
    damage(broken)
    with caplog.at_level(logging.WARNING, logger="edge_glass"):
        assert find_checkpoint(tmp_path) == tmp_path / "step-000010"
    (message,) = [record.getMessage() for record in caplog.records]
    assert message.startswith(f"{broken} is skipped: {reason}")
    with pytest.raises(CheckpointError, match="step-000020 is not a complete checkpoint"):
        read_checkpoint(broken)


def test_all_broken_is_none(tmp_path: Path) -> None:
    for step in (10, 20):
        truncate(write(tmp_path, step))
    assert find_checkpoint(tmp_path) is None
    assert len(list_checkpoints(tmp_path)) == 2


def test_a_broken_checkpoint_is_replaced(tmp_path: Path) -> None:
    truncate(write(tmp_path, 10))
    assert problems(write(tmp_path, 10)) is None


def test_an_older_checkpoint_of_the_same_step_is_replaced(tmp_path: Path) -> None:
    """After `--resume` from an earlier step with other settings, step 10 is another step 10."""
    write(tmp_path, 10)
    write_checkpoint(tmp_path, 10, tensors(11), {STATE: {"global_step": 10}})
    assert read_checkpoint(tmp_path / "step-000010")[0][WEIGHTS]["scale"].item() == 11


# A full disk


def test_no_space_is_said_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, 10)
    usage = shutil.disk_usage(tmp_path)._replace(free=100_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(
        CheckpointError, match=r"no space left on the disk: 1.0 MiB needed, 0.1 MiB free"
    ) as caught:
        write(tmp_path, 20)
    assert caught.value.exit_code == 2
    assert "--resume" in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["step-000010"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("call", [1, 2, 3, 4])
def test_a_failing_disk_leaves_the_earlier_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, call: int
) -> None:
    write(tmp_path, 10)
    original, calls = os.fsync, 0

    def failing(descriptor: int) -> None:
        nonlocal calls
        calls += 1
        if calls == call:
            raise OSError(number, os.strerror(number))
        original(descriptor)

    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(CheckpointError, match=os.strerror(number)):
        write(tmp_path, 20)
    assert [path.name for path in tmp_path.iterdir()] == ["step-000010"]
    assert problems(tmp_path / "step-000010") is None


@pytest.mark.parametrize("limit", [0, 50, 1000, 3900, 4090])
def test_files_that_may_not_grow(tmp_path: Path, limit: int) -> None:
    """The kernel refuses the write in the middle of the weights, of the state or of the manifest."""
    write(tmp_path, 10)

    def work() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        try:
            write(tmp_path, 20)
        except CheckpointError as error:
            os._exit(error.exit_code)
        os._exit(0)

    assert in_child(work) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["step-000010"]
    assert problems(tmp_path / "step-000010") is None


def test_a_folder_that_may_not_be_written(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").write_text("a file, not a folder")
    with pytest.raises(CheckpointError, match="could not be written"):
        write(tmp_path / "checkpoints", 1)


# Which ones are kept


def steps(root: Path) -> list[int]:
    """Steps of the checkpoints there, newest first."""
    return [int(path.name.removeprefix("step-")) for path in list_checkpoints(root)]


def test_prune_keeps_the_newest_and_the_best(tmp_path: Path) -> None:
    for step in (10, 20, 30, 40, 50):
        write(tmp_path, step)
    prune_checkpoints(tmp_path, 2, [tmp_path / "step-000020"])
    assert steps(tmp_path) == [50, 40, 20]


def test_prune_deletes_what_killed_writers_left(tmp_path: Path) -> None:
    write(tmp_path, 10)
    (tmp_path / ".tmp-step-000020-123").mkdir()
    (tmp_path / ".tmp-step-000020-123" / WEIGHTS).write_bytes(b"half")
    (tmp_path / "notes").mkdir()
    prune_checkpoints(tmp_path, 2)
    assert {path.name for path in tmp_path.iterdir()} == {"step-000010", "notes"}


def test_order_is_by_step_not_by_name(tmp_path: Path) -> None:
    for step in (999_999, 1_000_000, 2):
        write(tmp_path, step)
    assert steps(tmp_path) == [1_000_000, 999_999, 2]
    assert find_checkpoint(tmp_path) == tmp_path / "step-1000000"


def test_what_comes_after_the_step_gone_back_to_is_dropped(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for step in (10, 20, 1_000_000):
        write(tmp_path, step)
    (tmp_path / ".tmp-step-000030-123").mkdir()
    with caplog.at_level(logging.WARNING, logger="edge_glass"):
        drop_later_checkpoints(tmp_path, 10)
    assert steps(tmp_path) == [10]
    assert not list(tmp_path.glob(".tmp-*"))
    assert "step-1000000 is deleted" in caplog.text and "from step 10" in caplog.text


def test_no_checkpoints_yet(tmp_path: Path) -> None:
    assert list_checkpoints(tmp_path / "none") == []
    assert find_checkpoint(tmp_path / "none") is None


def test_the_manifest_describes_every_file(tmp_path: Path) -> None:
    folder = write(tmp_path, 3)
    manifest = json.loads((folder / MANIFEST).read_text())
    assert manifest["step"] == 3
    assert set(manifest["files"]) == {WEIGHTS, STATE}
    assert manifest["files"][WEIGHTS]["size"] == (folder / WEIGHTS).stat().st_size
