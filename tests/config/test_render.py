"""dump_config writes what load_config reads back: for any config the schema allows."""

from __future__ import annotations

import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import annotated_types
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_glass.config import ExperimentConfig, dump_config
from edge_glass.config.fields import Expected, choices_of, section_of, without_none
from edge_glass.config.loading import validate
from edge_glass.config.problems import Origins
from edge_glass.config.schema import TASKS, config_class
from edge_glass.config.sections.base import Section
from edge_glass.config.yaml_files import parse_yaml

TRICKY = [
    "",
    "off",
    "2e-4",
    "1",
    "null",
    "~",
    "a: b",
    "#x",
    "- x",
    " x ",
    "é\n\tü",
    "0x1F",
    "<<",
    "[1]",
    "'",
    "\u2028",
]
TEXT = st.sampled_from(TRICKY) | st.text(max_size=8)
ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=4,
)


def strategy_of(expected: Expected) -> st.SearchStrategy[Any]:
    """Values that fit one place of the schema, read off its annotation like everything else."""
    annotation = without_none(expected.annotation)
    if annotation is not expected.annotation:
        return st.none() | strategy_of(Expected(annotation, expected.metadata))
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    section = section_of(annotation)
    if section is not None:
        return sections(section)
    bounds = {
        name: getattr(one, name)
        for one in expected.metadata
        for name in ("ge", "gt", "le", "lt")
        if hasattr(one, name)
    }
    least = max(
        (one.min_length for one in expected.metadata if isinstance(one, annotated_types.MinLen)), default=0
    )
    patterns = [one.pattern for one in expected.metadata if getattr(one, "pattern", None)]
    if choices := choices_of(expected):
        return st.sampled_from(choices)
    if origin is typing.Annotated:
        return strategy_of(Expected(arguments[0], tuple(arguments[1:])))
    if origin is list:
        return st.lists(strategy_of(Expected(arguments[0])), min_size=least, max_size=4)
    if origin is tuple:
        return st.tuples(*(strategy_of(Expected(argument)) for argument in arguments))
    if origin is dict:
        return st.dictionaries(TEXT, strategy_of(Expected(arguments[1])), max_size=3)
    if annotation is float:
        low, high = bounds.get("ge", bounds.get("gt")), bounds.get("le", bounds.get("lt"))
        return st.floats(
            low,
            high,
            exclude_min="gt" in bounds,
            exclude_max="lt" in bounds,
            allow_nan=False,
            allow_infinity=False,
        )
    if annotation is int:
        return st.integers(
            bounds.get("ge", -(2**40)), bounds.get("le", bounds.get("lt", 2**32) - ("lt" in bounds))
        )
    if annotation is bool:
        return st.booleans()
    if annotation is str:
        return st.from_regex(patterns[0].replace("$", r"\Z"), fullmatch=True) if patterns else TEXT
    return ANY


def sections(section: type[Section]) -> st.SearchStrategy[dict[str, Any]]:
    fields = {
        name: strategy_of(Expected(field.annotation, tuple(field.metadata)))
        for name, field in section.model_fields.items()
    }
    required = {
        name: fields.pop(name)
        for name, field in section.model_fields.items()
        if field.is_required() or name == "task"
    }
    return st.fixed_dictionaries(required, optional=fields)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(TASKS.names()).flatmap(lambda task: sections(config_class(task))))
def test_round_trip_of_any_config(raw: dict[str, Any]) -> None:
    config = ExperimentConfig.model_validate(raw)
    again = validate(parse_yaml(dump_config(config), "f.yaml").value, type(config), Origins("f.yaml"))
    assert again == config
    assert isinstance(again.optimization.betas, tuple)


def test_round_trip_through_a_file(load: Callable[..., ExperimentConfig]) -> None:
    config = load(
        "optimization: {betas: [0.5, 0.999], lr: 2e-4}\nablation: {variants: {a: {losses.mrl: 0}}}\n"
    )
    assert load(text=dump_config(config)) == config
    assert dump_config(load(text=dump_config(config))) == dump_config(config)


def test_it_is_readable(load: Callable[..., ExperimentConfig]) -> None:
    lines = dump_config(load()).splitlines()
    assert lines[0] == "name: small"
    assert "  mrl_dimensions: [128, 64]" in lines
    assert "  betas: [0.9, 0.95]" in lines
    assert set(ExperimentConfig.model_fields) <= {line.partition(":")[0] for line in lines}


def test_text_that_looks_like_a_number_is_quoted(load: Callable[..., ExperimentConfig]) -> None:
    text = dump_config(load("", "output_dir='2e-4'", "training.feature_cache=off"))
    assert "output_dir: '2e-4'" in text
    assert "feature_cache: off" in text
    assert Path("small.yaml").exists()
