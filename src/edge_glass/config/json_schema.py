"""The schema as JSON Schema, for completion and checks while typing (`# yaml-language-server: $schema=…`)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic.json_schema import models_json_schema

from edge_glass.config.fields import known_keys
from edge_glass.config.schema import DEFAULT_TASK, TASKS, config_class

_BASE = {
    "type": "string",
    "description": "Another YAML file to start from, relative to this one. One level only.",
}


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of an experiment file: that of its task.

    It differs from pydantic's in that a file may have a `base`, and with one nothing is required, not even
    the task; and in that the keys of ablation variants are known.
    """
    classes = {task: config_class(task) for task in TASKS.names()}
    names, schema = models_json_schema([(one, "validation") for one in classes.values()])
    refs = {task: names[one, "validation"] for task, one in classes.items()}
    definitions = schema["$defs"]
    for task, one in classes.items():
        own = definitions[refs[task]["$ref"].rpartition("/")[2]]
        required = own.pop("required", [])
        own["anyOf"] = [{"required": required}, {"required": ["base"]}]
        own["properties"] = {"base": _BASE, **own["properties"]}
        ablation = definitions["AblationConfig"]
        ablation["properties"]["variants"]["additionalProperties"].setdefault("propertyNames", {"enum": []})
        keys = ablation["properties"]["variants"]["additionalProperties"]["propertyNames"]["enum"]
        keys += [key for key in known_keys(one) if key not in keys]
    for definition in definitions.values():
        definition.pop("required", None)  # the base may have it
    says, based = {"required": ["task"]}, {"required": ["base"]}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$defs": definitions,
        "title": "ExperimentConfig",
        "description": "One experiment: what `edge-glass train FILE` reads.",
        "type": "object",
        "properties": {"task": {"enum": list(classes), "description": "What is trained."}},
        "allOf": [
            *(
                {"if": {"properties": {"task": {"const": task}}, **says}, "then": ref}
                for task, ref in refs.items()
            ),
            {"if": {"not": {"anyOf": [says, based]}}, "then": refs[DEFAULT_TASK]},
            {"if": {"not": says, **based}, "then": {"anyOf": list(refs.values())}},
        ],
    }


def write_json_schema(path: str | Path) -> Path:
    """Write the JSON Schema to a file and return its path."""
    path = Path(path)
    path.write_text(json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return path
