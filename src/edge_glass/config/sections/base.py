"""What all sections of the experiment file have in common."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import PydanticCustomError, core_schema

from edge_glass.core.registry import Registry


class Section(BaseModel):
    """Base of every section: unknown keys are errors, values are not coerced, nothing changes later."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class OneOf:
    """The kinds of a registry as the values of a text: `Annotated[str, OneOf(FAMILIES)]`.

    They are listed when a value is checked, so that one new file is a new value.
    """

    def __init__(self, registry: Registry) -> None:
        self.registry = registry

    def check(self, value: str) -> str:
        """Return the value if there is such a kind; the schema says what would be one."""
        if value not in self.registry.names():
            raise PydanticCustomError("no_such_kind", "there is no such kind")
        return value

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> Any:
        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(self, schema: Any, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {**handler(schema), "enum": self.registry.names()}
