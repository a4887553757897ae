"""Whole runs of the task instruction in the toy size: each decoder and prefix, and what they leave."""

from __future__ import annotations

import json
import logging
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from answer_tasks import LORA, PERCEIVER, TRM, tiny_config
from safetensors.torch import load_file

import edge_glass
import edge_glass.experiment.run as run_module
from edge_glass.config import ExperimentConfig, load_config
from edge_glass.core.canary import FILE as CANARY
from edge_glass.instruction.measure.archive import load_answers, picture_of
from edge_glass.instruction.model.folder import load_answering_model
from edge_glass.training.checkpoint import list_checkpoints, problems, read_checkpoint

torch.set_num_threads(1)

FULL = {"kind": "causal_lm", "mode": "full"}
FROZEN = {"kind": "causal_lm", "mode": "frozen"}
SOUND: dict[str, Any] = {"audio_encoder": {"pooling_type": "none"}}
RECURSION = {"refinements": 1, "cycles": 2, "supervision_steps": 2, "halting": True}

Sections = dict[str, Any]

VARIANTS: dict[str, tuple[Any, Sections]] = {
    "trm": (TRM, {}),
    "trm that halts": (TRM | {"recursion": RECURSION}, {"vision_encoder": {"pooling_type": "none"}}),
    "plain": (TRM | {"kind": "plain"}, {"vision_encoder": {"pooling_type": "mean"}}),
    "lora": (LORA, {"evaluation": {"primary_metric": "token_f1"}}),
    "lora, checkpointed": (LORA | {"gradient_checkpointing": True}, {"prefix": {"projector": "linear"}}),
    "full": (FULL, {"vision_encoder": {"pooling_type": "cls"}}),
    "frozen": (FROZEN, {"prefix": {"perceiver": PERCEIVER}}),
    "concat": (TRM, {**SOUND, "fusion": {"kind": "concat"}, "prefix": {"perceiver": PERCEIVER}}),
    "cross attention": (LORA, {**SOUND, "fusion": {"kind": "cross_attention", "num_heads": 2}}),
    "gated": (TRM, {**SOUND, "fusion": {"kind": "gated"}, "dataset": {"num_workers": 1}}),
    "sounds one after the other": (FROZEN, {"audio_encoder": {"pooling_type": "mean_max"}}),
    "blind": (TRM, {"prefix": {"blind": True}}),
    "blind lora": (LORA, {**SOUND, "prefix": {"blind": True}}),
    "accumulated": (LORA, {"dataset": {"batch_size": 3}, "training": {"gradient_accumulation_steps": 3}}),
    "bf16": (TRM, {"training": {"precision": "bf16"}}),
    "bf16 lora": (LORA, {"training": {"precision": "bf16"}}),
    "augmented": (TRM, {"dataset": {"augmentation": "crop_flip"}}),
    "masked sounds": (LORA, {**SOUND, "dataset": {"audio_augmentation": "spec_augment"}}),
    "trained encoders": (TRM, {**SOUND, "vision_encoder": {"frozen": False}}),
    "beams": (LORA, {"generation": {"num_beams": 2, "max_new_tokens": 3}}),
}

RESULTS = {
    *("split", "metrics", "baseline", "verdict", "seconds", "samples", "data"),
    *("task", "cost", "most_frequent_answer", "rivals"),
}
COST = {"samples_per_second", "trained_parameters", "total_parameters", "peak_memory_bytes", "processes"}
METRICS = {"exact_match", "vqa_accuracy", "token_f1", "rouge_l", "meteor", "bleu", "cider", "never_ended"}


