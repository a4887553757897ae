"""What all sections of the experiment file have in common."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import PydanticCustomError, core_schema

from edge_glass.core.registry import Registry

KeyPath = tuple[str | int, ...]


class Section(BaseModel):
    """Base of every section: unknown keys are errors, values are not coerced, nothing changes later."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class Problem(NamedTuple):
    """One thing that is wrong: the path of its key, and the rest of the sentence.

    `missing` is the data file or folder that is not there, where that is all that is wrong.
    """

    path: KeyPath
    text: str
    missing: Path | None = None


class OneOf:
    """The kinds of a registry as the values of a text: `Annotated[str, OneOf(FAMILIES)]`.

    They are listed when a value is checked, so that one new file is a new value.

    Args:
        registry: Has one file for each kind.
        also: Further values, without a file.
        but: Kinds that do not fit here.
    """

    def __init__(self, registry: Registry, also: tuple[str, ...] = (), but: tuple[str, ...] = ()) -> None:
        self.registry = registry
        self.also = also
        self.but = but

    def names(self) -> list[str]:
        """Return the values that there are, in alphabetical order."""
        return sorted({*self.registry.names(), *self.also} - {*self.but})

    def check(self, value: str) -> str:
        """Return the value if there is such a kind; the schema says what would be one."""
        if value not in self.names():
            raise PydanticCustomError("no_such_kind", "there is no such kind")
        return value

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> Any:
        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(self, schema: Any, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {**handler(schema), "enum": self.names()}
