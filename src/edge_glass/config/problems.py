"""What is wrong with a config, said so that it can be mended: file and line, dotted key, found, expected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from edge_glass.config.fields import (
    RENAMED,
    Expected,
    choices_of,
    expected_at,
    in_words,
    known_keys,
    nearest_keys,
    nearest_word,
)
from edge_glass.config.schema import ExperimentConfig, other_classes
from edge_glass.config.sections.base import KeyPath, Problem
from edge_glass.config.yaml_files import plain_value
from edge_glass.core.errors import ConfigError

MAX_REPORTED = 50
_MAX_SHOWN = 60
_UNKNOWN = ("unknown key", "is not an option")


class Origins:
    """Where each key of the merged config was written: "FILE line 3" or "override KEY=VALUE"."""

    def __init__(self, file: str) -> None:
        self.file = file
        self._written: dict[KeyPath, str] = {}

    def note(self, path: KeyPath, where: str) -> None:
        """Remember where a value was written; a later note wins, for what is below it too."""
        for known in [known for known in self._written if known[: len(path)] == path]:
            del self._written[known]
        self._written[path] = where

    def note_file(self, file: str, lines: Mapping[KeyPath, int]) -> None:
        """Remember the lines of one file; they win over what was noted before."""
        for path, line in lines.items():
            if path:
                self._written[path] = f"{file} line {line}"

    def where(self, path: KeyPath) -> str:
        """Return where the key, or the nearest key above or below it, was written; else the file."""
        for length in range(len(path), 0, -1):
            if path[:length] in self._written:
                return self._written[path[:length]]
        below = (where for known, where in self._written.items() if known[: len(path)] == path)
        return next(below, self.file)


def dotted(path: KeyPath) -> str:
    """Map ("training", "report_to", 0) → "training.report_to[0]"."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def config_error(problems: Sequence[Problem], origins: Origins) -> ConfigError:
    """Return the error with one line per problem, at most MAX_REPORTED, then how many more there are."""
    lines = [f"{origins.where(one.path)}: {dotted(one.path)}: {one.text}" for one in problems[:MAX_REPORTED]]
    if len(problems) > MAX_REPORTED:
        lines.append(f"and {len(problems) - MAX_REPORTED} more")
    return ConfigError("\n".join(lines))


def problems_of(
    error: ValidationError, raw: Mapping[str, Any], schema: type[ExperimentConfig]
) -> list[Problem]:
    """Return pydantic's report as sentences, one per key, in the order of the report.

    Only unknown and missing keys get sentences of their own. Everything else is said from the schema
    ("expected a whole number of at least 1, got 0"), so that every error type of pydantic is covered.
    """
    problems: dict[KeyPath, Problem] = {}
    for detail in error.errors(include_url=False):
        kind, path = detail["type"], _path_in(detail["loc"], raw, schema)
        if kind == "extra_forbidden":
            text = unknown_key(path, schema)
        elif kind == "missing" and expected_at(path, schema) is not None and not isinstance(path[-1], int):
            text = f"missing; expected {in_words(_expected(path, schema))}"
        elif kind in ("value_error", "assertion_error"):
            text = detail["msg"].partition(", ")[2] or detail["msg"]
        else:
            if kind == "missing":  # an item of a list that has to have a certain length
                path = path[:-1]
            text = wrong_value(_expected(path, schema), value_at(raw, path))
        problems.setdefault(path, Problem(path, text))
    # A misspelt key is often the cause of the others, so it comes first.
    return sorted(problems.values(), key=lambda problem: not problem.text.startswith(_UNKNOWN))


