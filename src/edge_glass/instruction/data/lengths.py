"""How long questions and answers are in tokens, and what happens to those that are too long.

Looked at before training: an answer that is cut teaches the model to stop in the middle, or never to stop.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np

from edge_glass.core.errors import ConfigError, DataError
from edge_glass.data.conversations import BadConversation
from edge_glass.data.labels import ConversationTokenizer, TooLong, tokenize_conversation
from edge_glass.data.lengths import LengthReport, say_lengths
from edge_glass.data.samples import Rejected
from edge_glass.instruction.data.table import InstructionTable

MAX_QUESTION: Final = 128
MAX_ANSWER: Final = 256
TOO_LONG: Final = ("leave_out", "error")


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
