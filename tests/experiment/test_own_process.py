"""A function in a process of its own: what it leaves, how it fails, and what signals it hears."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from edge_glass.core.errors import CheckpointError, EdgeGlassError, TrainingError
from edge_glass.experiment.own_process import in_own_process
from patience import PATIENCE

# Not slow: a fresh process that imports this file takes a second.


def write_process(file: Path, text: str) -> None:
    """Says who it is."""
    file.write_text(f"{text} {os.getpid()} {os.getpgid(0)}")


def write_levels(file: Path) -> None:
    """How much is told there."""
    names = ("edge_glass", "bitsandbytes")
    file.write_text(" ".join(logging.getLevelName(logging.getLogger(name).level) for name in names))


def fail(what: str) -> None:
    """In the way that is asked for."""
    if what == "user":
        raise CheckpointError("step-000004: cut short.\nDelete it.")
    if what == "bug":
        raise ZeroDivisionError
    os.kill(os.getpid(), signal.SIGKILL)


def wait_for_signal(folder: Path) -> None:
    """As a run does: note a signal, finish, say so with 128 + its number."""
    heard: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda number, frame: heard.append(number))
    (folder / "ready").touch()
    deadline = time.monotonic() + PATIENCE
    while not heard and time.monotonic() < deadline:
        time.sleep(0.01)
    error = EdgeGlassError(f"heard {heard}")
    error.exit_code = 128 + sum(heard)
    raise error


def test_it_tells_as_much_as_the_caller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.getLogger("edge_glass"), "level", logging.INFO)
    monkeypatch.setattr(logging.getLogger("bitsandbytes"), "level", logging.ERROR)
    in_own_process(write_levels, tmp_path / "said")
    assert (tmp_path / "said").read_text() == "INFO ERROR"


def test_it_is_another_process_outside_of_the_terminals_group(tmp_path: Path) -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    assert in_own_process(write_process, tmp_path / "said", "here") is None
    said, process, group = (tmp_path / "said").read_text().split()
    assert said == "here" and int(process) != os.getpid() and process == group
    assert before == {number: signal.getsignal(number) for number in before}


def test_the_callers_script_is_not_run_again(tmp_path: Path) -> None:
    """A script without `if __name__ == "__main__"`: a fresh process would run it from the top."""
    script = tmp_path / "script.py"
    script.write_text(
        "import pathlib\n"
        "from edge_glass.experiment.own_process import in_own_process\n"
        "print('once')\n"
        "in_own_process(pathlib.Path.touch, pathlib.Path('made'))\n"
    )
    done = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "once\n"), done.stderr
    assert (tmp_path / "made").exists()


def test_an_error_of_a_user_arrives_whole() -> None:
    with pytest.raises(EdgeGlassError) as caught:
        in_own_process(fail, "user")
    assert str(caught.value) == "step-000004: cut short.\nDelete it."
    assert caught.value.exit_code == CheckpointError.exit_code != TrainingError.exit_code


@pytest.mark.parametrize(("what", "code"), [("bug", 1), ("killed", -9)])
def test_a_process_that_dies(what: str, code: int) -> None:
    with pytest.raises(TrainingError, match=f"ended with code {code};"):
        in_own_process(fail, what)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signals_are_passed_on(tmp_path: Path, number: int) -> None:
    def send_when_ready() -> None:
        while not (tmp_path / "ready").exists():
            time.sleep(0.01)
        os.kill(os.getpid(), number)

    sender = threading.Thread(target=send_when_ready, daemon=True)
    sender.start()
    with pytest.raises(EdgeGlassError, match=rf"heard \[.*{int(number)}") as caught:
        in_own_process(wait_for_signal, tmp_path)
    assert caught.value.exit_code == 128 + number


def wait_without_listening(folder: Path) -> None:
    """As a run that still loads its model."""
    (folder / "ready").touch()
    time.sleep(30)


def test_a_signal_before_the_run_listens_is_no_failure(tmp_path: Path) -> None:
    def interrupt() -> None:
        while not (tmp_path / "ready").exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=interrupt).start()
    with pytest.raises(EdgeGlassError, match="interrupted before a run began") as caught:
        in_own_process(wait_without_listening, tmp_path)
    assert caught.value.exit_code == 143
