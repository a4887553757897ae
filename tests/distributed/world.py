"""Runs a function on several gloo processes, as torchrun would start them, and collects what they return."""

from __future__ import annotations

import multiprocessing
import os
import socket
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from edge_glass.core import liveness
from edge_glass.core.distributed import processes
from patience import PATIENCE

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(
    ["edge_glass.training.loop", "edge_glass.experiment.run", "timm", "sklearn", "world"]
)


class Died(Exception):
    """What is left of a process that raised or was killed: its exit code, or the text of its error."""


def run_ranks(
    function: Callable[..., Any],
    *args: Any,
    world_size: int = 2,
    timeout: float = PATIENCE,
    grace: float = PATIENCE,
) -> list[Any]:
    """The results of `function(*args)` in rank order; a `Died` for a process that did not return.

    Every process is killed when the time is over, or `grace` seconds after one of them has ended.
    """
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        started = [
            _context.Process(target=_rank, args=(rank, world_size, port, folder, function, args))
            for rank in range(world_size)
        ]
        for process in started:
            process.start()
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline and any(process.is_alive() for process in started):
            if not all(process.is_alive() for process in started):
                deadline = min(deadline, time.monotonic() + grace)
                grace = timeout
            time.sleep(0.02)
        for process in started:
            process.kill()
            process.join()
        return [_result(Path(folder), rank, process.exitcode) for rank, process in enumerate(started)]


def run_well(function: Callable[..., Any], *args: Any, **options: Any) -> list[Any]:
    """As `run_ranks`, and nobody died."""
    results = run_ranks(function, *args, **options)
    died = [result for result in results if isinstance(result, Died)]
    assert not died, "\n".join(map(str, died))
    return results


def free_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _rank(
    rank: int, world_size: int, port: int, folder: str, function: Callable[..., Any], args: Any
) -> None:
    os.environ |= {
        "RANK": str(rank),
        "WORLD_SIZE": str(world_size),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "OMP_NUM_THREADS": "1",
    }
    torch.set_num_threads(1)
    liveness.SILENT_SECONDS = 2.5
    os.dup2(os.open(Path(folder) / f"{rank}.err", os.O_WRONLY | os.O_CREAT), 2)
    try:
        with processes("cpu", timeout_seconds=PATIENCE):
            result = function(*args)
    except BaseException as error:
        result = Died(f"{type(error).__name__}: {error}\n{traceback.format_exc()}")
    torch.save(result, Path(folder) / f"{rank}.pt")


def _result(folder: Path, rank: int, exit_code: int | None) -> Any:
    file = folder / f"{rank}.pt"
    if exit_code == 0 and file.exists():
        return torch.load(file, weights_only=False)
    said = (folder / f"{rank}.err").read_text()
    return Died(f"rank {rank} ended with exit code {exit_code}\n{said}")
