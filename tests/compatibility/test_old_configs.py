"""Experiment files and models' descriptions of commit a1cb8ce, with the options of all tasks, still load."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_glass.assets.model_folder import described
from edge_glass.config import dump_config, load_config
from edge_glass.config.schema import config_class

RUNS = Path(__file__).parent / "made_by_a1cb8ce"
CONFIGS = sorted(RUNS.glob("*/*/config.yaml"))
MODELS = sorted(RUNS.glob("*/*/model/model.json"))


def test_there_are_some_of_each_task() -> None:
    tasks = {"alignment", "instruction", "detection"}
    assert {path.relative_to(RUNS).parts[0] for path in CONFIGS} == tasks
    assert {path.relative_to(RUNS).parts[0] for path in MODELS} == tasks


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: "-".join(path.parts[-3:-1]))
def test_a_run_s_config(path: Path, tmp_path: Path) -> None:
    config = load_config(path)
    task = path.relative_to(RUNS).parts[0]
    assert type(config) is config_class(task) and config.task == task
    written = tmp_path / "config.yaml"
    written.write_text(dump_config(config), encoding="utf-8")
    assert load_config(written) == config
    assert load_config(path, tiny=True).tiny


@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.parts[-4])
def test_a_model_s_description(path: Path) -> None:
    _, config = described(path)
    assert type(config) is config_class(path.relative_to(RUNS).parts[0])
