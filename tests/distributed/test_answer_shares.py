"""Questions are shared out to be answered: every process ends with the answers and numbers of one alone."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from answer_training import AnswerRun, task_of
from world import run_well

from edge_glass.evaluation.results import metrics_dict

torch.set_num_threads(1)

ROWS: tuple[list[int], ...] = ([0, 5, 9, 14, 22, 3, 17], [4], [], list(range(24)))


def answered(run: AnswerRun, home: str) -> dict[str, Any]:
    """What a rank finds without training."""
    os.environ["EDGE_GLASS_HOME"] = home
    task = task_of(run)
    found = [task.answer(task.model, "test", rows) for rows in ROWS]
    answer_set = task.answer_set("test", found[0])
    return {
        "answers": [(one.rows, one.texts, one.ended) for one in found],
        "units": list(map(int, answer_set.units)),
        "val": task.evaluate(task.model, "val"),
        "samples": task.samples,
        "estimates": metrics_dict(task.estimates(found[0])),
    }


@pytest.mark.parametrize(
    ("ranks", "decoder"),
    [
        (3, "trm"),
        (2, "lora"),
        *(pytest.param(*each, marks=pytest.mark.long) for each in [(2, "trm"), (3, "lora")]),
    ],
)
def test_shares_give_the_answers_of_one(tmp_path: Path, session_home: str, decoder: str, ranks: int) -> None:
    """Also of fewer rows than processes, and of none."""
    run = AnswerRun(tmp_path, 8, decoder=decoder, blank=3)
    generation = {"max_new_tokens": 5, "batch_size": 3, "do_sample": decoder == "lora"}
    run = replace(run, options={"generation": generation})
    alone = answered(run, session_home)
    assert [rows for rows, _, _ in alone["answers"]] == list(ROWS)
    assert any(text for text in alone["answers"][3][1]), "nothing was written"
    for rank in run_well(answered, run, session_home, world_size=ranks):
        assert rank["answers"] == alone["answers"]
        assert rank["units"] == alone["units"] and rank["samples"] == alone["samples"]
        assert rank["val"] == pytest.approx(alone["val"], rel=1e-5)
        assert rank["estimates"] == alone["estimates"]
