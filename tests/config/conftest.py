"""A small valid experiment and a way to load it from a file of its own."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_glass.config import ConfigError, ExperimentConfig, load_config

MINIMAL = """\
name: small
vision_encoder:
  projection_dim: 256
  mrl_dimensions: [128, 64]
losses:
  mrl: 1.0
dataset:
  train_parquet: train.parquet
"""

ANSWERS = """\
name: small
task: instruction
dataset:
  train_parquet: train.parquet
"""

BOXES = """\
name: small
task: detection
vlm: {source: Qwen/Qwen2-VL-2B-Instruct}
dataset:
  train: train.parquet
"""

Load = Callable[..., ExperimentConfig]


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    """`load(lines, *overrides, tiny=False)`: MINIMAL plus lines, as small.yaml of an empty working directory.

    The data file exists and is empty: loading a config does not read it.
    """
    monkeypatch.chdir(tmp_path)
    Path("train.parquet").touch()

    def _load(
        extra: str = "", *overrides: str, tiny: bool = False, text: str | None = None
    ) -> ExperimentConfig:
        Path("small.yaml").write_text(MINIMAL + extra if text is None else text, encoding="utf-8")
        return load_config("small.yaml", overrides, tiny=tiny)

    return _load


@pytest.fixture
def error_of(load: Load) -> Callable[..., str]:
    """The message of the ConfigError that `load` must raise."""

    def _error(extra: str = "", *overrides: str, **options: object) -> str:
        with pytest.raises(ConfigError) as caught:
            load(extra, *overrides, **options)
        return str(caught.value)

    return _error


@pytest.fixture
def load_answers(load: Load) -> Load:
    """As `load`, but a small experiment of the task instruction."""

    def _load(extra: str = "", *overrides: str, tiny: bool = False) -> ExperimentConfig:
        return load("", *overrides, tiny=tiny, text=ANSWERS + extra)

    return _load


@pytest.fixture
def answers_error(load_answers: Load) -> Callable[..., str]:
    """The message of the ConfigError that `load_answers` must raise."""

    def _error(extra: str = "", *overrides: str, **options: object) -> str:
        with pytest.raises(ConfigError) as caught:
            load_answers(extra, *overrides, **options)
        return str(caught.value)

    return _error


@pytest.fixture
def load_boxes(load: Load) -> Load:
    """As `load`, but a small experiment of the task detection."""

    def _load(extra: str = "", *overrides: str, tiny: bool = False) -> ExperimentConfig:
        return load("", *overrides, tiny=tiny, text=BOXES + extra)

    return _load


@pytest.fixture
def boxes_error(load_boxes: Load) -> Callable[..., str]:
    """The message of the ConfigError that `load_boxes` must raise."""

    def _error(extra: str = "", *overrides: str, **options: object) -> str:
        with pytest.raises(ConfigError) as caught:
            load_boxes(extra, *overrides, **options)
        return str(caught.value)

    return _error


@pytest.fixture
def missing(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """`missing("nltk", bitsandbytes="json")`: nltk is not found, and bitsandbytes as if it were json."""
    find = importlib.util.find_spec

    def _missing(*names: str, **stand_ins: str) -> None:
        monkeypatch.setattr(
            importlib.util,
            "find_spec",
            lambda name, *rest: None if name in names else find(stand_ins.get(name, name), *rest),
        )

    return _missing
