"""Runs that learn to answer, really killed: they go on to bit-equal weights, numbers and sample answers."""

from __future__ import annotations

import json
import os
import random
import signal
from pathlib import Path
from typing import Any

import pytest
from killing import Run, kill_at_line, kill_while_saving, signal_at_line

pytestmark = pytest.mark.slow

CONFIGS = Path(__file__).parents[2] / "configs"
COMMON = [
    *("evaluation.compare_with=[]", "evaluation.validation_rows=4", "evaluation.test_rows=6"),
    *("training.eval_epochs=0.5", "training.logging_steps=2", "generation.max_new_tokens=4"),
]
# A step of the last takes three batches of four, in all eight steps an epoch.
KINDS: dict[str, tuple[str, list[str]]] = {
    "trm": ("easy_vqa_trm.yaml", ["training.epochs=4"]),
    "lora": ("easy_vqa_smollm2.yaml", ["training.epochs=2", "decoder.lora.dropout=0.2"]),
    "accumulated": (
        "easy_vqa_smollm2.yaml",
        [
            *("training.epochs=2", "dataset.batch_size=4", "training.gradient_accumulation_steps=3"),
            *("decoder.lora.dropout=0.2", "training.precision=bf16", "dataset.augmentation=crop_flip"),
        ],
    ),
}


class AnswerRun(Run):
    """A run of the task instruction."""

    def outcome(self) -> dict[str, Any]:
        """All but the clock."""
        results = json.loads((self.folder / "results.json").read_text())
        del results["seconds"], results["cost"]
        lines = [json.loads(line) for line in (self.folder / "metrics.jsonl").read_text().splitlines()]
        for line in lines:
            del line["time"]
        files = ("model/trained.safetensors", "samples.jsonl", "evaluation/test_answers.jsonl")
        return {name: (self.folder / name).read_bytes() for name in files} | {
            "metrics": lines,
            "results": results,
        }


def run_of(kind: str, folder: Path) -> AnswerRun:
    """Not started yet."""
    file, options = KINDS[kind]
    return AnswerRun(folder, [*COMMON, *options], CONFIGS / file)


@pytest.fixture(scope="module", params=KINDS)
def through(
    request: pytest.FixtureRequest, session_home: str, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, AnswerRun]:
    """A run of each kind that nothing interrupted."""
    os.environ["EDGE_GLASS_HOME"] = session_home
    run = run_of(request.param, tmp_path_factory.mktemp("through") / request.param)
    run.finish(resume=False)
    return request.param, run


def test_killed_at_random_moments(through: tuple[str, AnswerRun], tmp_path: Path) -> None:
    kind, whole = through
    run = run_of(kind, tmp_path / "killed")
    chance = random.Random()
    lines = whole.logged()
    moments = sorted(chance.randint(2, lines - 2) for _ in range(2))
    killed = [kill_at_line(run, line, resume=i > 0, chance=chance) for i, line in enumerate(moments)]
    assert all(killed), run.said()
    run.finish()
    assert run.outcome() == whole.outcome(), f"killed at lines {moments} of {lines}"


@pytest.mark.parametrize("through", ["trm", "accumulated"], indirect=True)
def test_stopped_by_a_signal(through: tuple[str, AnswerRun], tmp_path: Path) -> None:
    kind, whole = through
    run = run_of(kind, tmp_path / "stopped")
    assert signal_at_line(run, 5, signal.SIGTERM) == 143, run.said()
    assert "a checkpoint is in" in run.said() and "Traceback" not in run.said()
    run.finish()
    assert run.outcome() == whole.outcome()


@pytest.mark.parametrize("through", ["trm"], indirect=True)
def test_killed_while_saving(through: tuple[str, AnswerRun], tmp_path: Path) -> None:
    kind, whole = through
    run = run_of(kind, tmp_path / "saving")
    assert kill_while_saving(run, resume=False)
    run.finish()
    assert run.outcome() == whole.outcome()
