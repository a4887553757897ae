"""configs/schema.json is current, and agrees with the loader about what is valid."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from edge_glass.config import json_schema, write_json_schema
from edge_glass.config.fields import known_keys
from edge_glass.config.schema import TASKS, config_class

COMMITTED = Path(__file__).parents[2] / "configs" / "schema.json"


def errors_of(data: dict[str, Any]) -> list[str]:
    return [error.message for error in jsonschema.Draft202012Validator(json_schema()).iter_errors(data)]


def test_the_committed_schema_is_current(tmp_path: Path) -> None:
    fresh = write_json_schema(tmp_path / "schema.json").read_text(encoding="utf-8")
    assert COMMITTED.read_text(encoding="utf-8") == fresh, (
        "the options have changed; run: "
        "python -c \"from edge_glass.config import write_json_schema as w; w('configs/schema.json')\""
    )


def test_it_is_a_json_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(json.loads(json.dumps(json_schema())))


@pytest.mark.parametrize(
    "data",
    [
        {"name": "x"},
        {"base": "other.yaml"},
        {"base": "other.yaml", "ablation": {"seeds": [1]}},
        {"name": "x", "ablation": {"variants": {"a": {"losses.mrl": 0, "training": {"epochs": 3}}}}},
        {"name": "x", "optimization": {"betas": [0.9, 0.95]}},
        {"name": "x", "losses": {"mrl": 0}},
        {"name": "x", "task": "instruction", "decoder": {"kind": "trm"}},
        {"name": "x", "task": "detection", "vlm": {"mode": "full"}},
        {"base": "other.yaml", "vlm": {"mode": "full"}},
    ],
)
def test_valid_files(data: dict[str, Any]) -> None:
    assert errors_of(data) == []


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"name": "x", "trainng": {}},
        {"name": "x", "training": {"epocs": 3}},
        {"name": "x", "training": {"epochs": 0}},
        {"name": "x", "ablation": {"variants": {"a": {"losses.mlr": 0}}}},
        {"base": 3},
        {"name": "x", "task": "search"},
        {"name": "x", "decoder": {"kind": "trm"}},
        {"name": "x", "task": "instruction", "losses": {"mrl": 0}},
        {"base": "other.yaml", "vlm": {"mode": "fully"}},
    ],
)
def test_invalid_files(data: dict[str, Any]) -> None:
    assert errors_of(data) != []


def test_every_option_explains_itself() -> None:
    text = json.dumps(json_schema())
    for key in (key for task in TASKS.names() for key in known_keys(config_class(task))):
        assert f'"{key.rpartition(".")[2]}"' in text
