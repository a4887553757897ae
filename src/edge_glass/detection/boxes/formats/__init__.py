"""Box formats: how answers spell boxes. One file each, whose name is what `detection.box_format` says.

A module defines `FORMAT`, a `BoxFormat`. What the numbers mean, and which keys and tokens surround them, is
the `Convention` of the model's family (`edge_glass.vlm.family`). Nothing heavy may be imported at the top of
such a file: the check of an experiment file reads it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Final, NamedTuple

from edge_glass.config.sections.detection import BOX_FORMATS, LOCATE
from edge_glass.core.errors import ConfigError
from edge_glass.vlm.family import Grammar

NUMBER: Final = r"[-+]?(?:[0-9]++(?:\.[0-9]*+)?|\.[0-9]++)(?:[eE][-+]?[0-9]++)?"
"""A pattern of a number; possessive, so that no text takes quadratic time."""

Span = tuple[int, int]
"""First character of a part of a text, and one past its last."""


class WrittenBox(NamedTuple):
    """A box as an answer spells it.

    Attributes:
        numbers: In the order and unit of the answer. When read, nothing is checked yet: not always four.
        label: Empty text where the answer does not say.
        span: Where the numbers stand in the text.
        problem: What stands in place of numbers, or None.
    """

    numbers: Sequence[float]
    label: str = ""
    span: Span = (0, 0)
    problem: str | None = None


class Reading(NamedTuple):
    """What one format finds in an answer.

    Attributes:
        boxes: Every box that is whole, also those that cannot be used.
        says_nothing: Whether the answer says that there is no box.
        cut_off: Whether the text stops in the middle of something.
        problem: Why the reader gave up, or None.
    """

    boxes: Sequence[WrittenBox] = ()
    says_nothing: bool = False
    cut_off: bool = False
    problem: str | None = None


class BoxFormat(ABC):
    """A way to spell boxes.

    Attributes:
        prompt: What every picture is asked where the experiment does not say.
        example: What a box looks like, in a few characters.
    """

    prompt: str = LOCATE
    example: str

    @abstractmethod
    def write(self, boxes: Sequence[WrittenBox], grammar: Grammar) -> str:
        """Return the answer that has these boxes, four whole numbers each; also where there is none.

        Args:
            boxes: In the order in which they are written.
            grammar: Of the model's family.
        """

    @abstractmethod
    def read(self, text: str, grammar: Grammar) -> Reading:
        """Return what a generated answer says: of any text, without an exception, in linear time.

        Args:
            text: As generated, up to the end of the answer.
            grammar: Of the model's family.
        """


def load_format(name: str) -> BoxFormat:
    """Return the box format of this name (`detection.box_format`).

    Raises:
        ConfigError: There is none; those that there are get named.
    """
    if name not in BOX_FORMATS.names():
        known = ", ".join(BOX_FORMATS.names())
        raise ConfigError(f"detection.box_format: expected one of {known}; got {name!r}")
    box_format: BoxFormat = BOX_FORMATS.load(name).FORMAT
    return box_format
