"""The schema as JSON Schema, for completion and checks while typing (`# yaml-language-server: $schema=…`)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from edge_glass.config.fields import known_keys
from edge_glass.config.schema import ExperimentConfig

_BASE = {
    "type": "string",
    "description": "Another YAML file to start from, relative to this one. One level only.",
}


def json_schema() -> dict[str, Any]:
    """JSON Schema of an experiment file.

    It differs from pydantic's in that a file may have a `base`, and with one nothing is required; and in that
    the keys of ablation variants are known.
    """
    schema = ExperimentConfig.model_json_schema()
    required = schema.pop("required", [])
    schema["anyOf"] = [{"required": required}, {"required": ["base"]}]
    schema["properties"] = {"base": _BASE, **schema["properties"]}
    for definition in schema.get("$defs", {}).values():
        definition.pop("required", None)  # the base may have it
        variants = definition["properties"].get("variants")
        if variants is not None:
            variants["additionalProperties"]["propertyNames"] = {"enum": list(known_keys())}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def write_json_schema(path: str | Path) -> Path:
    """Write the JSON Schema to a file and return its path."""
    path = Path(path)
    path.write_text(json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return path
