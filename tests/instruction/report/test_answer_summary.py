"""Runs of answers on the terminal, and how they are compared."""

from __future__ import annotations

import dataclasses
import json
import shutil

import numpy as np
import pytest

from edge_glass.evaluation.intervals import paired_difference
from edge_glass.evaluation.results import read_results
from edge_glass.experiment.report import describe_run, metrics_table
from edge_glass.instruction.measure.archive import load_answers, save_answers
from edge_glass.instruction.report.companions import answers_of, compared, difference, units_of
from edge_glass.instruction.report.wording import blind_sentence
from edge_glass.reporting.run_folder import RunFolder


def test_a_finished_run(answered_run):
    words = describe_run(answered_run)
    lines = {line.split()[0]: line for line in words.splitlines() if line}
    results = read_results(answered_run / "results.json")
    assert lines["Improved:"].startswith("Improved: VQA accuracy")
    for name in ("vqa_accuracy", "never_ended", "vqa_accuracy/type/yes-no"):
        entry = results["metrics"][name]
        assert lines[name].endswith(f"{entry['value']:.3f} [{entry['low']:.3f}, {entry['high']:.3f}]")
    assert "most frequent answer" in lines["test"] and "exact_match/type/color" not in words
    assert "this run (trm)" in words and "without the picture  " in words and "no result yet" in words
    assert lines["report"].endswith("report.html")
    command = lines["try"].split()
    assert command[1:4] == ["edge-glass", "answer", str(answered_run)]
    assert command[4].endswith(".png") and RunFolder(answered_run).path.joinpath(command[4]).is_file()
    assert max(map(len, words.partition("\ntest ")[2].partition("\n\n")[0].splitlines())) <= 110


def test_markup_in_words_is_no_markup(tmp_path, answered_run):
    shutil.copytree(answered_run, tmp_path / "run")
    path = tmp_path / "run" / "results.json"
    path.write_text(path.read_text(encoding="utf-8").replace("type/color", "type/[red]color[/red]"))
    assert "vqa_accuracy/type/[red]color[/red]" in describe_run(tmp_path / "run")


def test_an_adapter_can_be_merged(tmp_path, answered_run):
    shutil.copytree(answered_run, tmp_path / "run")
    (tmp_path / "run" / "config.yaml").write_text(
        "task: instruction\ndecoder: {kind: causal_lm, mode: lora}\nname: x\n"
    )
    assert f"edge-glass merge {tmp_path / 'run'}" in describe_run(tmp_path / "run")


def test_one_evaluation(answered_run):
    results = read_results(answered_run / "results.json") | {"rows": 120}
    first, *tables = metrics_table(results).split("\n\n")
    assert first.splitlines()[0] == "test: 120 rows"
    assert [line.split()[0] for line in first.splitlines()[2:]] == [
        "vqa_accuracy",
        "exact_match",
        "token_f1",
        "rouge_l",
        "never_ended",
    ]
    assert [table.split()[:2] for table in tables] == [["type", "exact_match"], ["source", "exact_match"]]
    entry = results["metrics"]["token_f1/type/shape"]
    line = next(line for line in tables[0].splitlines() if line.startswith("shape"))
    assert line.endswith(f"{entry['value']:.3f} [{entry['low']:.3f}, {entry['high']:.3f}]")


def test_differences_are_paired_by_picture(answered_run):
    run = RunFolder(answered_run)
    blind = run.companions["blind"]
    value, interval = difference(blind, run, "vqa_accuracy")
    assert value == pytest.approx(interval.value) and interval.low < value < interval.high < 0
    scores = [np.array([one.score for one in answers_of(found)]) for found in (blind, run)]
    assert interval == paired_difference(*scores, units_of(answers_of(run)), samples=1000)
    units = units_of(answers_of(run))
    assert len(set(units.tolist())) == 39 + 3, "each row without a picture stands alone"


def test_no_interval_where_the_questions_differ_or_the_metric_is_no_mean(tmp_path, answered_run):
    shutil.copytree(answered_run, tmp_path / "run")
    run = RunFolder(tmp_path / "run")
    blind = run.companions["blind"]
    assert difference(blind, run, "vqa_accuracy/type/color")[1] is None
    records = load_answers(blind.path, "test")
    save_answers(blind.path, "test", [dataclasses.replace(records[0], id="x"), *records[1:]], {})
    value, interval = difference(run, RunFolder(blind.path), "vqa_accuracy")
    assert value > 0 and interval is None
    assert f"; the difference is +{value:.3f}" in blind_sentence(RunFolder(tmp_path / "run"))
    assert difference(blind, run, "bleu") is None


def test_companions_in_order_with_costs(answered_run):
    run = RunFolder(answered_run)
    itself, blind, size, compute = compared(run)
    assert [one.name for one in (itself, blind, size, compute)] == ["", "blind", "same_size", "same_compute"]
    assert (itself.trained, itself.total, itself.difference) == (4_812_345, 8_183_385, None)
    assert (size.trained, size.speed) == (4_799_000, 20.0)
    assert compute.results == {} and compute.difference is None
    assert compared(size_run := run.companions["same_size"]) == [] and size_run.task == "instruction"


def test_parameters_are_summed_where_the_costs_lack_them(tmp_path, answered_run):
    shutil.copytree(answered_run, tmp_path / "run")
    path = tmp_path / "run" / "results.json"
    path.write_text(json.dumps({k: v for k, v in read_results(path).items() if k != "cost"}))
    itself = compared(RunFolder(tmp_path / "run"))[0]
    assert (itself.trained, itself.total, itself.speed) == (4_812_345, 8_183_385, None)


def test_a_run_with_sounds_is_blind_and_deaf(tmp_path, answered_run):
    shutil.copytree(answered_run, tmp_path / "run")
    (tmp_path / "run" / "config.yaml").write_text("task: instruction\naudio_encoder: {source: x}\n")
    assert "without the picture and sound, the model" in blind_sentence(RunFolder(tmp_path / "run"))
