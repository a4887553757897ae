"""An alignment run that a1cb8ce made: it is searched, and measured again with the same numbers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import edge_glass

MADE = Path(__file__).parent / "made_by_a1cb8ce" / "alignment" / "finished"


def test_it_is_searched() -> None:
    found = edge_glass.load(str(MADE)).search("a sad animal")
    assert found


def test_it_measures_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = shutil.copytree(MADE, tmp_path / "run")
    before = json.loads((run / "results.json").read_text())["metrics"]
    after = edge_glass.evaluate(run)["metrics"]
    shared = before.keys() & after.keys()
    assert shared
    for name in shared:
        assert after[name]["value"] == pytest.approx(before[name]["value"], abs=1e-6), name
