"""Each task has its own class of experiment file; a task of one new file brings one too."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import edge_glass.experiment.tasks as tasks
from edge_glass.config import ConfigError, ExperimentConfig, json_schema, load_config
from edge_glass.config.alignment import AlignmentConfig
from edge_glass.config.detection import DetectionConfig
from edge_glass.config.instruction import InstructionConfig

TOY = """
from typing import Literal

from pydantic import Field

from edge_glass.config.metrics import Metric
from edge_glass.config.schema import ExperimentConfig
from edge_glass.config.sections.base import Section
from edge_glass.config.sections.training import EvaluationConfig


class Drawing(Section):
    strokes: int = Field(8, ge=1, description="Lines of a drawing.")


class ToyConfig(ExperimentConfig):
    task: Literal["toy"] = "toy"
    drawing: Drawing = Drawing()
    evaluation: EvaluationConfig = EvaluationConfig(primary_metric="likeness")

    @classmethod
    def metrics(cls):
        return (Metric("likeness", "likeness"),)

    def toy_settings(self, family, kept):
        return {"drawing": {"strokes": min(self.drawing.strokes, 2)}}


class Toy:
    config = ToyConfig


KIND = Toy()
"""


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An experiment file of the task toy, which stands in one new file of the package of tasks."""
    folder = tmp_path / "more_tasks"
    folder.mkdir()
    (folder / "toy.py").write_text(TOY, encoding="utf-8")
    monkeypatch.setattr(tasks, "__path__", [*tasks.__path__, str(folder)])
    file = tmp_path / "toy.yaml"
    file.write_text("name: x\ntask: toy\ndrawing: {strokes: 5}\n", encoding="utf-8")
    yield file


def test_a_task_of_one_new_file(toy: Path) -> None:
    config = load_config(toy, ["training.epochs=3"])
    assert type(config).__name__ == "ToyConfig"
    assert (config.drawing.strokes, config.training.epochs) == (5, 3)
    tiny = load_config(toy, tiny=True)
    assert (tiny.name, tiny.drawing.strokes, tiny.dataset.batch_size) == ("x-tiny", 2, 8)
    assert ExperimentConfig.model_validate(config.model_dump()) == config
    assert "strokes" in str(json_schema())


@pytest.mark.parametrize(
    ("override", "facts"),
    [
        ("drawing.strokes=0", ["drawing.strokes", "at least 1"]),
        ("drawing.stroke=3", ["did you mean drawing.strokes?"]),
        ("losses.mrl=0.5", ["task toy", "belongs to alignment"]),
        ("evaluation.primary_metric=likenes", ["did you mean likeness?"]),
    ],
)
def test_its_mistakes_are_named(toy: Path, override: str, facts: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(toy, [override])
    assert [fact for fact in facts if fact not in str(caught.value)] == []


def test_other_tasks_do_not_have_its_options(toy: Path) -> None:
    toy.write_text("name: x\ndrawing: {strokes: 5}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="drawing: is not an option of task alignment; it belongs to toy"):
        load_config(toy)


def test_the_class_of_the_task_is_chosen() -> None:
    assert type(ExperimentConfig(name="x")) is AlignmentConfig
    assert type(ExperimentConfig(name="x", task="detection")) is DetectionConfig
    assert type(ExperimentConfig.model_validate({"name": "x", "task": "instruction"})) is InstructionConfig
    text = '{"name": "x", "task": "instruction", "losses": {"mrl": 1.0}}'
    assert type(ExperimentConfig.model_validate_json(text)) is InstructionConfig
    with pytest.raises(ConfigError, match="alignment, detection, instruction; got 'search'"):
        ExperimentConfig(name="x", task="search")


def test_options_of_other_tasks_may_stand_at_their_default() -> None:
    raw = {"name": "x", "task": "detection", "losses": {"mrl": 1.0}, "audio_encoder": None}
    config = ExperimentConfig.model_validate(raw)
    assert "losses" not in config.model_dump()
    for wrong in ({"losses": {"mrl": 0.5}}, {"audio_encoder": {}}, {"dataset": {"max_text_length": 64}}):
        with pytest.raises(ValueError, match="Extra inputs"):
            ExperimentConfig.model_validate(raw | wrong)
