"""Whole runs with pictures, sounds and words, shared by two processes: the curve and numbers of one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from world import Died, free_port, run_ranks, run_well

import edge_glass
import edge_glass.experiment.run as run_module
import edge_glass.tasks.sources as sources
from edge_glass.alignment.task import AlignmentTask
from edge_glass.config import load_config
from edge_glass.core import distributed
from edge_glass.data.generated import generated_splits
from edge_glass.training import callbacks
from patience import PATIENCE

CONFIGS = Path(__file__).parents[2] / "configs"
TRIMODAL = CONFIGS / "trimodal_trm_alignment.yaml"
# Adam makes of rounding what the learning rate allows: at 0.01 weights of one and of two processes came to
# differ by 2e-4, and ranks with them.
SETTINGS = ["optimization.lr=0.003", "training.logging_steps=1"]
KILLED_AT = 8  # of ten steps, with a checkpoint after five


def torchrun(*arguments: object, home: str) -> subprocess.CompletedProcess[str]:
    """`torchrun -m edge_glass …` with two processes."""
    command = ["-m", "torch.distributed.run", "--nproc-per-node=2", f"--master-port={free_port()}"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "EDGE_GLASS_HOME": home}
    return subprocess.run(
        [sys.executable, *command, "-m", "edge_glass", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE,
        env=environment,
    )


class KilledAt(callbacks.StopOnSignal):
    """Ends its process in the middle of a step."""

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """No goodbye."""
        if state.global_step + 1 == KILLED_AT:
            os.kill(os.getpid(), signal.SIGKILL)


def run_rank(folder: Path, home: str, killed: bool = False, resume: str | None = None) -> int:
    """This rank's part of a run, without its report; returns its number."""
    os.environ["EDGE_GLASS_HOME"] = home
    run_module.write_report = lambda folder: folder  # half of the time
    if killed:
        callbacks.StopOnSignal = KilledAt
    config = load_config(TRIMODAL, [*SETTINGS, "dataset.batch_size=4"], tiny=True)
    edge_glass.train(config, output=folder, resume=resume, progress=False)
    return distributed.rank()


@pytest.fixture(scope="module")
def _home(session_home: str) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGE_GLASS_HOME", session_home)
        yield


