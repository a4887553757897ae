"""Dotted overrides: `training.epochs=3` on the command line, `losses.mrl: 0` in an ablation variant."""

from __future__ import annotations

import copy
import typing
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from edge_glass.config.fields import expected_at, in_words, section_of, without_none
from edge_glass.config.problems import Origins, Problem, config_error, unknown_key
from edge_glass.config.sections.detection import LORA_PRESETS
from edge_glass.config.yaml_loader import KeyPath, parse_yaml
from edge_glass.core.errors import ConfigError

RIGHT_FORM = "write KEY=VALUE, such as training.epochs=3 or 'vision_encoder.mrl_dimensions=[256, 64]'"

_FROM_PRESET = {key for preset in LORA_PRESETS.values() for key in preset}


class Override(NamedTuple):
    """One override: where it goes, what is put there, and how the user wrote it."""

    path: KeyPath
    value: Any
    text: str

    @property
    def where(self) -> str:
        """How messages name it."""
        return f"override {self.text}"


def parse_override(text: str) -> Override:
    """`"training.epochs=3"` → path and value; the value follows the rules of the YAML file.

    Raises:
        ConfigError: for a bad form, a key the schema does not have, or a value that is not YAML.
    """
    key, equals, value = text.partition("=")
    key = key.strip()
    if not equals or not all(part.strip() == part and part for part in key.split(".")):
        raise ConfigError(f"override {text}: not of the right form; {RIGHT_FORM}")
    origins = Origins("")
    path = key_path(key)
    origins.note((path[0],), f"override {text}")
    problem = key_problem(path)
    if problem is not None:
        raise config_error([problem], origins)
    try:
        parsed = parse_yaml(value, "").value
    except ConfigError as error:
        problem_text = str(error).partition(": ")[2]  # without the line: there is only one
        raise ConfigError(f"override {text}: {problem_text}; {RIGHT_FORM}") from error
    return Override(path, parsed, text)


def key_path(dotted_key: str) -> KeyPath:
    """A dotted key as a path. Inside a variant, which has free keys, the rest is one key: "losses.mrl"."""
    path: KeyPath = ()
    rest = dotted_key.split(".")
    while rest:
        if path and _is_free_mapping(path) and _is_free_mapping(path[:-1]):
            return (*path, ".".join(rest))
        path = (*path, rest.pop(0))
    return path


def key_problem(path: KeyPath) -> Problem | None:
    """What is wrong with a key, if the schema has no such place."""
    for length in range(1, len(path) + 1):
        if expected_at(path[:length]) is not None:
            continue
        parent = expected_at(path[: length - 1])
        if parent is not None and section_of(parent.annotation) is None:
            name = ".".join(str(part) for part in path[: length - 1])
            return Problem(path, f"{name} has no keys below it; it takes {in_words(parent)}")
        return Problem(path[:length], unknown_key(path[:length]))
    return None


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with `over` on top: mappings merge key by key, all else is replaced. Neither is changed.

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
    """Overrides in an order in which a preset does not undo another one of the same command."""
    return sorted(overrides, key=lambda override: override.path[-1:] != ("preset",))


def nested(path: KeyPath, value: Any) -> dict[str, Any]:
    """("training", "epochs"), 3 → {"training": {"epochs": 3}}."""
    for part in reversed(path):
        value = {part: value}
    return typing.cast("dict[str, Any]", value)


def leaf_paths(settings: Mapping[str, Any], prefix: KeyPath = ()) -> Iterator[KeyPath]:
    """The paths of all values that are not mappings with keys of their own."""
    for key, value in settings.items():
        if isinstance(value, Mapping) and value:
            yield from leaf_paths(value, (*prefix, key))
        else:
            yield (*prefix, key)


def _is_free_mapping(path: KeyPath) -> bool:
    here = expected_at(path)
    return here is not None and typing.get_origin(without_none(here.annotation)) is dict
