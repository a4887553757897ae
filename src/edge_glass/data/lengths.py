"""Lengths of rows in tokens, as they are reported before anything is trained.

An answer that is cut teaches the model to stop in the middle, or never to stop: rows beyond a limit are left
out, or refused, and never cut.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np

from edge_glass.core.errors import DataError
from edge_glass.data.samples import Rejected

logger = logging.getLogger(__name__)

_EDGES: Final = (0, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384)
_WORST: Final = 5


@dataclass(frozen=True)
class LengthReport:
    """Lengths of the questions and answers of a table, in tokens, before anything is left out.

    Attributes:
        source: The table's.
        questions: Longest question of each row that could be tokenised, int64 `[N]`.
        answers: Longest answer of each such row, its end token counted, int64 `[N]`.
        ids: Names of these rows.
        max_question: Most tokens a question may have.
        max_answer: Most tokens an answer may have.
        left_out: Rows that are not used: too long, or not to be tokenised.
        names: What the two lengths are called.
        noun: What the rows are called.
    """

    source: str
    questions: np.ndarray
    answers: np.ndarray
    ids: Sequence[str]
    max_question: int
    max_answer: int
    left_out: tuple[Rejected, ...] = ()
    names: tuple[str, str] = ("question", "answer")
    noun: str = "conversations"

    @property
    def too_long(self) -> np.ndarray:
        """Positions in `ids` of the rows beyond a limit, those that are furthest beyond first."""
        excess = np.maximum(self.questions / self.max_question, self.answers / self.max_answer)
        order = np.argsort(-excess, kind="stable")
        return order[excess[order] > 1.0]

    def histogram(self, which: str) -> list[tuple[str, int]]:
        """Count rows by length: `("9-16", 120)`.

        Args:
            which: One of `names`.
        """
        lengths = self.questions if which == self.names[0] else self.answers
        bins = [(low + 1, high) for low, high in pairwise(_EDGES)]
        counted = [(f"{low}-{high}", int(((lengths >= low) & (lengths <= high)).sum())) for low, high in bins]
        counted.append((f"more than {_EDGES[-1]}", int((lengths > _EDGES[-1]).sum())))
        return [(name, count) for name, count in counted if count]

    def worst(self, count: int = _WORST) -> list[str]:
        """List the rows furthest beyond a limit, one line each."""
        first, second = self.names
        return [
            f"row {self.ids[i]}: {first} {self.questions[i]}, {second} {self.answers[i]} tokens"
            for i in self.too_long[:count]
        ]

    def lines(self) -> list[str]:
        """Return the report as text."""
        lines = [f"{self.source}: {len(self.ids)} {self.noun}"]
        for which, lengths, most in (
            (self.names[0], self.questions, self.max_question),
            (self.names[1], self.answers, self.max_answer),
        ):
            if len(lengths):
                middle, high = np.percentile(lengths, [50, 95])
                rows = ", ".join(f"{name}: {count}" for name, count in self.histogram(which))
                lines.append(
                    f"  {which} tokens: median {middle:.0f}, 95 % at most {high:.0f}, "
                    f"longest {lengths.max()}, limit {most}; rows by length {rows}"
                )
        if len(self.too_long):
            lines.append(f"  {len(self.too_long)} are beyond a limit; the furthest:")
            lines += [f"    {line}" for line in self.worst()]
        return lines


def say_lengths(report: LengthReport, too_long: str) -> None:
    """Log the report.

    Raises:
        DataError: Rows are beyond a limit, and the policy is `error`.
    """
    beyond = report.too_long
    if too_long == "error" and len(beyond):
        first, second = report.names
        raise DataError(
            f"{report.source}: {len(beyond)} of {len(report.ids)} {report.noun} are longer than "
            f"{report.max_question} {first} or {report.max_answer} {second} tokens ({report.worst(1)[0]}).\n"
            "Raise the limits, or leave these rows out with too_long=leave_out; an answer is never cut."
        )
    for line in report.lines():
        logger.info("%s", line)
    if report.left_out:
        left_out = report.left_out[0]
        logger.warning(
            "%s: %d of %d %s are left out (first: %s: %s)",
            report.source,
            len(report.left_out),
            len(report.ids) + len(report.left_out) - len(beyond),
            report.noun,
            left_out,
            left_out.reason,
        )
