from __future__ import annotations

import os
from pathlib import Path

import pytest

from edge_glass.core.files import atomic_file, atomic_folder, write_whole


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_file_appears_only_when_the_block_succeeds(tmp_path):
    target = tmp_path / "new" / "file.txt"
    with atomic_file(target) as temporary:
        temporary.write_text("one")
        assert not target.exists()
    assert target.read_text() == "one"
    with pytest.raises(RuntimeError), atomic_file(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert target.read_text() == "one"
    assert names(target.parent) == ["file.txt"]


def test_text_and_bytes_are_written_whole(tmp_path):
    write_whole(tmp_path / "new" / "file", "half a pair: \ud800\n")
    assert (tmp_path / "new" / "file").read_bytes() == b"half a pair: ?\n"
    write_whole(tmp_path / "new" / "file", b"\xff")
    assert (tmp_path / "new" / "file").read_bytes() == b"\xff"
    assert names(tmp_path / "new") == ["file"]


def test_the_folder_appears_only_when_the_block_succeeds(tmp_path):
    target = tmp_path / "runs" / "model"
    for content in ("one", "two"):
        with atomic_folder(target) as temporary:
            (temporary / "below").mkdir()
            (temporary / "below" / content).write_text(content)
            assert temporary.parent == target.parent
            assert not (target / "below" / content).exists()
        assert names(target / "below") == [content]
        assert names(target.parent) == ["model"]
    with pytest.raises(RuntimeError), atomic_folder(target) as temporary:
        (temporary / "half").touch()
        raise RuntimeError
    assert names(target / "below") == ["two"]
    assert names(target.parent) == ["model"]


def test_the_old_folder_comes_back_when_the_new_one_cannot_take_its_place(tmp_path, monkeypatch):
    target = tmp_path / "model"
    target.mkdir()
    (target / "old").touch()
    rename, calls = os.rename, []

    def second_fails(*args, **kwargs):
        calls.append(args)
        if len(calls) == 2:
            raise OSError("no")
        rename(*args, **kwargs)

    monkeypatch.setattr(os, "rename", second_fails)
    with pytest.raises(OSError, match="no"), atomic_folder(target):
        pass
    assert len(calls) == 3
    assert names(target) == ["old"] and names(tmp_path) == ["model"]


def test_what_a_killed_process_left_is_removed(tmp_path):
    for name in (".tmp-model", ".tmp-model-123", ".tmp-model-123-old", ".tmp-model-two-123", ".tmp-mode-1"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "half").touch()
    with atomic_folder(tmp_path / "model"):
        pass
    assert names(tmp_path) == [".tmp-mode-1", ".tmp-model-two-123", "model"]


def test_of_several_processes_the_first_keeps_a_folder_that_is_not_replaced(tmp_path):
    other = tmp_path / ".tmp-model-1"  # a process that is still writing
    other.mkdir()
    with pytest.raises(OSError), atomic_folder(tmp_path / "model", replace=False) as temporary:
        (temporary / "mine").touch()
        (other / "theirs").touch()
        other.rename(tmp_path / "model")
    assert names(tmp_path / "model") == ["theirs"] and names(tmp_path) == ["model"]
