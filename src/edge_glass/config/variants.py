"""Ablation variants: the experiment with a variant's overrides, and the check that each of them is valid."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from edge_glass.config.fields import Expected, expected_at, field_at, in_words
from edge_glass.config.overrides import key_path, key_problem, leaf_paths, merged, nested
from edge_glass.config.problems import Origins, config_error, dotted, problems_of
from edge_glass.config.schema import ExperimentConfig
from edge_glass.config.sections.base import KeyPath, Problem
from edge_glass.core.errors import ConfigError

# What an ablation sets itself, and what to do instead.
_FIXED = {
    "name": "its key names it",
    "task": "an ablation is of one task",
    "seed": "use ablation.seeds",
    "ablation": "it is one",
    "tiny": "use --tiny",
}


def variant_config(config: ExperimentConfig, variant: str, seed: int | None = None) -> ExperimentConfig:
    """Return the experiment of one variant, named NAME-VARIANT (and -seedN), without an ablation of its own.

    Args:
        config: an experiment with an `ablation` section.
        variant: a key of `ablation.variants`.
        seed: replaces the experiment's seed.

    Raises:
        ConfigError: for an unknown variant, or overrides that do not make a valid experiment.
    """
    known = config.ablation.variants if config.ablation else {}
    if variant not in known:
        raise ConfigError(f"ablation.variants has no {variant!r}; it has {', '.join(known) or 'no variants'}")
    result, problems = apply_variant(config, known[variant])
    if result is None or problems:
        raise config_error(problems, Origins(f"variant {variant}"))
    changes: dict[str, Any] = {"name": f"{config.name}-{variant}"}
    if seed is not None:
        changes = {"name": f"{config.name}-{variant}-seed{seed}", "seed": seed}
    return type(config).model_validate(merged(result.model_dump(), changes))


def variant_problems(config: ExperimentConfig, *, surroundings: bool) -> Iterator[Problem]:
    """Yield problems of the ablation section, each at the variant's key in the file.

    A fault of the experiment itself is not repeated under every variant. For `surroundings` see
    `ExperimentConfig.problems`.
    """
    if config.ablation is None:
        return
    here: KeyPath = ("ablation", "variants")
    if not config.ablation.variants:
        yield Problem(here, "is empty; give at least one variant: NAME: {dotted.key: value}")
    own = {problem.text for problem in config.problems(surroundings=surroundings)}
    name_wanted = in_words(expected_at(("name",), type(config)) or Expected(str))
    for variant, overrides in config.ablation.variants.items():
        if not _is_run_name(config, variant):
            yield Problem((*here, variant), f"becomes part of a folder's name; expected {name_wanted}")
            continue
        result, problems = apply_variant(config, overrides)
        if result is not None:
            problems = [*result.problems(surroundings=surroundings), *_unmeasured(config, result)]
        for problem in problems:
            if problem.text not in own:
                written = _as_written(problem.path, overrides)
                named = "" if written == dotted(problem.path) else f"{dotted(problem.path)}: "
                path = (*here, variant) if written is None else (*here, variant, written)
                yield problem._replace(path=path, text=named + problem.text)


def apply_variant(
    config: ExperimentConfig, overrides: Mapping[str, Any]
) -> tuple[ExperimentConfig | None, list[Problem]]:
    """Return the variant's experiment, or what makes the schema refuse it.

    Options of the experiment that the variant leaves unread, such as the recursion where it sets decoder.kind
    to plain, go back to their defaults; what it sets itself stays, for the checks to see.
    """
    schema = type(config)
    raw = merged(config.model_dump(), {"ablation": None})
    written: set[KeyPath] = set()
    for key in sorted(overrides, key=lambda key: not key.endswith(".preset")):  # it undoes what is before it
        path, value = key_path(key, schema), overrides[key]
        problem = key_problem(path, schema)
        if problem is None and path[0] in _FIXED:
            problem = Problem(path, f"a variant cannot set it; {_FIXED[str(path[0])]}")
        if problem is not None:
            return None, [problem]
        raw = merged(raw, nested(path, value))
        written.update(leaf_paths(nested(path, value)))
    try:
        result = schema.model_validate(raw)
    except ValidationError as error:
        return None, problems_of(error, raw, schema)
    already = {problem.path for problem in config.unread()}
    for path in (problem.path for problem in result.unread()):
        field = field_at(path, schema)
        if field and path not in already and not any(path[: len(leaf)] == leaf for leaf in written):
            raw = merged(raw, nested(path, field.default))
    return schema.model_validate(raw), []


def _unmeasured(config: ExperimentConfig, variant: ExperimentConfig) -> Iterator[Problem]:
    """Yield columns of the table at dimensions that the variant does not have."""
    for name in config.ablation.metrics if config.ablation else []:
        yield from variant.metric_problems(("vision_encoder", "mrl_dimensions"), name)


def _is_run_name(config: ExperimentConfig, variant: str) -> bool:
    try:
        type(config).model_validate(merged(config.model_dump(), {"name": variant}))
    except ValidationError:
        return False
    return True


def _as_written(path: KeyPath, overrides: Mapping[str, Any]) -> str | None:
    """Return the variant's key that a path lies at or below; None when the variant does not set it."""
    name = dotted(path)
    keys = [key for key in overrides if name == key or name.startswith((f"{key}.", f"{key}["))]
    return max(keys, key=len, default=None)