@pytest.fixture(autouse=True)
def without_reports(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages and plots have tests of their own, and take longer than the runs."""
    monkeypatch.setattr(run_module, "write_report", lambda folder: folder)


def lines_of(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("name", VARIANTS)
def test_a_run_ends_with_all_its_files(name: str, tmp_path: Path) -> None:
    decoder, sections = VARIANTS[name]
    config = tiny_config(decoder, **sections)
    found = edge_glass.train(config, output=tmp_path, progress=False).results
    assert_results(found, config)
    assert found == json.loads((tmp_path / "results.json").read_text())
    assert_logs(tmp_path, config)
    assert_archive(tmp_path, found)
    model, read = load_answering_model(tmp_path / "model")
    assert read.decoder == config.decoder
    assert set(load_file(tmp_path / "model" / CANARY)) >= {"trained", "untouched", "sample.input_ids"}
    assert_checkpoints(tmp_path, config)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert found["cost"]["trained_parameters"] == trained > 0
    again = edge_glass.evaluate(tmp_path, progress=False)["metrics"]
    if config.training.precision != "bf16":
        assert again == found["metrics"]


def assert_results(results: dict[str, Any], config: ExperimentConfig) -> None:
    assert set(results) >= RESULTS and results["task"] == "instruction"
    assert set(results["cost"]) >= COST
    assert METRICS <= set(results["metrics"]) == set(results["baseline"])
    assert {"vqa_accuracy/type/colour", "exact_match/type/shape"} <= set(results["metrics"])
    shares = [*results["metrics"].values(), *results["baseline"].values()]
    for entry in [*shares, *results["most_frequent_answer"]["metrics"].values()]:
        assert 0 <= entry["low"] <= entry["value"] <= entry["high"] <= 1
    guessed = {"exact_match", "vqa_accuracy", "vqa_accuracy/type/name"}
    assert guessed <= set(results["most_frequent_answer"]["metrics"]) <= set(results["metrics"])
    verdict = results["verdict"]
    assert verdict["metric"] == config.evaluation.primary_metric
    assert verdict["strongest_rival"]["name"] == "most_frequent_answer"
    assert verdict["status"] in ("improved", "unchanged", "worse", "too_few")
    rows = {name: split["rows"] for name, split in results["data"].items()}
    assert rows["val"] == rows["test"] == 24 and rows["train"] >= 90
    assert results["samples"] == rows["train"] * config.training.epochs


def assert_logs(folder: Path, config: ExperimentConfig) -> None:
    lines = lines_of(folder / "metrics.jsonl")
    steps = -(-96 // (config.dataset.batch_size * config.training.gradient_accumulation_steps))
    logged = [line for line in lines if "train/loss" in line]
    assert [line["step"] for line in logged] == list(range(1, steps + 1))
    for line in logged:
        assert {"train/token_accuracy", "train/lr", "train/grad_norm"} <= set(line)
        assert math.isfinite(line["train/loss"]) and 0 <= line["train/token_accuracy"] <= 1
    measured = [line for line in lines if "val/loss" in line]
    assert [line["step"] for line in measured] == [0, steps]
    for line in measured:
        assert {f"val/{name}" for name in METRICS | {"token_accuracy"}} <= set(line)
        assert "val/vqa_accuracy/type/colour" in line
    assert measured[0]["val/loss"] != measured[1]["val/loss"]
    shown = lines_of(folder / "samples.jsonl")
    assert [line["step"] for line in shown] == [0, steps]
    for line in shown:
        assert 1 <= len(line["samples"]) <= 8
        assert all(set(one) == {"id", "question", "reference", "answer", "ended"} for one in line["samples"])


def assert_archive(folder: Path, results: dict[str, Any]) -> None:
    records = load_answers(folder, "test")
    assert len(records) == 9  # evaluation.test_rows
    assert all(record.untouched_answer is not None for record in records)
    mean = sum(record.score for record in records) / len(records)
    assert mean == pytest.approx(results["metrics"][results["verdict"]["metric"]]["value"])
    seen = [record.picture for record in records if record.picture]
    assert seen and all(picture_of(folder, "test", picture) for picture in seen)


def assert_checkpoints(folder: Path, config: ExperimentConfig) -> None:
    newest = list_checkpoints(folder / "checkpoints")[0]
    assert problems(newest) is None
    tensors, _ = read_checkpoint(newest)
    assert "canary.safetensors" in tensors
    encoders = [name for name in tensors["model.safetensors"] if "_tower.encoder." in name]
    assert bool(encoders) != config.vision_encoder.frozen


def test_it_learns_and_says_so(tmp_path: Path) -> None:
    """Enough epochs for a toy to learn the colours; the verdict and the artefact know."""
    config = tiny_config(
        optimization={"lr": 0.01},
        training={"epochs": 12, "eval_epochs": 6.0, "logging_steps": 30},
        evaluation={"validation_rows": 24, "test_rows": 24},
    )
    results = edge_glass.train(config, output=tmp_path, progress=False).results
    losses = [line["val/loss"] for line in lines_of(tmp_path / "metrics.jsonl") if "val/loss" in line]
    assert losses[-1] < 0.5 * losses[0]
    ended = results["metrics"]["never_ended"]["value"], results["baseline"]["never_ended"]["value"]
    assert ended[0] < ended[1]
    assert results["metrics"]["token_f1"]["value"] > results["baseline"]["token_f1"]["value"]


def test_the_config_repeats_the_run(tmp_path: Path) -> None:
    one = edge_glass.train(tiny_config(LORA), output=tmp_path / "one", progress=False)
    two = edge_glass.train(
        load_config(tmp_path / "one" / "config.yaml"), output=tmp_path / "two", progress=False
    )
    assert one.results["metrics"] == two.results["metrics"]
    files = [folder / "model" / "trained.safetensors" for folder in (one.folder, two.folder)]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_another_seed_is_another_run(tmp_path: Path) -> None:
    files = []
    for seed in (0, 1):
        config = tiny_config(training={"max_steps": 2}, seed=seed)
        files.append(edge_glass.train(config, output=tmp_path / str(seed), progress=False).folder / "model")
    states = [load_file(folder / "trained.safetensors") for folder in files]
    assert any(not torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_patience_counts_from_the_first_validation_of_training(tmp_path: Path) -> None:
    """The untouched model is measured, but nothing is compared with it."""
    config = tiny_config(
        optimization={"lr": 1e-7},
        training={"epochs": 5, "early_stopping_patience": 2},
        evaluation={"primary_metric": "exact_match"},
    )
    edge_glass.train(config, output=tmp_path, progress=False)
    steps = [line["step"] for line in lines_of(tmp_path / "metrics.jsonl") if "val/loss" in line]
    assert steps == [0, 12, 24, 36]


def test_the_log_says_why_nothing_is_cached(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = tiny_config(dataset={"augmentation": "flip"}, training={"max_steps": 1})
    with caplog.at_level(logging.INFO, logger="edge_glass"):
        edge_glass.train(config, output=tmp_path, progress=False)
    assert "the feature cache is off: dataset.augmentation=flip" in caplog.text