@pytest.fixture(scope="module")
def one(_home: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one process. Tests may not change it."""
    folder = tmp_path_factory.mktemp("runs") / "one"
    config = load_config(TRIMODAL, [*SETTINGS, "dataset.batch_size=8"], tiny=True)
    return edge_glass.train(config, output=folder, progress=False).folder


@pytest.fixture(scope="module")
def two(session_home: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """A run that torchrun started, and what it printed. Tests may not change it."""
    folder = tmp_path_factory.mktemp("runs") / "two"
    arguments = ["train", TRIMODAL, *SETTINGS, "dataset.batch_size=4", "--tiny", "--output", folder]
    done = torchrun(*arguments, home=session_home)
    assert done.returncode == 0, done.stderr
    return folder, done.stdout, done.stderr


def lines_of(folder: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "time"} for line in lines]


def metrics_of(folder: Path, section: str = "metrics") -> dict[str, float]:
    results = json.loads((folder / "results.json").read_text())
    return {name: entry["value"] for name, entry in results[section].items()}


@pytest.mark.slow
def test_two_processes_draw_the_curve_of_one(one: Path, two: tuple[Path, str, str]) -> None:
    alone, together = lines_of(one), lines_of(two[0])
    assert [line["step"] for line in together if "train/loss" in line] == list(range(1, 11))
    for expected, found in zip(alone, together, strict=True):
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            assert found[name] == pytest.approx(value, rel=1e-4, abs=1e-4), name
    losses = [line["train/loss"] for line in together if "train/loss" in line]
    assert max(losses) - min(losses) > 0.05, "it trains"


@pytest.mark.slow
def test_two_processes_end_with_the_numbers_of_one(one: Path, two: tuple[Path, str, str]) -> None:
    for section in ("metrics", "baseline", "closed_form"):
        assert metrics_of(two[0], section) == pytest.approx(metrics_of(one, section), abs=1e-6), section
    assert metrics_of(two[0]) != metrics_of(two[0], "baseline")
    results = [json.loads((folder / "results.json").read_text()) for folder in (one, two[0])]
    assert results[0]["data"] == results[1]["data"]
    assert [each["cost"]["processes"] for each in results] == [1, 2]


@pytest.mark.slow
def test_the_run_folder_of_two_processes_is_whole(one: Path, two: tuple[Path, str, str]) -> None:
    folder, out, err = two
    files = [
        {str(file.relative_to(run)) for file in run.rglob("*") if "tfevents" not in file.name}
        for run in (one, folder)
    ]
    assert files[1] == files[0] >= {"results.json", "report.html", "model", "index", "evaluation"}
    assert out.count(str(folder / "report.html")) == 1, "one process talks"
    assert "Traceback" not in err and err.count("parameters\n") == 1
    before = metrics_of(folder)
    again = edge_glass.evaluate(folder, progress=False)["metrics"]
    assert {name: entry["value"] for name, entry in again.items()} == before
    assert len(edge_glass.load(str(folder)).search("a red ring", k=3)) == 3


@pytest.mark.slow
def test_killed_and_resumed_it_is_bit_equal(
    two: tuple[Path, str, str], tmp_path: Path, session_home: str
) -> None:
    folder = tmp_path / "killed"
    died = run_ranks(run_rank, folder, session_home, True)
    assert all(isinstance(rank, Died) and "-9" in str(rank) for rank in died), died
    assert [path.name for path in (folder / "checkpoints").glob("step-*")] == ["step-000005"]
    assert not (folder / "results.json").exists()
    assert run_well(run_rank, folder, session_home, False, "latest") == [0, 1]
    weights = [run / "model" / "heads.safetensors" for run in (two[0], folder)]
    assert weights[0].read_bytes() == weights[1].read_bytes()
    assert lines_of(folder) == lines_of(two[0])
    assert metrics_of(folder) == metrics_of(two[0])


# Shares that are not equal


def seven_rows(sounds: bool = False) -> dict[str, Any]:
    """The test split has as many rows as no number of ranks divides."""
    splits = generated_splits(sounds)
    return splits | {"test": splits["test"].select(range(7)), "val": splits["val"].select(range(5))}


def measure(home: str, overrides: tuple[str, ...] = (), lopsided: bool = False) -> dict[str, Any]:
    """What a rank finds without training."""
    os.environ["EDGE_GLASS_HOME"] = home
    real, share = sources.generated_splits, distributed.own_share
    sources.generated_splits = seven_rows
    if lopsided:
        distributed.own_share = lambda items: list(items) if distributed.is_main() else []
    try:
        task = AlignmentTask(load_config(TRIMODAL, [*SETTINGS, *overrides], tiny=True), progress=False)
        embedded = task.embed(task.model, "test")
        return {
            "test": task.evaluate(task.model, "test"),
            "val": task.evaluate(task.model, "val"),
            "vectors": {name: part.vectors for name, part in embedded.items()},
            "groups": {name: part.groups.tolist() for name, part in embedded.items()},
            "codebook": getattr(task.model.towers["audio"].pooling, "fingerprint", None),
        }
    finally:
        sources.generated_splits, distributed.own_share = real, share


@pytest.mark.parametrize("ranks", [2, 3])
def test_evaluation_of_rows_that_no_rank_count_divides(session_home: str, ranks: int) -> None:
    alone = measure(session_home, ("dataset.batch_size=6",))
    assert alone["vectors"]["audio"].shape == (7, 32)
    shared = run_well(measure, session_home, (f"dataset.batch_size={6 // ranks}",), world_size=ranks)
    for found in shared:
        assert found["groups"] == alone["groups"]
        for name, vectors in alone["vectors"].items():
            np.testing.assert_allclose(found["vectors"][name], vectors, rtol=1e-4, atol=1e-5)
        for split in ("test", "val"):
            assert found[split] == pytest.approx(alone[split], rel=1e-4, abs=1e-5)


CODEBOOK = ("audio_encoder.pooling_type=codebook",)


def measure_codebooks(home: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """With all sounds on rank 0, and with equal shares."""
    return measure(home, CODEBOOK, lopsided=True), measure(home, CODEBOOK)


def test_all_ranks_have_one_codebook_even_if_one_has_no_sounds(session_home: str) -> None:
    alone = measure(session_home, CODEBOOK)
    (lopsided, shared), (lopsided_too, shared_too) = run_well(measure_codebooks, session_home)
    assert lopsided["codebook"] == lopsided_too["codebook"] == alone["codebook"] is not None
    assert shared["codebook"] == shared_too["codebook"] is not None
    assert shared["test"] == pytest.approx(alone["test"], rel=1e-3, abs=1e-3)


# Errors


@pytest.mark.slow
def test_a_mistake_in_the_config_is_said_once(tmp_path: Path, session_home: str) -> None:
    """torchrun adds its own report, with a traceback of itself, and exits with 1 whatever a process says."""
    done = torchrun(
        "train", TRIMODAL, "--tiny", "fusion.kind=nosuch", "--output", tmp_path / "run", home=session_home
    )
    said, _, report = done.stderr.partition("torch/distributed/elastic")
    message = (
        "error: override fusion.kind=nosuch: fusion.kind: expected one of concat, cross_attention, gated"
    )
    assert done.returncode == 1 and done.stderr.count("error: override") == 1
    assert message in said and "Traceback" not in said
    assert "exitcode  : 2" in report and "edge_glass/cli.py" not in done.stderr
    assert not (tmp_path / "run").exists()
