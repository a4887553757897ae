"""Sides of a benchmark that take turns, each in a process of its own, and what a step of theirs takes."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

AT_ONCE = {"MALLOC_MMAP_THRESHOLD_": "131072", "MALLOC_TRIM_THRESHOLD_": "131072"}
"""For glibc: memory goes back when it is freed, so that nothing else is counted."""


class Step(NamedTuple):
    """What a step took: seconds, bytes at the highest beyond those at rest, and what it returned."""

    seconds: float
    extra: int
    value: Any


def measure(
    serve: Callable[[str, dict[str, Any], Connection], None],
    sides: Sequence[str],
    options: dict[str, Any],
    rounds: int,
    environment: dict[str, str],
) -> tuple[dict[str, list[Step]], dict[str, Any]]:
    """Steps of all sides, in turns.

    Args:
        serve: One side, given its name, `options` and a pipe: it sends something when it is ready, and a
            `Step` whenever "step" arrives, until something else does.
        sides: Their names.
        options: Of the benchmark.
        rounds: Steps of each side.
        environment: Variables that the processes start with.

    Returns:
        By side: its steps, and what it sent when it was ready.
    """
    context = multiprocessing.get_context("spawn")
    pipes: dict[str, Connection] = {}
    os.environ.update(environment)
    for side in sides:
        pipes[side], theirs = context.Pipe()
        context.Process(target=serve, args=(side, options, theirs), daemon=True).start()
    for name in environment:
        del os.environ[name]
    ready = {side: pipes[side].recv() for side in sides}
    steps: dict[str, list[Step]] = {side: [] for side in sides}
    for _ in range(rounds):
        for side in sides:
            pipes[side].send("step")
            steps[side].append(pipes[side].recv())
    for side in sides:
        pipes[side].send("stop")
    return steps, ready


def watch(step: Callable[[], Any], rest: int) -> Step:
    """Take a step; `rest` is the memory that the process held before its first one, in bytes."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # forgets the highest so far
    start = time.perf_counter()
    value = step()
    return Step(time.perf_counter() - start, memory("VmHWM") - rest, value)


def memory(name: str) -> int:
    """A line of this process's status, in bytes: VmRSS now, VmHWM at the highest."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc/self/status has no {name}")
