"""A finished instruction run that a1cb8ce made: it loads, answers as it did, and is measured as it was."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import edge_glass
from edge_glass.config import load_config
from edge_glass.evaluation.results import read_json
from edge_glass.instruction.data.sources import load_conversations

RUN = Path(__file__).parent / "made_by_a1cb8ce" / "instruction" / "finished"


def test_it_answers_as_it_did() -> None:
    lines = (RUN / "evaluation" / "test_answers.jsonl").read_text(encoding="utf-8").splitlines()
    records = {record["id"]: record for record in map(json.loads, lines)}
    table = load_conversations(load_config(RUN / "config.yaml"))["test"]
    rows = [row for row, name in enumerate(table.ids) if name in records]
    assert len(rows) == len(records) > 0
    answers = edge_glass.load(RUN).answer_all([(table.picture(row), table.question(row)) for row in rows])
    assert answers == [records[table.ids[row]]["answer"] for row in rows]


def test_it_is_measured_as_it_was(tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(RUN, run)
    found = edge_glass.evaluate(run, progress=False)["metrics"]
    for name, then in read_json(RUN / "results.json")["metrics"].items():
        # Its interval is another one today, wider where groups are few; see docs/benchmarks.md.
        assert found[name]["value"] == pytest.approx(then["value"], abs=1e-9), name
        assert found[name]["low"] <= then["low"] and then["high"] <= found[name]["high"], name
