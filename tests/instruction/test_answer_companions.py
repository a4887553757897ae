"""Runs to compare a run with: what they are made of, and that each is run once, whatever comes between."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from answer_tasks import LORA, PERCEIVER, TRM, tiny_config

import edge_glass
import edge_glass.experiment.run as run_module
from edge_glass.config import dump_config, load_config
from edge_glass.core.errors import Interrupted
from edge_glass.decoders.small_decoder import SmallDecoder
from edge_glass.experiment.tasks.instruction import KIND, companion_config
from edge_glass.instruction.model.build import build_decoder, build_tokenizer
from edge_glass.instruction.model.folder import load_answering_model
from edge_glass.instruction.task import InstructionTask
from edge_glass.training.checkpoint import list_checkpoints

torch.set_num_threads(1)

CONFIGS = Path(__file__).parents[2] / "configs"
RECURSIONS: list[dict[str, Any]] = [
    {},
    {"refinements": 3, "cycles": 2, "supervision_steps": 1, "halting": True},
    {"refinements": 1, "cycles": 1, "supervision_steps": 3},
]


def decoder_of(config: Any) -> SmallDecoder:
    decoder: Any = build_decoder(config, build_tokenizer(config.decoder, ["what is it?", "a red ring"]))
    return decoder


def parameters(decoder: SmallDecoder) -> int:
    return sum(one.numel() for name, one in decoder.named_parameters() if not name.startswith("halt_head"))


@pytest.mark.parametrize("recursion", RECURSIONS)
@pytest.mark.parametrize("layers", [1, 2])
def test_sizes_and_compute(recursion: dict[str, Any], layers: int) -> None:
    size = {"width": 32, "heads": 2, "layers": layers, "hidden": 48}
    config = tiny_config(TRM | {"size": size, "recursion": recursion})
    trm = decoder_of(config)
    same_size = decoder_of(companion_config(config, "same_size"))
    same_compute = decoder_of(companion_config(config, "same_compute"))
    assert (trm.kind, same_size.kind, same_compute.kind) == ("trm", "plain", "plain")
    assert parameters(same_size) == parameters(trm)
    assert same_compute.applications == trm.applications > same_size.applications == layers


def test_everything_else_stays() -> None:
    config = tiny_config(
        TRM,
        evaluation={"compare_with": ["blind", "same_size", "same_compute"]},
        prefix={"perceiver": PERCEIVER},
    )
    for kind in config.evaluation.compare_with:
        raw, other = config.model_dump(), companion_config(config, kind).model_dump()
        changed = {name for name in raw if raw[name] != other[name]}
        assert changed == {"name", "evaluation", "prefix" if kind == "blind" else "decoder"}
        assert other["name"] == f"x-{kind}" and other["evaluation"]["compare_with"] == []
    assert companion_config(config, "blind").prefix.blind
    assert not InstructionTask(companion_config(config, "blind"), progress=False).model.towers


def with_companions() -> list[Path]:
    found = []
    for file in sorted(CONFIGS.glob("*.yaml")):
        if load_config(file, tiny=True).task == "instruction":
            found.append(file)
    return found


@pytest.mark.parametrize("file", with_companions(), ids=lambda file: file.stem)
def test_their_config_can_be_read_again(file: Path, tmp_path: Path) -> None:
    """`evaluate`, `answer` and `train RUN/config.yaml` read what a companion wrote."""
    config = load_config(file, tiny=True)
    for kind in config.evaluation.compare_with:
        companion = companion_config(config, kind)
        (tmp_path / f"{kind}.yaml").write_text(dump_config(companion))
        assert load_config(tmp_path / f"{kind}.yaml") == companion


# Runs


def contents(folder: Path) -> dict[str, tuple[int, int]]:
    return {
        str(file.relative_to(folder)): (file.stat().st_size, file.stat().st_mtime_ns)
        for file in folder.rglob("*")
        if file.is_file()
    }


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Companions run in this process, and nobody draws; the folders whose reports were asked for."""
    reports: list[Path] = []
    monkeypatch.setattr(run_module, "in_own_process", lambda function, *arguments: function(*arguments))
    monkeypatch.setattr(run_module, "write_report", lambda folder: reports.append(folder))
    return reports


