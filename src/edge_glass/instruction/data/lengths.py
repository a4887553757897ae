"""How long questions and answers are in tokens, and what happens to those that are too long.

Looked at before training: an answer that is cut teaches the model to stop in the middle, or never to stop.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final

import numpy as np

from edge_glass.core.errors import ConfigError, DataError
from edge_glass.data.conversations import BadConversation
from edge_glass.data.labels import ConversationTokenizer, TooLong, tokenize_conversation
from edge_glass.data.samples import Rejected
from edge_glass.instruction.data.table import InstructionTable

logger = logging.getLogger(__name__)

MAX_QUESTION: Final = 128
MAX_ANSWER: Final = 256
TOO_LONG: Final = ("leave_out", "error")
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
        """Rows by length: `("9-16", 120)`.

        Args:
            which: One of `names`.
        """
        lengths = self.questions if which == self.names[0] else self.answers
        bins = [(low + 1, high) for low, high in pairwise(_EDGES)]
        counted = [(f"{low}-{high}", int(((lengths >= low) & (lengths <= high)).sum())) for low, high in bins]
        counted.append((f"more than {_EDGES[-1]}", int((lengths > _EDGES[-1]).sum())))
        return [(name, count) for name, count in counted if count]

    def worst(self, count: int = _WORST) -> list[str]:
        """The rows furthest beyond a limit, one line each."""
        first, second = self.names
        return [
            f"row {self.ids[i]}: {first} {self.questions[i]}, {second} {self.answers[i]} tokens"
            for i in self.too_long[:count]
        ]

    def lines(self) -> list[str]:
        """The report as text."""
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


def fit_lengths(
    table: InstructionTable,
    tokenizer: ConversationTokenizer,
    max_question: int = MAX_QUESTION,
    max_answer: int = MAX_ANSWER,
    too_long: str = "leave_out",
) -> tuple[InstructionTable, LengthReport]:
    """Tokenise every row once, report the lengths, and keep what fits.

    Args:
        table: The rows.
        tokenizer: What they will be tokenised with.
        max_question: Most tokens of a thing the user says.
        max_answer: Most tokens of an answer, its end token counted.
        too_long: `leave_out`: rows beyond a limit become `rejected` ones; `error`: there may be none.

    Raises:
        ConfigError: The policy is unknown or a limit is below 1.
        DataError: Rows are too long and the policy is `error`, or no row is left.
    """
    _check_policy(too_long, max_question, max_answer)
    lengths: dict[int, tuple[int, int]] = {}
    reasons: dict[int, str] = {}
    for row, turns in enumerate(table.turns):
        try:
            tokens = tokenize_conversation(tokenizer, turns, max_question, max_answer)
            lengths[row] = tokens.question, tokens.answer
        except TooLong as bad:
            lengths[row] = bad.question, bad.answer
            reasons[row] = bad.reason
        except BadConversation as bad:
            reasons[row] = bad.reason
    lost = tuple(Rejected(table.positions[row], table.ids[row], why) for row, why in reasons.items())
    report = LengthReport(
        table.source,
        np.array([question for question, _ in lengths.values()], dtype=np.int64),
        np.array([answer for _, answer in lengths.values()], dtype=np.int64),
        [table.ids[row] for row in lengths],
        max_question,
        max_answer,
        lost,
    )
    say_lengths(report, too_long)
    if len(lost) == len(table):
        first = f"the first, {lost[0]}: {lost[0].reason}" if lost else "there were none"
        raise DataError(
            f"{table.source}: no conversation is left; all {len(table)} are too long or cannot be tokenised "
            f"({first})"
        )
    fitting = table.select([row for row in range(len(table)) if row not in reasons])
    return replace(fitting, rejected=(*table.rejected, *lost)), report


def _check_policy(too_long: str, max_question: int, max_answer: int) -> None:
    if too_long not in TOO_LONG:
        raise ConfigError(f"too_long is {too_long!r}; it is one of {', '.join(TOO_LONG)}")
    for name, most in (("max_question", max_question), ("max_answer", max_answer)):
        if most < 1:
            raise ConfigError(f"{name} is {most}; at least 1 token is needed")


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
