"""Rows of one picture are on one side and count as one; guesses, and which rows are measured."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from answer_tasks import LORA, tiny_config

from edge_glass.config import ExperimentConfig
from edge_glass.core.errors import DataError
from edge_glass.data.generated import COLOURS, SHAPES, draw_shape
from edge_glass.instruction.data.sources import load_conversations
from edge_glass.instruction.measure.answers import most_frequent_answers
from edge_glass.instruction.run import InstructionExperiment
from edge_glass.instruction.task import InstructionTask
from edge_glass.tasks.text_generation import SPLITS

torch.set_num_threads(1)

NAMES = [(colour, shape) for colour in COLOURS for shape in SHAPES]


def rows_of(names: list[tuple[str, str]], seed: int = 0) -> list[dict[str, Any]]:
    """Each picture asked two to four times, in no order."""
    chance = random.Random(seed)
    rows = []
    for colour, shape in names:
        answers = {"what colour?": colour, "which shape?": shape, "is it red?": "no", "is it a dog?": "no"}
        for question in chance.sample(sorted(answers), chance.randint(2, 4)):
            rows.append(
                {
                    "image_bytes": draw_shape(colour, shape),
                    "question": f"[USER] {question}",
                    "answer": f"[ASSISTANT] {answers[question]}",
                    "source": chance.choice(["here", "there"]),
                }
            )
    chance.shuffle(rows)
    return rows


def write(file: Path, rows: list[dict[str, Any]]) -> str:
    pq.write_table(pa.Table.from_pylist(rows), file)
    return str(file)


def real_config(**dataset: Any) -> ExperimentConfig:
    return ExperimentConfig.model_validate({"name": "x", "task": "instruction", "dataset": dataset})


def pictures_of(tables: Any) -> dict[str, set[str]]:
    return {name: {one for one in table.picture_hashes if one} for name, table in tables.items()}


@pytest.mark.parametrize(("val", "test"), [(0.1, 0.1), (0.25, 0.3)])
def test_a_picture_with_all_its_questions_is_on_one_side(tmp_path: Path, val: float, test: float) -> None:
    rows = rows_of(NAMES)
    file = write(tmp_path / "rows.parquet", rows)
    tables = load_conversations(real_config(train_parquet=file, val_fraction=val, test_fraction=test))
    assert set(tables) == set(SPLITS)
    assert sum(map(len, tables.values())) == len(rows)
    pictures = pictures_of(tables)
    assert sum(map(len, pictures.values())) == len(NAMES) == len(set.union(*pictures.values()))
    assert len(pictures["test"]) / len(NAMES) == pytest.approx(test, abs=0.12)
    again = load_conversations(real_config(train_parquet=file, val_fraction=val, test_fraction=test))
    assert {name: table.ids for name, table in again.items()} == {
        name: table.ids for name, table in tables.items()
    }


def test_only_what_is_missing_is_split_off(tmp_path: Path) -> None:
    train = write(tmp_path / "train.parquet", rows_of(NAMES[8:]))
    test = write(tmp_path / "test.parquet", rows_of(NAMES[:8], seed=1))
    tables = load_conversations(real_config(train_parquet=train, test_parquet=test, val_fraction=0.2))
    pictures = pictures_of(tables)
    assert len(pictures["test"]) == 8 and pictures["val"]
    assert not pictures["train"] & pictures["val"] and not pictures["train"] & pictures["test"]


def test_a_picture_of_the_test_file_is_not_learned_from(tmp_path: Path) -> None:
    train = write(tmp_path / "train.parquet", rows_of(NAMES))
    test = write(tmp_path / "test.parquet", rows_of(NAMES[:6], seed=1))
    files = {"train_parquet": train, "test_parquet": test, "val_fraction": 0.2}
    with pytest.raises(DataError, match="shared_pictures"):
        load_conversations(real_config(**files))
    tables = load_conversations(real_config(**files, shared_pictures="leave_out"))
    pictures = pictures_of(tables)
    assert len(pictures["test"]) == 6
    assert not (pictures["train"] | pictures["val"]) & pictures["test"]
    assert len(tables["train"].rejected) >= 12


def test_further_files_do_not_leak_either(tmp_path: Path) -> None:
    train = write(tmp_path / "train.parquet", rows_of(NAMES[:30]))
    more = write(tmp_path / "more.parquet", rows_of(NAMES[20:], seed=2))
    tables = load_conversations(
        real_config(train_parquet=train, extra_train_parquet=[more], val_fraction=0.2, test_fraction=0.2)
    )
    pictures = pictures_of(tables)
    assert sum(map(len, pictures.values())) == len(NAMES)
    assert len(set(map(str, tables["train"].sources))) == 2


def test_the_questions_of_a_picture_are_one_unit() -> None:
    task = InstructionTask(tiny_config(), progress=False)
    table = task.splits["test"]
    rows = [20, 3, 11, 19, 4, 0]
    answers = task.answer(task.model, "test", rows)
    units = task.answer_set("test", answers).units
    for one, left in enumerate(rows):
        for other, right in enumerate(rows):
            same = table.picture_hashes[left] == table.picture_hashes[right]
            assert (units[one] == units[other]) == same
    assert len(set(np.asarray(units).tolist())) == 3


def test_answers_stand_beside_their_own_references() -> None:
    task = InstructionExperiment(tiny_config(LORA), progress=False)
    table = task.splits["test"]
    rows = list(range(24))
    answers = task.answer(task.model, "test", rows)
    found = task.answer_set("test", answers)
    assert found.references == [[table.answer(row)] for row in rows]
    assert found.answer_types == [table.answer_types[row] for row in rows]
    right = type(answers)(rows, [table.answer(row) for row in rows], [True] * 24)
    values = {name: one.value for name, one in task.estimates(right).items()}
    assert values["exact_match"] == values["vqa_accuracy"] == values["token_f1"] == 1.0
    assert values["never_ended"] == 0.0


# Guesses


def test_the_most_frequent_answer_of_each_question() -> None:
    learned = [
        *[("colour?", "red")] * 2,
        *[("colour?", "blue")] * 3,
        *[("dog?", "no")] * 9,
        ("dog?", "yes"),
        *[("tie?", "b"), ("tie?", "a")],
    ]
    asked = ["dog?", "colour?", "never asked", "tie?"]
    assert most_frequent_answers(learned, asked) == ["no", "blue", "no", "a"]
    random.Random(0).shuffle(learned)
    assert most_frequent_answers(learned, asked) == ["no", "blue", "no", "a"]
    assert most_frequent_answers([("x", "b"), ("y", "a")], ["z"]) == ["a"]


def test_guesses_come_from_training_rows_only() -> None:
    task = InstructionExperiment(tiny_config(), progress=False)
    rows = list(range(24))
    guesses = task.guesses(rows).texts
    train, test = task.splits["train"], task.splits["test"]
    learned = {train.answer(row) for row in range(len(train))}
    assert set(guesses) <= learned
    by_question = {test.question(row): guess for row, guess in zip(rows, guesses, strict=True)}
    assert len(set(guesses)) == len(by_question) == 3
    for question, guess in by_question.items():
        said = [train.answer(row) for row in range(len(train)) if train.question(row) == question]
        assert said.count(guess) == max(map(said.count, said))


# Which rows are measured


@pytest.mark.parametrize("most", [1, 2, 5, 7, 23, 24, 500])
def test_validation_rows_are_evenly_spread(most: int) -> None:
    evaluation = {"validation_rows": most, "test_rows": None}
    task = InstructionTask(tiny_config(evaluation=evaluation), progress=False)
    rows = task.measured_rows("val")
    assert len(rows) == len(set(rows)) == min(most, 24) and rows == sorted(rows)
    assert rows[0] == 0 and all(0 <= row < 24 for row in rows)
    gaps = np.diff([*rows, 24])
    assert gaps.max() - gaps.min() <= 1
    assert task.measured_rows("test") == list(range(24))
    if most == 7:  # the generated rows are asked about colour, then shape, then everything
        assert {task.splits["val"].answer_types[row] for row in rows} == {"colour", "shape", "name"}
