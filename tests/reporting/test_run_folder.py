"""Readers over whole, torn, resumed and empty run folders."""

from __future__ import annotations

import csv
import json
import logging

import numpy as np
import pytest

from edge_glass.alignment.report.sides import archive_of
from edge_glass.core.errors import DataError
from edge_glass.reporting.run_folder import RunFolder, number, read_metrics, write_metrics_csv


def write_lines(folder, *lines: str) -> None:
    (folder / "metrics.jsonl").write_text("\n".join(lines), encoding="utf-8")


def test_torn_lines_are_left_out_and_told(tmp_path, caplog):
    write_lines(
        tmp_path, '{"step": 1, "train/loss": 2.0}', "", "[]", "3.5", '{"loss": 1}', '{"step": 2, "train/lo'
    )
    with caplog.at_level(logging.WARNING):
        assert read_metrics(tmp_path / "metrics.jsonl") == [{"step": 1, "train/loss": 2.0}]
    assert "4 unreadable" in caplog.text


def test_a_resumed_run_overwrites_the_steps_it_repeats(tmp_path):
    write_lines(
        tmp_path,
        '{"step": 1, "train/loss": 5}',
        '{"step": 2, "train/loss": 4}',
        '{"step": 2, "val/loss": 9}',
        '{"step": 3, "train/loss": 3}',
        '{"step": 2, "train/loss": 4.5}',
    )
    assert read_metrics(tmp_path / "metrics.jsonl") == [
        {"step": 1, "train/loss": 5},
        {"step": 2, "train/loss": 4.5, "val/loss": 9},
        {"step": 3, "train/loss": 3},
    ]


def test_series_skip_what_is_no_number_and_keep_gaps(tmp_path):
    write_lines(
        tmp_path,
        '{"step": 1, "x": 1}',
        '{"step": 2, "x": NaN}',
        '{"step": 3, "x": "a"}',
        '{"step": 4, "x": true}',
    )
    steps, values = RunFolder(tmp_path).series("x")
    np.testing.assert_array_equal(steps, [1, 2])
    np.testing.assert_array_equal(values, [1, np.nan])
    assert [len(part) for part in RunFolder(tmp_path).series("absent")] == [0, 0]


def test_metrics_csv(tmp_path):
    write_lines(tmp_path, '{"val/loss": 5, "step": 0}', '{"train/loss": 3, "epoch": 0.5, "step": 10}')
    with write_metrics_csv(tmp_path).open(encoding="utf-8") as file:
        assert list(csv.reader(file)) == [
            ["step", "epoch", "val/loss", "train/loss"],
            ["0", "", "5", ""],
            ["10", "0.5", "", "3"],
        ]


def test_an_empty_folder_gives_empty_values(tmp_path):
    run = RunFolder(tmp_path)
    assert (run.config, run.environment, run.baseline, run.results, run.parameters) == ({}, {}, {}, {}, {})
    assert run.metrics == [] and archive_of(run) is None and run.config_text == ""
    assert write_metrics_csv(run).read_text(encoding="utf-8").strip() == "step"
    with pytest.raises(DataError, match="no such run folder"):
        RunFolder(tmp_path / "absent")


def test_broken_files_are_told_and_count_as_missing(tmp_path, caplog):
    for name in ("results.json", "environment.json", "parameters.json", "baseline.json"):
        (tmp_path / name).write_text("{", encoding="utf-8")
    (tmp_path / "config.yaml").write_text("a: [", encoding="utf-8")
    (tmp_path / "evaluation").mkdir()
    (tmp_path / "evaluation" / "test.npz").write_bytes(b"PK no zip")
    run = RunFolder(tmp_path)
    with caplog.at_level(logging.WARNING):
        assert (run.config, run.environment, run.baseline, run.results, run.parameters) == (
            {},
            {},
            {},
            {},
            {},
        )
        assert archive_of(run) is None
    for name in ("results.json", "environment.json", "config.yaml", "test.npz"):
        assert name in caplog.text


def test_parameters_stand_in_their_file_or_the_environment(tmp_path):
    (tmp_path / "environment.json").write_text(json.dumps({"parameters": {"a": {"total": 2, "trained": 1}}}))
    assert RunFolder(tmp_path).parameters == {"a": {"total": 2, "trained": 1}}
    (tmp_path / "parameters.json").write_text(json.dumps({"b": {"total": 3, "trained": 3}}))
    assert RunFolder(tmp_path).parameters == {"b": {"total": 3, "trained": 3}}


def test_numbers_out_of_metrics():
    metrics = {"a": {"value": 1, "low": 0.5, "high": None}, "b": 2, "c": float("nan"), "d": True}
    assert [number(metrics, name) for name in "abcde"] == [1.0, 2.0, None, None, None]
    assert (number(metrics, "a", "low"), number(metrics, "a", "high"), number(metrics, "b", "low")) == (
        0.5,
        None,
        None,
    )
