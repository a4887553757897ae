"""Dotted overrides: `training.epochs=3` on the command line, `losses.mrl: 0` in an ablation variant."""

from __future__ import annotations

import copy
import typing
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from edge_glass.config.fields import expected_at, in_words, section_of, without_none
from edge_glass.config.problems import unknown_key
from edge_glass.config.schema import ExperimentConfig, other_classes
from edge_glass.config.sections.base import KeyPath, Problem
from edge_glass.config.sections.detection import LORA_PRESETS
from edge_glass.config.yaml_files import parse_yaml
from edge_glass.core.errors import ConfigError

RIGHT_FORM = "write KEY=VALUE, such as training.epochs=3 or 'vision_encoder.mrl_dimensions=[256, 64]'"

_FROM_PRESET = {key for preset in LORA_PRESETS.values() for key in preset}


class Override(NamedTuple):
    """One override: the dotted key, what is put there, and how the user wrote it."""

    key: str
    value: Any
    text: str

    @property
    def where(self) -> str:
        """How messages name it."""
        return f"override {self.text}"


def parse_override(text: str) -> Override:
    """Split `"training.epochs=3"` into key and value; the value follows the rules of the YAML file.

    Raises:
        ConfigError: for a bad form, or a value that is not YAML.
    """
    key, equals, value = text.partition("=")
    key = key.strip()
    if not equals or not all(part.strip() == part and part for part in key.split(".")):
        raise ConfigError(f"override {text}: not of the right form; {RIGHT_FORM}")
    try:
        parsed = parse_yaml(value, "").value
    except ConfigError as error:
        problem_text = str(error).partition(": ")[2]  # without the line: there is only one
        raise ConfigError(f"override {text}: {problem_text}; {RIGHT_FORM}") from error
    return Override(key, parsed, text)


def key_path(dotted_key: str, schema: type[ExperimentConfig]) -> KeyPath:
    """Return a dotted key as a path. Inside a variant, whose keys are free, the rest is one: "losses.mrl"."""
    path: KeyPath = ()
    rest = dotted_key.split(".")
    while rest:
        if path and _is_free_mapping(path, schema) and _is_free_mapping(path[:-1], schema):
            return (*path, ".".join(rest))
        path = (*path, rest.pop(0))
    return path


def key_problem(path: KeyPath, schema: type[ExperimentConfig]) -> Problem | None:
    """Return what is wrong with a key, if no task has such a place; another task's may have its default."""
    if any(expected_at(path, other) is not None for other in other_classes(schema).values()):
        return None
    for length in range(1, len(path) + 1):
        if expected_at(path[:length], schema) is not None:
            continue
        parent = expected_at(path[: length - 1], schema)
        if parent is not None and section_of(parent.annotation) is None:
            name = ".".join(str(part) for part in path[: length - 1])
            return Problem(path, f"{name} has no keys below it; it takes {in_words(parent)}")
        return Problem(path[:length], unknown_key(path[:length], schema))
    return None


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Put `over` on `base`: mappings merge key by key, all else is replaced. Neither is changed.

    Where `over` names a preset, what the base says about the keys that presets fill in is forgotten.
    """
    forgotten = _FROM_PRESET if isinstance(over.get("preset"), str) else set()
    result = {key: copy.deepcopy(value) for key, value in base.items() if key not in forgotten}
    for key, value in over.items():
        below = result.get(key)
        both = isinstance(below, Mapping) and isinstance(value, Mapping)
        result[key] = merged(below, value) if both else copy.deepcopy(value)  # type: ignore[arg-type]
    return result


def presets_first(overrides: Iterable[Override]) -> list[Override]:
    """Order overrides so that a preset does not undo another one of the same command."""
    return sorted(overrides, key=lambda override: override.key.rpartition(".")[2] != "preset")


def nested(path: KeyPath, value: Any) -> dict[str, Any]:
    """Map ("training", "epochs"), 3 → {"training": {"epochs": 3}}."""
    for part in reversed(path):
        value = {part: value}
    return typing.cast("dict[str, Any]", value)


def leaf_paths(settings: Mapping[str, Any], prefix: KeyPath = ()) -> Iterator[KeyPath]:
    """Yield the paths of all values that are not mappings with keys of their own."""
    for key, value in settings.items():
        if isinstance(value, Mapping) and value:
            yield from leaf_paths(value, (*prefix, key))
        else:
            yield (*prefix, key)


def _is_free_mapping(path: KeyPath, schema: type[ExperimentConfig]) -> bool:
    here = expected_at(path, schema)
    return here is not None and typing.get_origin(without_none(here.annotation)) is dict
