"""Trackers by name: run ids, groups and tags, and one line where a package is missing."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from accelerate.tracking import GeneralTracker
from regression_task import Regression, build

from edge_glass.core.errors import ConfigError
from edge_glass.training import trackers
from edge_glass.training.trackers import TrackedRun, build_trackers, require_trackers


class Notes(GeneralTracker):
    """Keeps what it is told."""

    name = "notes"
    requires_logging_directory = False

    def __init__(self) -> None:
        super().__init__()
        self.told: list[Any] = []

    @property
    def tracker(self) -> Any:
        """Nothing behind it."""
        return None

    def start(self) -> None:
        """Remember."""
        self.told.append("start")

    def store_init_configuration(self, values: dict[str, Any]) -> None:
        """Remember."""
        self.told.append(values)

    def log(self, values: dict[str, Any], step: int | None = None, **kwargs: Any) -> None:
        """Remember."""
        self.told.append((step, sorted(values)))

    def finish(self) -> None:
        """Remember."""
        self.told.append("finish")


def test_every_line_is_told(tmp_path: Path) -> None:
    notes = Notes()
    trainer = build(tmp_path, Regression(), training={"max_steps": 2}, trackers=[notes], settings={"a": "1"})
    trainer.train()
    assert notes.told[:2] == ["start", {"a": "1"}] and notes.told[-1] == "finish"
    assert [step for step, _ in notes.told[2:-1]] == [1, 2, 2]
    assert notes.told[-2] == (2, ["val/score"]) and "train/grad_norm" in notes.told[2][1]


def test_tensorboard_has_the_names_of_the_log(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = TrackedRun(tmp_path, "project", "x")
    built = build_trackers(["tensorboard"], run)
    build(tmp_path, Regression(), training={"max_steps": 2}, trackers=built, settings={"a": "1"}).train()
    assert len(list((tmp_path / "tensorboard").iterdir())) == 1
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    names = set(events.Tags()["scalars"])
    assert {"train/loss", "train/lr", "val/score"} <= names and not any(
        "train/train" in name for name in names
    )
    assert [one.step for one in events.Scalars("train/loss")] == [1, 2]
    assert not (tmp_path / "run_id").exists()


def test_a_run_id_is_made_once_per_folder(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    one.mkdir()
    other.mkdir()
    first = TrackedRun(one, "project", "x").id
    assert first.startswith("x-") and TrackedRun(one, "project", "x").id == first
    assert TrackedRun(other, "project", "x").id != first
    assert TrackedRun(one, "project", "x", "mine").id == "mine" == TrackedRun(one, "project", "x").id


class FakeWandb(ModuleType):
    """As much of wandb as is called."""

    def __init__(self) -> None:
        super().__init__("wandb")
        self.__spec__ = SimpleNamespace(name="wandb")  # type: ignore[assignment]
        self.calls: list[Any] = []
        self.config = SimpleNamespace(update=lambda values, **options: self.calls.append(("config", values)))

    def init(self, **options: Any) -> Any:
        """Begin."""
        self.calls.append(("init", options))
        return SimpleNamespace(
            log=lambda values, step: self.calls.append(("log", step)),
            finish=lambda: self.calls.append(("finish", None)),
        )


def test_weights_and_biases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wandb = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    run = TrackedRun(tmp_path, "project", "x", group="group", tags=["a", "b"])
    built = build_trackers(["wandb"], run)
    assert wandb.calls == [], "it begins with training, not before"
    build(tmp_path, Regression(), training={"max_steps": 1}, trackers=built, settings={"a": "1"}).train()
    assert wandb.calls[0] == (
        "init",
        {
            "project": "project",
            "name": "x",
            "id": run.id,
            "resume": "allow",
            "group": "group",
            "tags": ["a", "b"],
            "dir": str(tmp_path),
        },
    )
    assert wandb.calls[1:] == [("config", {"a": "1"}), ("log", 1), ("log", 1), ("finish", None)]


def test_a_missing_package_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trackers.importlib.util, "find_spec", lambda name: None)  # type: ignore[attr-defined]
    for name, package in (("mlflow", "'edge-glass[mlflow]'"), ("comet_ml", "comet_ml")):
        with pytest.raises(ConfigError, match=f"report_to: {name} is not installed") as caught:
            require_trackers([name])
        assert f"pip install {package}" in str(caught.value)
        assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match=r"expected some of .*aim.*tensorboard.*wandb; got 'stone'"):
        require_trackers(["stone"])


def test_a_tracker_is_one_new_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "json.py").write_text(
        "from test_trackers import Notes\ndef build(run):\n    notes = Notes()\n"
        "    notes.told.append(run.name)\n    return notes\n"
    )
    monkeypatch.setattr(trackers, "__path__", [*trackers.__path__, str(tmp_path)])
    (built,) = build_trackers(["json"], TrackedRun(tmp_path, "project", "x"))
    assert built.told == ["x"]  # type: ignore[attr-defined]
    sys.modules.pop("edge_glass.training.trackers.json")
