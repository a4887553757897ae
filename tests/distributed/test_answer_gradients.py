"""Losses of answers are means over the supervised tokens of a whole step, however it is cut into batches."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from answer_training import AnswerRun, difference, execute
from world import run_well

GRADIENTS = 2e-6  # of float32, as a share of the norm
WEIGHTS = 2e-4  # Adam divides small gradients by their own size

torch.set_num_threads(1)


def assert_same(one: dict[str, Any], other: dict[str, Any]) -> None:
    """Gradients of the first step, from equal weights; weights and losses of all steps."""
    assert len(one["gradients"]) == len(other["gradients"]) > 1
    assert difference(one["gradients"][0], other["gradients"][0]) < GRADIENTS
    assert difference(one["weights"], other["weights"]) < WEIGHTS
    assert one["curves"].keys() == other["curves"].keys() >= {"train/token_accuracy", "train/grad_norm"}
    for name, values in one["curves"].items():
        assert other["curves"][name] == pytest.approx(values, rel=1e-3, abs=1e-6), name


@pytest.mark.parametrize("decoder", ["trm", "lora", "full"])
def test_accumulated_batches_are_as_one(tmp_path: Path, decoder: str) -> None:
    whole = execute(AnswerRun(tmp_path / "8", 8, 1, decoder, blank=5))
    for size, parts in ((2, 4), (1, 8)):
        folder = tmp_path / str(size)
        assert_same(whole, execute(AnswerRun(folder, size, parts, decoder, blank=5)))
        plain = execute(AnswerRun(folder / "plain", size, parts, decoder, blank=5, steps=1, weighted=False))
        assert difference(whole["gradients"][0], plain["gradients"][0]) > 0.02, "lengths are not ragged"


def test_the_last_step_of_an_epoch_has_fewer_batches(tmp_path: Path) -> None:
    """19 rows: a batch of 8, one of 8 and one of 3; in twos, the last step accumulates two, of 2 and 1."""
    whole = execute(AnswerRun(tmp_path / "8", 8, 1, rows=19, blank=5))
    parts = execute(AnswerRun(tmp_path / "2", 2, 4, rows=19, blank=5))
    assert [rows for rows, _ in whole["shares"]][:3] == [8, 8, 3]
    assert [rows for rows, _ in parts["shares"]][:10] == [2] * 9 + [1]
    assert_same(whole, parts)
    assert difference(whole["gradients"][2], parts["gradients"][2]) < 1e-4


@pytest.mark.parametrize(
    ("decoder", "sounds", "options"),
    [
        ("trm", False, {}),
        ("lora", True, {"fusion": {"kind": "gated"}}),
        ("full", False, {"training": {"gradient_accumulation_steps": 2}}),
    ],
)
def test_two_processes_are_as_one(
    tmp_path: Path, session_home: str, decoder: str, sounds: bool, options: dict[str, Any]
) -> None:
    """With a last batch of one row, of which the second rank has nothing, and batches without a picture."""
    accumulation = 2 if options.get("training") else 1
    settings: dict[str, Any] = {"decoder": decoder, "rows": 17, "blank": 9, "sounds": sounds, "steps": 6}
    settings["options"] = {name: one for name, one in options.items() if name != "training"}
    alone = execute(AnswerRun(tmp_path / "one", 8, accumulation, **settings))
    run = AnswerRun(tmp_path / "two", 4, accumulation, **settings)
    ranks = run_well(execute, run, session_home)
    assert [rows for rows, _ in alone["shares"]][:3] == [8, 8, 1]
    assert [[rows for rows, _ in rank["shares"]][:3] for rank in ranks] == [[4, 4, 1], [4, 4, 0]]
    assert any(rows and not seen for rank in ranks for rows, seen in rank["shares"]), "no share is blank"
    for rank in ranks:
        assert_same(alone, rank)
        assert rank["val"] == pytest.approx(alone["val"], rel=1e-4, abs=1e-6)
    for name, value in ranks[0]["weights"].items():
        assert torch.equal(value, ranks[1]["weights"][name])


@pytest.mark.slow
def test_a_checkpoint_between_two_log_lines(tmp_path: Path, session_home: str) -> None:
    """What the ranks had not logged yet differs between them, and is not lost."""
    whole = AnswerRun(tmp_path, 4, rows=17, steps=8, logging_steps=3)
    through = run_well(execute, whole, session_home)[0]
    checkpoint = tmp_path / "checkpoints" / "step-000004"
    assert checkpoint.exists()
    resumed = run_well(execute, replace(whole, resume=checkpoint), session_home)[0]
    for name, value in through["weights"].items():
        assert torch.equal(resumed["weights"][name], value)
    assert len(resumed["gradients"]) == 4
    for name, values in through["curves"].items():
        assert resumed["curves"][name] == pytest.approx(values, rel=1e-5), name
