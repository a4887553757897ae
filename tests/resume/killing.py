"""Runs of the real command line in processes of their own, which can be killed at chosen moments.

Processes are forked from a server that has imported the heavy libraries once: a run then takes a second.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from edge_glass.assets import cache_root
from edge_glass.training.checkpoint import list_checkpoints, problems
from patience import PATIENCE

CONFIG = Path(__file__).parents[2] / "configs" / "quickstart.yaml"
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(
    ["edge_glass.experiment.run", "edge_glass.training.loop", "timm", "sentence_transformers", "sklearn"]
)


def command_line(arguments: list[str], home: str, log: str, threads: int | None) -> None:
    """What such a process does. It leads a group, to which its data workers belong."""
    os.setpgid(0, 0)
    multiprocessing.set_start_method(
        "fork", force=True
    )  # of data workers; else the server's way is inherited
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.environ["EDGE_GLASS_HOME"] = home
    import torch

    from edge_glass.cli import main

    if threads is not None:
        torch.set_num_threads(threads)
    sys.argv = ["edge-glass", *arguments]
    main()


@dataclass
class Run:
    """One experiment in one folder, through as many processes as it takes."""

    folder: Path
    options: list[str]
    config: Path = CONFIG
    tiny: bool = True
    threads: int | None = 1
    log: Path = field(init=False)

    def __post_init__(self) -> None:
        self.log = self.folder.with_suffix(".log")

    def start(self, *, resume: bool = True) -> BaseProcess:
        """`edge-glass train CONFIG [--tiny] [--resume] …` in a new process."""
        arguments = ["train", str(self.config), "--output", str(self.folder), *self.options]
        arguments += ["--tiny"] * self.tiny + ["--resume"] * resume
        settings = (arguments, str(cache_root()), str(self.log), self.threads)
        process = SERVER.Process(target=command_line, args=settings)
        process.start()
        return process

    def finish(self, *, resume: bool = True) -> None:
        """Run to the end of `results.json`; the pages and plots that come after it are not waited for."""
        process = self.start(resume=resume)
        reached = wait_until(process, (self.folder / "results.json").exists)
        end(process)
        assert reached, self.said()

    def logged(self) -> int:
        """Lines of metrics.jsonl so far."""
        file = self.folder / "metrics.jsonl"
        return file.read_bytes().count(b"\n") if file.exists() else 0

    def saving(self, process: BaseProcess) -> bool:
        """Whether this process is writing a checkpoint right now (others may have left one half-written)."""
        return next((self.folder / "checkpoints").glob(f".tmp-*-{process.pid}"), None) is not None

    def said(self) -> str:
        """Everything its processes printed."""
        return self.log.read_text() if self.log.exists() else ""

    def steps(self) -> list[int]:
        """Steps of its checkpoints, newest first."""
        found = list_checkpoints(self.folder / "checkpoints")
        return [int(path.name.removeprefix("step-")) for path in found]

    def whole_steps(self) -> list[int]:
        """Those of `steps` whose checkpoint is whole."""
        folder = self.folder / "checkpoints"
        return [step for step in self.steps() if problems(folder / f"step-{step:06d}") is None]

    def outcome(self) -> dict[str, Any]:
        """Everything that must be equal in two runs of one experiment: all but the clock."""
        results = json.loads((self.folder / "results.json").read_text())
        del results["seconds"], results["cost"]
        lines = [json.loads(line) for line in (self.folder / "metrics.jsonl").read_text().splitlines()]
        for line in lines:
            del line["time"]
        weights = (self.folder / "model" / "heads.safetensors").read_bytes()
        return {"weights": weights, "metrics": lines, "results": results}


def wait_until(process: BaseProcess, condition: Callable[[], bool]) -> bool:
    """Wait for a condition, which is looked at every half millisecond; False if the process ends first."""
    deadline = time.monotonic() + PATIENCE
    while process.is_alive():
        if condition():
            return True
        if time.monotonic() > deadline:
            end(process)
            raise TimeoutError("the run hangs")
        time.sleep(0.0005)
    return condition()


def end(process: BaseProcess) -> int | None:
    """SIGKILL the process and its data workers; returns its exit code."""
    if process.is_alive() and process.pid is not None:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:  # not a group yet
            process.kill()
    process.join()
    return process.exitcode


def kill_at_line(
    run: Run, line: int, *, resume: bool = True, chance: random.Random, within: float = 0.03
) -> bool:
    """SIGKILL some moment `within` seconds after that many lines are logged; False if the run ended first."""
    log = run.folder / "metrics.jsonl"
    before = log.stat().st_ino if log.exists() else None
    process = run.start(resume=resume)
    # A resumed run first takes lines back, into a new file: it has to come to this line again.
    wait_until(process, lambda: log.exists() and log.stat().st_ino != before)
    reached = wait_until(process, lambda: run.logged() >= line)
    time.sleep(chance.random() * within)
    end(process)
    return reached and not (run.folder / "results.json").exists()


def kill_while_saving(run: Run, *, resume: bool = True) -> bool:
    """SIGKILL in the middle of writing a checkpoint: the process is held still to make sure that it is."""
    process = run.start(resume=resume)
    while wait_until(process, lambda: run.saving(process)) and process.pid is not None:
        os.kill(process.pid, signal.SIGSTOP)
        if run.saving(process):
            end(process)
            return True
        os.kill(process.pid, signal.SIGCONT)
    return False


def signal_at_line(run: Run, line: int, number: int, *, group: bool = False) -> int | None:
    """Start a new run, send a signal after that many lines, and return the exit code."""
    process = run.start(resume=False)
    if wait_until(process, lambda: run.logged() >= line) and process.pid is not None:
        (os.killpg if group else os.kill)(process.pid, number)
    return exit_code(process)


def exit_code(process: BaseProcess) -> int | None:
    """Wait for the end of a process; None if it hangs, and it is killed then."""
    process.join(PATIENCE)
    code = process.exitcode
    end(process)
    return code