def unknown_key(path: KeyPath, schema: type[ExperimentConfig]) -> str:
    """Return the sentence for a key that the task's schema does not have."""
    name, key = str(path[-1]), ".".join(str(part) for part in path)
    if name in known_keys(schema) and "." in name:
        section, _, last = name.rpartition(".")
        return f"unknown key; dotted keys are for the command line: here, write {last}: under {section}:"
    if path == ("base",):
        return "unknown key; base can only stand at the top of a file"
    others = other_classes(schema)
    owners = [task for task, other in others.items() if expected_at(path, other) is not None]
    if owners:
        own = schema.model_fields["task"].default
        text = f"is not an option of task {own}; it belongs to {' and '.join(owners)}"
        above = [option for option in schema.instead if f"{key}.".startswith(f"{option}.")]
        return f"{text}; here, {schema.instead[max(above, key=len)]}" if above else text
    nearest = nearest_keys(key, schema)
    if name in RENAMED:
        if nearest:
            return f"unknown key; here it is called {' or '.join(nearest)}"
        elsewhere = {task: found for task, other in others.items() if (found := nearest_keys(key, other))}
        named = [f"{' or '.join(found)} in the task {task}" for task, found in elsewhere.items()]
        if named:
            return f"unknown key; it is called {' and '.join(named)}"
    if nearest:
        *first, last = nearest
        return f"unknown key; did you mean {', '.join(first) + ' or ' if first else ''}{last}?"
    section = ".".join(str(part) for part in path[:-1])
    siblings = [known for known in known_keys(schema) if known.rpartition(".")[0] == section]
    names = ", ".join(known.rpartition(".")[2] for known in siblings)
    return f"unknown key; {section or 'the top level'} has {names}"


def wrong_value(expected: Expected, value: Any) -> str:
    """Return the sentence for a value that does not fit: expected …, got …; and a hint where one helps."""
    text = f"expected {in_words(expected)}, got {found(value)}"
    hint = _hint(expected, value)
    return f"{text}; {hint}" if hint else text


def found(value: Any) -> str:
    """Describe a value as a phrase: "true", "the text 'ten'", "a list of 3", "nothing (null)"."""
    if value is None:
        return "nothing (null)"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f"the text {value if len(value) <= _MAX_SHOWN else value[:_MAX_SHOWN] + '…'!r}"
    if isinstance(value, Mapping):
        return "a mapping" if value else "an empty mapping"
    if isinstance(value, list | tuple):
        if len(str(list(value))) <= _MAX_SHOWN:
            return f"the list {list(value)}"
        return f"a list of {len(value)}"
    return repr(value)


def _hint(expected: Expected, value: Any) -> str | None:
    phrase, choices = in_words(expected), choices_of(expected)
    if isinstance(value, str) and choices:
        nearest = nearest_word(value, choices)
        return f"did you mean {nearest}?" if nearest else None
    if isinstance(value, str) and not isinstance(meant := plain_value(value), str):
        fits = isinstance(meant, bool) if "true or false" in phrase else isinstance(meant, int | float)
        return "remove the quotes" if fits and ("number" in phrase or "true" in phrase) else None
    if isinstance(value, int | float) and phrase.startswith("text"):
        return "put it in quotes to make it text"
    if phrase.startswith(("a list", "a non-empty list")) and isinstance(value, str | int | float):
        return f"put it in brackets: [{value}]"
    if phrase.startswith("a section") and value is None:
        return "indent its keys below it, or delete the line"
    return None


def _expected(path: KeyPath, schema: type[ExperimentConfig]) -> Expected:
    return expected_at(path, schema) or Expected(Any)


def _path_in(
    location: tuple[str | int, ...], raw: Mapping[str, Any], schema: type[ExperimentConfig]
) -> KeyPath:
    """Return pydantic's location without the names it inserts for union members and dictionary keys."""
    path: KeyPath = ()
    for part in location:
        here = value_at(raw, path)
        is_item = isinstance(part, int) and isinstance(here, list | tuple)
        if is_item or (
            isinstance(here, Mapping) and (part in here or expected_at((*path, part), schema) is not None)
        ):
            path = (*path, part)
    return path


def value_at(raw: Any, path: KeyPath) -> Any:
    """Return what stands at a path of plain data; None where there is nothing."""
    for part in path:
        if isinstance(raw, Mapping):
            raw = raw.get(part)
        elif isinstance(raw, list | tuple) and isinstance(part, int) and part < len(raw):
            raw = raw[part]
        else:
            return None
    return raw
