"""A run that is killed at any moment goes on to bit-equal weights. The real command line, really killed."""

from __future__ import annotations

import os
import random
import signal
from pathlib import Path

import pytest
from killing import Run, exit_code, kill_at_line, kill_while_saving, signal_at_line, wait_until

from edge_glass.training.checkpoint import find_checkpoint

pytestmark = pytest.mark.slow

HEADS = [
    f"{tower}.head.{setting}"
    for tower in ("vision_encoder", "text_encoder")
    for setting in ("kind=residual", "dropout=0.2")
]
# Checkpoints every 4 steps, log lines every 3: a checkpoint may fall between two of them.
CACHED = [*HEADS, "dataset.text_dropout_prob=0.2", "training.epochs=10", "training.logging_steps=3"]
AUGMENTED = ["training.feature_cache=off", "dataset.augmentation=crop_flip"]
LIVE = [*HEADS, *AUGMENTED, "dataset.text_dropout_prob=0.2", "training.epochs=4", "training.logging_steps=1"]
WORKERS = "dataset.num_workers=2"
LINES = 24  # of the cached run


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, session_home: str) -> None:
    """As the function-scoped fixture of all tests, for the runs that several tests compare with."""
    os.environ["EDGE_GLASS_HOME"] = session_home


@pytest.fixture(scope="module")
def cached(home: None, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Cached features, dropout in heads and captions; never interrupted."""
    run = Run(tmp_path_factory.mktemp("through") / "cached", CACHED)
    run.finish(resume=False)
    assert run.logged() == LINES
    return run


@pytest.fixture(scope="module")
def live(home: None, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Pictures decoded and augmented each time, in the main process; never interrupted."""
    run = Run(tmp_path_factory.mktemp("through") / "live", LIVE)
    run.finish(resume=False)
    return run


def test_killed_at_random_moments(cached: Run, tmp_path: Path) -> None:
    chance = random.Random()
    run = Run(tmp_path / "killed", CACHED)
    moments = sorted(chance.randint(1, LINES - 2) for _ in range(3))
    killed = [kill_at_line(run, line, resume=i > 0, chance=chance) for i, line in enumerate(moments)]
    assert all(killed), run.said()
    run.finish()
    assert run.outcome() == cached.outcome(), f"killed at lines {moments}"


def test_killed_while_saving(cached: Run, tmp_path: Path) -> None:
    """The first checkpoint, and a later one."""
    run = Run(tmp_path / "killed", CACHED)
    assert kill_while_saving(run, resume=False)
    assert run.steps() == []
    assert kill_at_line(run, 8, chance=random.Random(0))
    before = find_checkpoint(run.folder / "checkpoints")
    assert before is not None
    assert kill_while_saving(run)
    assert list((run.folder / "checkpoints").glob(".tmp-*")) != []
    assert find_checkpoint(run.folder / "checkpoints") == before
    run.finish()
    assert run.outcome() == cached.outcome()
    assert list((run.folder / "checkpoints").glob(".tmp-*")) == []


def test_killed_with_data_workers_and_augmentation(live: Run, tmp_path: Path) -> None:
    """And compared with a run that had no workers."""
    run = Run(tmp_path / "killed", [*LIVE, WORKERS])
    assert kill_at_line(run, 6, resume=False, chance=random.Random())
    assert kill_at_line(run, 13, chance=random.Random()), run.said()
    run.finish()
    assert run.outcome() == live.outcome()


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)]
)
def test_signals_stop_with_a_checkpoint(cached: Run, tmp_path: Path, number: int, code: int) -> None:
    run = Run(tmp_path / "stopped", CACHED)
    assert signal_at_line(run, 5, number) == code, run.said()
    step = max(run.steps())
    assert find_checkpoint(run.folder / "checkpoints") == run.folder / f"checkpoints/step-{step:06d}"
    said = run.said()
    assert f"error: interrupted at step {step}; a checkpoint is in {run.folder}/checkpoints." in said
    assert "--resume" in said and "Traceback" not in said
    run.finish()
    assert run.outcome() == cached.outcome()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_signals_that_reach_the_data_workers_too(live: Run, tmp_path: Path, number: int, code: int) -> None:
    """As Ctrl-C in a terminal does, and a batch system that ends a job."""
    run = Run(tmp_path / "stopped", [*LIVE, WORKERS])
    assert signal_at_line(run, 3, number, group=True) == code, run.said()
    assert run.said().count("finishing this step") == 1
    run.finish()
    assert run.outcome() == live.outcome()


@pytest.mark.parametrize(("number", "codes"), [(signal.SIGTERM, {143, -15}), (signal.SIGINT, {130})])
def test_signals_before_the_first_step(cached: Run, tmp_path: Path, number: int, codes: set[int]) -> None:
    """Before training begins there is nothing to save, and a signal ends the process as usual."""
    run = Run(tmp_path / "stopped", CACHED)
    process = run.start(resume=False)
    assert wait_until(process, (run.folder / "environment.json").exists)
    assert process.pid is not None
    os.kill(process.pid, number)
    assert exit_code(process) in codes, run.said()
    assert "Traceback" not in run.said()
    run.finish()
    assert run.outcome() == cached.outcome()


def test_broken_checkpoints(cached: Run, tmp_path: Path) -> None:
    """The newest is skipped by name; when all are broken, the command says so and exits with 2."""
    run = Run(tmp_path / "broken", CACHED)
    assert kill_at_line(run, 18, resume=False, chance=random.Random(0))
    newest, *others = run.steps()
    weights = run.folder / f"checkpoints/step-{newest:06d}/model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    assert kill_at_line(run, 18, chance=random.Random(0))
    assert f"step-{newest:06d} is skipped: model.safetensors has" in run.said()

    for step in run.steps():  # the kill may have caught one while it was being pruned
        (run.folder / f"checkpoints/step-{step:06d}/manifest.json").unlink(missing_ok=True)
    assert exit_code(run.start()) == 2
    assert f"none of the {len(run.steps())} checkpoints is complete" in run.said()
    assert others


def test_killed_between_the_results_and_the_report(cached: Run) -> None:
    """As the runs above were: the numbers are there, and `--resume` writes what is missing."""
    before = (cached.folder / "results.json").read_bytes()
    assert not (cached.folder / "report.html").exists()
    assert exit_code(cached.start()) == 0, cached.said()
    assert (cached.folder / "report.html").exists()
    assert (cached.folder / "results.json").read_bytes() == before
