"""Asking a finished model: prompts as in training, one by one or many, in pieces; what cannot be asked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import edge_glass
from answering_runs import write_answering_run
from edge_glass.alignment.model.alignment import build_alignment_model
from edge_glass.alignment.model.folder import save_model
from edge_glass.alignment.use.search import AlignmentModel
from edge_glass.core.errors import CheckpointError, ConfigError, DataError
from edge_glass.data.generated import RATE, play_shape
from edge_glass.data.sounds import encode_flac
from edge_glass.encoders.text import TextEncoder
from edge_glass.encoders.vision import VisionEncoder
from edge_glass.instruction.task import InstructionTask
from edge_glass.instruction.use.answer import AnswerModel, Asked

KINDS = {"trm": "easy_vqa_trm", "lora": "easy_vqa_smollm2"}
ROWS = list(range(24))


class Run(NamedTuple):
    folder: Path
    task: InstructionTask
    model: AnswerModel

    def pairs(self) -> list[tuple[bytes, str]]:
        """The test rows as a user would ask them."""
        table = self.task.splits["test"]
        return [(table.picture(row), table.question(row)) for row in ROWS]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    folder = tmp_path_factory.mktemp("answering")
    made = {}
    for kind, name in KINDS.items():
        task = write_answering_run(folder / kind, name)
        made[kind] = Run(folder / kind, task, AnswerModel(folder / kind))
    return made


@pytest.fixture(params=list(KINDS))
def run(request: pytest.FixtureRequest, runs: dict[str, Run]) -> Run:
    return runs[request.param]


def test_answers_are_those_of_the_evaluation(run: Run) -> None:
    """Same prompts, same end, same pictures: a user gets what the metrics were measured on."""
    expected = run.task.answer(run.task.model, "test", ROWS).texts
    assert len(set(expected)) > 2
    assert run.model.answer_all(run.pairs()) == expected


def in_float64(run: Run) -> AnswerModel:
    """The model of a run in double precision.

    A recursion over random weights magnifies rounding: in float32 a batch of five and a batch of one, whose
    sums are added in another order, may write other words. In float64 only a wrong batch does.
    """
    model = AnswerModel(run.folder)
    model.model.double()
    in_float32 = model.prompts.batch

    def batch(asked: Sequence[Asked]) -> dict[str, Any]:
        made = in_float32(asked)
        inputs = {
            name: {key: x.double() for key, x in given.items()} for name, given in made["inputs"].items()
        }
        return made | {"inputs": inputs}

    model.prompts.batch = batch  # type: ignore[method-assign]
    return model


def test_many_at_once_are_the_same_as_one_by_one(run: Run) -> None:
    model = in_float64(run)
    together = model.answer_all(run.pairs(), batch_size=5)
    assert together == [model.answer(*pair) for pair in run.pairs()]
    assert len(set(together)) > 2


def test_pieces_joined_are_the_answer(run: Run) -> None:
    for picture, question in run.pairs()[::5]:
        for choices in ({}, {"max_new_tokens": 7}, {"do_sample": True, "seed": 3, "temperature": 2.0}):
            whole = run.model.answer(picture, question, **choices)
            assert "".join(run.model.stream(picture, question, **choices)) == whole


def test_beams_come_in_one_piece(run: Run) -> None:
    picture, question = run.pairs()[0]
    whole = run.model.answer(picture, question, num_beams=3)
    assert list(run.model.stream(picture, question, num_beams=3)) == [whole]


def test_a_picture_may_be_a_file_its_bytes_or_decoded(run: Run, tmp_path: Path) -> None:
    picture, question = run.pairs()[0]
    file = tmp_path / "a.png"
    file.write_bytes(picture)
    image = run.task.splits["test"].image(0)
    answers = run.model.answer_all([(one, question) for one in (picture, file, str(file), image)])
    assert len(set(answers)) == 1


def test_markers_of_data_sets_are_taken_off(run: Run) -> None:
    picture, question = run.pairs()[0]
    assert run.model.answer(picture, f"[USER] <image>{question} ") == run.model.answer(picture, question)


def test_sampling_is_a_function_of_the_seed(run: Run) -> None:
    picture, question = run.pairs()[0]
    settings = {"do_sample": True, "temperature": 3.0}
    drawn = {seed: run.model.answer(picture, question, **settings, seed=seed) for seed in range(6)}
    assert len(set(drawn.values())) > 1
    assert run.model.answer(picture, question, **settings, seed=4) == drawn[4]


def test_longest_answer(run: Run) -> None:
    short, longer = (run.model.answer_all(run.pairs(), max_new_tokens=most) for most in (1, 6))
    assert short != longer
    pairs = zip(short, longer, strict=True)
    assert all(more.startswith(few) for few, more in pairs if "\N{REPLACEMENT CHARACTER}" not in few)


@pytest.mark.parametrize(
    ("question", "says"),
    [
        ("", "the question is empty"),
        ("  \n", "the question is empty"),
        ("[USER]", "the question is empty"),
        ("what is \udcff?", "is not UTF-8 text"),
        ("what <|im_end|> is it?", r"holds the special token '<\|im_end\|>'"),
    ],
)
def test_a_question_that_cannot_be_asked(runs: dict[str, Run], question: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        runs["lora"].model.answer(None, question)


def test_a_question_that_is_too_long_says_count_and_limit(runs: dict[str, Run]) -> None:
    model = runs["lora"].model
    longest = model.config.dataset.max_question_length
    assert model.asked(None, "w" * longest)  # bytes are tokens in the toy
    with pytest.raises(ConfigError, match=f"has {longest + 3} tokens; .* at most {longest} "):
        model.answer(None, "w" * (longest + 3))


@pytest.mark.parametrize(
    ("choices", "says"),
    [
        ({"temperature": 0.5}, "temperature is read when sampling only"),
        ({"top_p": 0.5}, "top_p is read when sampling only"),
        ({"do_sample": True, "temperature": 0.0}, "temperature: expected a number above 0"),
        ({"do_sample": True, "num_beams": 2}, "do_sample with num_beams 2"),
        ({"max_new_tokens": 0}, "max_new_tokens: expected"),
        ({"beams": 2}, "one of the options .*num_beams.*got 'beams'"),
    ],
)
def test_wrong_settings(run: Run, choices: dict[str, object], says: str) -> None:
    for ask in (run.model.answer, run.model.stream):
        with pytest.raises(ConfigError, match=says):
            ask(None, "what is it?", **choices)


def test_pictures_that_cannot_be_read(run: Run, tmp_path: Path) -> None:
    note = tmp_path / "note.png"
    note.write_text("hello")
    for picture, says in (
        (tmp_path / "none.png", "no such file"),
        (note, "note.png"),
        (tmp_path, "cannot be"),
    ):
        for ask in (run.model.answer, run.model.stream):
            with pytest.raises(DataError, match=says):
                ask(picture, "what is it?")


def test_a_question_without_a_picture_may_be_asked(run: Run) -> None:
    assert isinstance(run.model.answer(None, "what is it?"), str)
    model = in_float64(run)
    mixed = model.answer_all([(None, "what is it?"), run.pairs()[2]])
    assert mixed == [model.answer(None, "what is it?"), model.answer(*run.pairs()[2])]


def test_a_model_without_ears(run: Run) -> None:
    with pytest.raises(ConfigError, match="was trained without sounds"):
        run.model.answer(None, "what is it?", play_shape("red", "ring", 0))


def test_a_blind_model_wants_no_picture(tmp_path: Path) -> None:
    write_answering_run(tmp_path / "blind", "easy_vqa_trm", "prefix.blind=true")
    model = AnswerModel(tmp_path / "blind")
    assert isinstance(model.answer(None, "what is it?"), str)
    with pytest.raises(ConfigError, match="blind was trained without pictures"):
        model.answer("a.png", "what is it?")


def test_pictures_and_sounds(tmp_path: Path) -> None:
    task = write_answering_run(tmp_path / "both", "trimodal_trm")
    model, table = AnswerModel(tmp_path / "both"), task.splits["test"]
    expected = task.answer(task.model, "test", ROWS[:6]).texts
    sounds = [table.sound(row) for row in ROWS[:6]]
    triples = [(table.picture(row), table.question(row), sounds[row]) for row in ROWS[:6]]
    assert model.answer_all(triples) == expected
    file = tmp_path / "a.flac"
    file.write_bytes(encode_flac(sounds[0]))
    assert isinstance(model.answer(None, "what is it?", file), str)
    with pytest.raises(DataError, match="no samples"):
        model.answer(None, "what is it?", (np.zeros(0, dtype=np.float32), RATE))


def alignment_run(folder: Path) -> Path:
    from edge_glass.config.schema import ExperimentConfig

    vision = {"projection_dim": 32, "mrl_dimensions": [16]}
    config = ExperimentConfig.model_validate({"name": "toy", "vision_encoder": vision})
    model = build_alignment_model(config, VisionEncoder.tiny(), TextEncoder.tiny())
    save_model(model, config, folder / "model")
    return folder


def test_a_run_is_loaded_by_its_task(run: Run, tmp_path: Path) -> None:
    aligned = alignment_run(tmp_path / "aligned")
    assert isinstance(edge_glass.load(str(aligned)), AlignmentModel)
    assert isinstance(edge_glass.load(str(run.folder)), AnswerModel)
    assert isinstance(edge_glass.load(str(run.folder / "model")), AnswerModel)
    with pytest.raises(ConfigError, match=r"aligned searches pictures; .*edge-glass search"):
        AnswerModel(aligned)
    with pytest.raises(ConfigError, match=rf"{run.folder.name} answers questions; .*edge-glass answer"):
        AlignmentModel(run.folder)


def test_folders_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such run"):
        edge_glass.load(str(tmp_path / "nothing"))
    with pytest.raises(CheckpointError, match="no finished model"):
        edge_glass.load(str(tmp_path))
    for text in ("{", "[]", '{"config": 3}'):
        (tmp_path / "model.json").write_text(text)
        with pytest.raises(CheckpointError, match="cannot be read"):
            edge_glass.load(str(tmp_path))