def test_companions_are_run_once(tmp_path: Path, here: list[Path], caplog: pytest.LogCaptureFixture) -> None:
    kinds = ["blind", "same_size", "same_compute"]
    config = tiny_config(evaluation={"compare_with": kinds}, training={"max_steps": 3})
    with caplog.at_level("INFO", "edge_glass.experiment.run"):
        edge_glass.train(config, output=tmp_path, progress=False)
    words = [each.message for each in caplog.records if each.name == "edge_glass.experiment.run"]
    verdict, *announced = [one for one in words if "report in" in one or "to compare it with" in one]
    assert "VQA accuracy" in verdict and str(tmp_path / "report.html") in verdict
    assert announced[1] == f"to compare it with: same_size (2 of 3) in {tmp_path / 'compared/same_size'}"
    for kind in kinds:
        folder = tmp_path / "compared" / kind
        results = json.loads((folder / "results.json").read_text())
        assert results["task"] == "instruction" and results["samples"] == 24
        model, read = load_answering_model(folder / "model")
        assert read.name == f"x-{kind}" and not (folder / "compared").exists()
        assert bool(model.towers) == (kind != "blind")
    assert here[-1] == tmp_path and here.count(tmp_path) == 2, "once alone, once with its companions"
    before = contents(tmp_path)
    assert (
        edge_glass.train(config, output=tmp_path, resume="latest", progress=False).results["task"]
        == "instruction"
    )
    assert contents(tmp_path).items() >= before.items(), "something was run again"


def test_killed_in_the_middle_of_a_companion(
    tmp_path: Path, here: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run itself and the first companion are finished, the second one goes on from its checkpoint."""
    config = tiny_config(
        LORA, evaluation={"compare_with": ["blind"]}, training={"epochs": 2, "eval_epochs": 0.25}
    )
    whole = edge_glass.train(config, output=tmp_path / "whole", progress=False).folder

    real = KIND.experiment

    def build(config: Any, progress: bool = True, model: Any = None) -> Any:
        task: Any = real(config, progress, model)
        if config.prefix.blind:
            stopping = task.evaluate
            calls = []

            def evaluate(*arguments: Any) -> Any:
                calls.append(arguments)
                if len(calls) == 4:
                    os.kill(os.getpid(), signal.SIGTERM)
                return stopping(*arguments)

            task.evaluate = evaluate
        return task

    monkeypatch.setattr(KIND, "experiment", build)
    folder = tmp_path / "killed"
    with pytest.raises(Interrupted):
        edge_glass.train(config, output=folder, progress=False)
    assert (folder / "results.json").exists() and not (folder / "compared/blind/results.json").exists()
    assert list_checkpoints(folder / "compared/blind/checkpoints")
    monkeypatch.setattr(KIND, "experiment", real)
    before = contents(folder)
    edge_glass.train(config, output=folder, resume="latest", progress=False)
    unchanged = {name: one for name, one in contents(folder).items() if not name.startswith("compared")}
    assert unchanged.items() <= before.items()
    weights = "compared/blind/model/trained.safetensors"
    assert (folder / weights).read_bytes() == (whole / weights).read_bytes()


@pytest.mark.slow
def test_companions_run_in_processes_of_their_own(tmp_path: Path) -> None:
    config = tiny_config(evaluation={"compare_with": ["blind"]}, training={"max_steps": 2})
    edge_glass.train(config, output=tmp_path, progress=False)
    environment = json.loads((tmp_path / "compared/blind/environment.json").read_text())
    assert environment["packages"]["torch"]
    assert (tmp_path / "compared/blind/report.html").exists()
    page = (tmp_path / "report.html").read_text()
    assert "without the picture" in page.lower() or "blind" in page.lower()
