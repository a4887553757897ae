"""What all sections of the experiment file have in common."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict

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
