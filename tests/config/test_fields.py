"""The schema read as a tree: every key is found, typos lead back to it, expectations become words."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from edge_glass.config import ExperimentConfig
from edge_glass.config.alignment import AlignmentConfig
from edge_glass.config.detection import DetectionConfig
from edge_glass.config.fields import (
    RENAMED,
    choices_of,
    expected_at,
    in_words,
    known_keys,
    nearest_keys,
    section_of,
    walk,
)
from edge_glass.config.instruction import InstructionConfig

Schema = type[ExperimentConfig]
SCHEMAS: list[Schema] = [AlignmentConfig, InstructionConfig, DetectionConfig]
# Each key once, with the first task that has it.
KEYS = {key: schema for schema in reversed(SCHEMAS) for key in known_keys(schema)}


def typos(word: str) -> Iterator[str]:
    """One letter left out, doubled, replaced, or swapped with the next."""
    for index, letter in enumerate(word):
        yield word[:index] + word[index + 1 :]
        yield word[:index] + letter + word[index:]
        yield word[:index] + "x" + word[index + 1 :]
        yield word[:index] + word[index + 1 : index + 2] + letter + word[index + 2 :]


@pytest.mark.parametrize(("key", "schema"), KEYS.items())
def test_every_typo_in_every_key_leads_back_to_it(key: str, schema: Schema) -> None:
    section, dot, name = key.rpartition(".")
    wrong = {section + dot + typo for typo in typos(name) if typo} - set(known_keys(schema))
    assert wrong
    assert {typo: nearest_keys(typo, schema) for typo in wrong} == {typo: [key] for typo in wrong}


@pytest.mark.parametrize(("key", "schema"), [(key, schema) for key, schema in KEYS.items() if "." in key])
def test_a_key_in_the_wrong_section_leads_to_the_right_one(key: str, schema: Schema) -> None:
    name, known_of = key.rpartition(".")[2], known_keys(schema)
    for wrong in (name, f"evaluation.{name}"):
        if wrong not in known_of:
            homes = [known for known in known_of if known.rpartition(".")[2] == name]
            found = nearest_keys(wrong, schema)
            assert found
            assert set(found) <= set(homes) or found[0].startswith(wrong[:-1])


def test_a_section_run_into_the_name() -> None:
    assert nearest_keys("vision_encoder_source", AlignmentConfig) == ["vision_encoder.source"]
    assert nearest_keys("text_encoder.head_dropout", AlignmentConfig) == ["text_encoder.head.dropout"]


def test_nothing_near_gives_nothing() -> None:
    assert nearest_keys("training.qqqqqqqq", AlignmentConfig) == []


def test_renamed_keys_lead_to_keys_that_exist() -> None:
    names = {key.rpartition(".")[2] for key in KEYS}
    assert {today.partition(":")[0] for several in RENAMED.values() for today in several} <= names


def test_every_key_has_an_expectation_in_words() -> None:
    for schema in SCHEMAS:
        for key, field in walk(schema):
            expected = expected_at(tuple(key.split(".")), schema)
            assert expected is not None
            assert expected.annotation == field.annotation
            assert in_words(expected) != "another value", f"say in fields.py what {key} expects"


def test_every_field_is_described() -> None:
    bare = [
        key
        for schema in SCHEMAS
        for key, field in walk(schema)
        if not field.description and section_of(field.annotation) is None
    ]
    assert bare == []


def test_choices() -> None:
    expected = expected_at(("losses", "kind"), AlignmentConfig)
    assert expected is not None
    assert "infonce" in choices_of(expected)
    assert expected_at(("losses", "nope"), AlignmentConfig) is None
    assert expected_at(("training", "epochs", "x"), AlignmentConfig) is None
