"""From a YAML file to a checked `ExperimentConfig`: base, the file itself, overrides, toy size, checks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import ValidationError

from edge_glass.config.fields import Expected
from edge_glass.config.overrides import (
    key_path,
    key_problem,
    leaf_paths,
    merged,
    nested,
    parse_override,
    presets_first,
)
from edge_glass.config.problems import Origins, config_error, dotted, found, problems_of, wrong_value
from edge_glass.config.schema import DEFAULT_TASK, TASKS, ExperimentConfig, config_class
from edge_glass.config.sections.base import Problem
from edge_glass.config.sources import build_command
from edge_glass.config.tiny import shrink
from edge_glass.config.variants import variant_problems
from edge_glass.config.yaml_files import YamlDocument, dump_yaml, read_yaml
from edge_glass.core.errors import ConfigError


class Checked(NamedTuple):
    """An experiment file that was looked at: what is wrong with it, and data files that are not there yet."""

    file: Path
    error: ConfigError | None
    missing: tuple[Path, ...] = ()


def load_config(
    path: str | Path, overrides: Sequence[str] = (), *, tiny: bool = False, packages: bool = True
) -> ExperimentConfig:
    """Read an experiment file and check it whole; see `edge_glass.load_config`."""
    config, problems, origins = _examined(Path(path), overrides, tiny=tiny, packages=packages)
    if problems:
        raise config_error(problems, origins)
    return config


def dump_config(config: ExperimentConfig) -> str:
    """Write a config as YAML that reads back to an equal one: every option, in the order of the schema."""
    return dump_yaml(config.model_dump())


def check_files(
    paths: Iterable[str | Path], overrides: Sequence[str] = (), *, tiny: bool = False
) -> list[Checked]:
    """Check each file, and each *.yaml of a folder, and report what is wrong instead of raising it.

    A data file that is not there is no error here: a fresh clone has none yet.
    """
    results: list[Checked] = []
    for path in map(Path, paths):
        files = sorted([*path.glob("*.yaml"), *path.glob("*.yml")]) if path.is_dir() else [path]
        if not files:
            results.append(Checked(path, ConfigError(f"{path}: this folder holds no *.yaml file")))
        for file in files:
            try:
                _, problems, origins = _examined(file, overrides, tiny=tiny, packages=True)
            except ConfigError as error:
                results.append(Checked(file, error))
                continue
            wrong = [problem for problem in problems if problem.missing is None]
            missing = tuple(problem.missing for problem in problems if problem.missing is not None)
            results.append(Checked(file, config_error(wrong, origins) if wrong else None, missing))
    return results


def how_to_build(missing: Iterable[Path]) -> str:
    """Return one line on data files that are not there: the commands that build them, and the other paths."""
    paths = sorted(set(missing))
    commands = {build_command(path) for path in paths} - {None}
    # With speech, a data set is written whole.
    commands -= {
        f"{command}".removesuffix(" --speech") for command in commands if f"{command}".endswith("--speech")
    }
    parts = [f"`{command}`" for command in sorted(map(str, commands))]
    parts += [str(path) for path in paths if build_command(path) is None]
    return f"data files that are not there yet, which training needs: {', '.join(parts)}"


def _examined(
    path: Path, overrides: Sequence[str], *, tiny: bool, packages: bool
) -> tuple[ExperimentConfig, list[Problem], Origins]:
    """Return the experiment, what is wrong with it, and where its keys were written.

    Raises:
        ConfigError: It cannot be read, or has keys or values that the schema refuses.
    """
    origins = Origins(str(path))
    raw = _read_with_base(path, origins)
    changes = presets_first(map(parse_override, overrides))
    for override in changes:
        if override.key == "task":
            raw["task"] = override.value
            origins.note(("task",), override.where)
    schema = _class_of(raw.get("task", DEFAULT_TASK), origins)
    overridden: set[str] = set()
    for override in changes:
        where = key_path(override.key, schema)
        if problem := key_problem(where, schema):
            origins.note(where[:1], override.where)
            raise config_error([problem], origins)
        change = nested(where, override.value)
        raw = merged(raw, change)
        for leaf in leaf_paths(change):
            origins.note(leaf, override.where)
            overridden.add(dotted(leaf))
    config = validate(raw, schema, origins)
    problems = _problems(config, surroundings=not tiny, packages=packages)
    if not tiny or problems:  # at full size first: toy settings must not hide a mistake
        return config, problems, origins
    config = validate(shrink(config, keep=overridden), schema, origins)
    return config, _problems(config, surroundings=False), origins


def _class_of(written: Any, origins: Origins) -> type[ExperimentConfig]:
    """Return the class of the task.

    Raises:
        ConfigError: There is no such task.
    """
    if not isinstance(written, str) or written not in TASKS.names():
        wrong = wrong_value(Expected(Literal[tuple(TASKS.names())]), written)
        raise config_error([Problem(("task",), wrong)], origins)
    return config_class(written)


def validate(raw: Mapping[str, Any], schema: type[ExperimentConfig], origins: Origins) -> ExperimentConfig:
    """Return plain data as a config, by the schema alone.

    Raises:
        ConfigError: unknown keys, missing keys and values of the wrong type, in plain words.
    """
    try:
        return schema.model_validate(raw)
    except ValidationError as error:
        raise config_error(problems_of(error, raw, schema), origins) from error


def _problems(config: ExperimentConfig, *, surroundings: bool, packages: bool = True) -> list[Problem]:
    return [
        *config.problems(surroundings=surroundings, packages=packages),
        *variant_problems(config, surroundings=surroundings),
    ]


def _read_with_base(path: Path, origins: Origins) -> dict[str, Any]:
    """Read the file, merged over its base, if it names one."""
    document = _read_mapping(path)
    raw = dict(document.value)
    if "base" not in raw:
        origins.note_file(str(path), document.lines)
        return raw
    name, where = raw.pop("base"), f"{path} line {document.lines[('base',)]}"
    if not isinstance(name, str):
        raise ConfigError(f"{where}: base: expected the path of a YAML file, got {found(name)}")
    base_path = path.parent / name
    if not base_path.is_file():
        raise ConfigError(f"{where}: base: no such file: {base_path} (the path is relative to {path.name})")
    base = _read_mapping(base_path)
    if "base" in base.value:
        raise ConfigError(f"{where}: base: {base_path} has a base itself; only one level is allowed")
    origins.note_file(str(base_path), base.lines)
    origins.note_file(str(path), document.lines)
    return merged(base.value, raw)


def _read_mapping(path: Path) -> YamlDocument:
    """Read a YAML file whose top is a mapping; an empty file counts as one."""
    if path.is_dir():
        raise ConfigError(f"{path}: is a folder; expected a YAML file")
    if not path.is_file():
        raise ConfigError(f"{path}: no such file{_nearest_file(path)}")
    document = read_yaml(path)
    if document.value is None:
        return YamlDocument({}, document.lines)
    if not isinstance(document.value, dict):
        raise ConfigError(
            f"{path}: expected keys and values such as name: my-run, got {found(document.value)}"
        )
    return document


def _nearest_file(path: Path) -> str:
    """Hint at the most similar YAML file of the same folder."""
    names = [file.name for file in path.parent.glob("*.y*ml")] if path.parent.is_dir() else []
    near = get_close_matches(path.name, names, n=1) or get_close_matches(
        f"{path.name}.yaml", names, n=1, cutoff=0.9
    )
    return f"; did you mean {path.parent / near[0]}?" if near else ""
