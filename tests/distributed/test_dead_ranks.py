"""A rank that dies ends the run soon, with a message that names it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from training_runs import KILL, Run, checkpoints, execute
from world import Died, free_port, run_ranks

from edge_glass.core import distributed, liveness
from edge_glass.core.distributed import processes
from edge_glass.core.errors import ConfigError, DataError, TrainingError
from patience import PATIENCE

TESTS = Path(__file__).parent


@pytest.mark.slow
def test_a_killed_rank_is_named(tmp_path: Path) -> None:
    survivor, dead = run_ranks(execute, Run(tmp_path, batch_size=4, signals=[(1, 5, KILL)]))
    assert "exit code -9" in str(dead)
    assert isinstance(survivor, Died)
    message = str(survivor).splitlines()[0]
    assert message.startswith("TrainingError: a collective failed because a rank is gone: no sign of life")
    assert "from rank 1 (process " in message and os.uname().nodename in message
    assert checkpoints(tmp_path)[-1] == "step-000004"


@pytest.mark.slow
def test_the_rank_that_holds_the_rendezvous_is_killed(tmp_path: Path) -> None:
    """By hand, without torchrun: with rank 0 goes the place where ranks leave their heartbeats."""
    dead, survivor = run_ranks(execute, Run(tmp_path, batch_size=4, signals=[(0, 5, KILL)]))
    assert "exit code -9" in str(dead)
    assert str(survivor).startswith("TrainingError: a collective failed because a rank is gone: no sign of")
    assert "(rank 0, or torchrun)" in str(survivor).splitlines()[0]


def fail_alone() -> None:
    """Rank 1 finds its data wrong while the others wait for it."""
    if distributed.rank() == 1:
        raise DataError("rows.parquet, row 7: no picture")
    distributed.agree(False)


def test_a_rank_that_gives_up_says_why_to_all() -> None:
    first, second, third = run_ranks(fail_alone, world_size=3)
    assert str(second).startswith("DataError: rows.parquet, row 7")
    for other in (first, third):
        assert str(other).startswith("TrainingError: a collective failed because a rank is gone: another")
        assert "rank 1 (process" in str(other) and "rows.parquet, row 7: no picture" in str(other)


def fail_with_a_slow_listener() -> None:
    """As above; rank 0, which holds the rendezvous, hears of it long before rank 2 does."""
    if distributed.rank() == 0:
        liveness.BEAT_SECONDS, liveness.SILENT_SECONDS = 0.05, 10.0
    if distributed.rank() == 2:
        liveness.BEAT_SECONDS = 2.0
    if distributed.rank() == 1:
        time.sleep(1.5)
    fail_alone()


@pytest.mark.slow
def test_the_rendezvous_stays_until_all_have_heard() -> None:
    _, _, third = run_ranks(fail_with_a_slow_listener, world_size=3)
    assert "rank 1 (process" in str(third) and "rows.parquet, row 7: no picture" in str(third)


def bug() -> None:
    """Both ranks fail with an error that has nothing to do with the other."""
    time.sleep(0.5 * distributed.rank())
    torch.zeros(2) @ torch.zeros(3)


@pytest.mark.slow
def test_an_error_of_ones_own_is_left_as_it_is() -> None:
    first, _ = run_ranks(bug)
    assert str(first).startswith(("RuntimeError: ", "TrainingError: a collective failed")) and "size" in str(
        first
    )


def freeze(where: str) -> None:
    """Rank 1 stops dead, its connections open, while rank 0 waits for it."""
    liveness.GONE_SECONDS, liveness.SILENT_SECONDS = 3.0, 1.0
    if distributed.rank() == 1:
        os.kill(os.getpid(), signal.SIGSTOP)
    if where == "barrier":
        distributed.barrier()
    else:
        dist.all_reduce(torch.zeros(1))


@pytest.mark.slow
def test_a_silent_rank_ends_a_barrier() -> None:
    waiting, _ = run_ranks(freeze, "barrier", grace=0.5)
    assert str(waiting).startswith("TrainingError: ") and "from rank 1 (process " in str(waiting)


@pytest.mark.slow
def test_a_silent_rank_ends_a_process_stuck_in_a_collective() -> None:
    """Nothing can be raised there: the watcher writes the message and ends the process."""
    waiting, _ = run_ranks(freeze, "collective", grace=0.5)
    assert str(waiting).startswith("rank 0 ended with exit code 3\n")
    assert "error: a collective failed because a rank is gone: no sign of life came from rank 1" in str(
        waiting
    )


def be_slow(came: Path) -> bool:
    """Rank 1 comes late, but it lives; whether it had come when the barrier ended."""
    liveness.GONE_SECONDS = 2.0
    if distributed.rank() == 1:
        time.sleep(4)
        came.touch()
    distributed.barrier()
    return came.exists()


@pytest.mark.slow
def test_a_slow_rank_is_waited_for(tmp_path: Path) -> None:
    assert run_ranks(be_slow, tmp_path / "came") == [True, True]


def test_a_rank_that_never_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    for name, value in {
        "RANK": 0,
        "WORLD_SIZE": 2,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
        "LOCAL_RANK": 0,
    }.items():
        monkeypatch.setenv(name, str(value))
    with (
        pytest.raises(TrainingError, match=f"rank 0 could not join the 2 processes .*:{port} within 2 s"),
        processes("cpu", timeout_seconds=2),
    ):
        pass


def test_an_incomplete_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="RANK, MASTER_ADDR, MASTER_PORT is not set"), processes():
        pass


SCRIPT = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from training_runs import KILL, Run, execute
from edge_glass.core.errors import EdgeGlassError
from edge_glass.core.distributed import processes
try:
    with processes("cpu"):
        execute(Run(Path({folder!r}), batch_size=4, signals=[(1, 5, KILL)]))
except EdgeGlassError as error:
    sys.stderr.write(f"error: {{error}}\\n")
    sys.exit(error.exit_code)
"""


@pytest.mark.slow
def test_under_torchrun(tmp_path: Path) -> None:
    """torchrun's own report names the rank and the signal; the survivor says it too."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(tests=str(TESTS), folder=str(tmp_path / "run")))
    command = [
        "-m",
        "torch.distributed.run",
        "--nproc-per-node=2",
        f"--master-port={free_port()}",
        str(script),
    ]
    environment: Any = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *command], capture_output=True, text=True, timeout=PATIENCE, env=environment
    )
    assert done.returncode == 1
    assert "Signal 9 (SIGKILL)" in done.stderr and "rank      : 1 (local_rank: 1)" in done.stderr
    assert (
        "error: a collective failed because a rank is gone: no sign of life came from rank 1" in done.stderr
    )
