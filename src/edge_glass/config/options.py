"""Sections of the experiment file as the options of a class that is made in Python."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import ValidationError

from edge_glass.config.fields import expected_at, in_words
from edge_glass.config.sections.base import Section
from edge_glass.core.errors import ConfigError


class Options(Section):
    """A section whose mistakes are `ConfigError`s, one line each, as there is no file to point at.

    Attributes:
        noun: What messages call it.
    """

    noun: ClassVar[str]

    def __init__(self, **values: Any) -> None:
        lists = {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
        try:
            super().__init__(**lists)
        except ValidationError as error:
            problems = [self._problem(detail) for detail in error.errors(include_url=False)]
            raise ConfigError("\n".join(problems)) from error

    @classmethod
    def _problem(cls, detail: Any) -> str:
        """Return one problem of pydantic's report as a sentence."""
        path = detail["loc"]
        expected = expected_at(path, cls)
        if expected is None:
            return f"{cls.noun}: expected one of the options {', '.join(cls.model_fields)}, got {path[0]!r}"
        if detail["type"] == "value_error":
            return f"{cls.noun}: {detail['msg'].partition(', ')[2]}"
        return f"{cls.noun}: {path[0]}: expected {in_words(expected)}, got {detail['input']!r}"
