"""Answers over training: the same validation questions at several steps."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from edge_glass.reporting.run_folder import RunFolder
from edge_glass.reporting.style import shorten

LONGEST: Final = 400
MOST_STEPS: Final = 6
MOST_SAMPLES: Final = 8


@dataclass(frozen=True)
class Answer:
    """What one model said to one question.

    Attributes:
        text: One line, shortened.
        right: Whether it is right; None where answers are neither right nor wrong but scored.
        ended: Whether it ended by itself; None where unknown.
        score: As text, where answers are scored; else "".
    """

    text: str
    right: bool | None
    ended: bool | None = None
    score: str = ""


@dataclass(frozen=True)
class AnswerHistory:
    """One question with the answers to it at some steps of training."""

    question: str
    reference: str
    answers: list[tuple[int, Answer]]


def answer_histories(run: RunFolder, is_right: Callable[[str, str], bool | None]) -> list[AnswerHistory]:
    """Return at most 8 questions of `samples.jsonl` at 6 steps: the first, the last, and some between.

    Args:
        run: Its `samples.jsonl` is read.
        is_right: Answer and reference → whether it is right; None where answers are scored.
    """
    lines = [line for line in run.samples if isinstance(line.get("samples"), list)]
    if len(lines) > MOST_STEPS:
        last = len(lines) - 1
        lines = [lines[round(place * last / (MOST_STEPS - 1))] for place in range(MOST_STEPS)]
    histories: dict[str, AnswerHistory] = {}
    for line in lines:
        for sample in line["samples"]:
            if isinstance(sample, Mapping) and ("question" in sample or "id" in sample):
                _add(histories, int(line["step"]), sample, is_right)
    return list(histories.values())[:MOST_SAMPLES]


def one_line(text: str, longest: int = LONGEST) -> str:
    """Shorten to one line; control characters, which untrained models like to write, become visible."""
    return "".join(
        "\ufffd" if unicodedata.category(mark) in ("Cc", "Cs") else mark for mark in shorten(text, longest)
    )


def _add(
    histories: dict[str, AnswerHistory],
    step: int,
    sample: Mapping[str, Any],
    is_right: Callable[[str, str], bool | None],
) -> None:
    # Detection asks of every picture the same: there the row's name says more.
    question, reference = str(sample.get("question", sample.get("id"))), str(sample.get("reference", ""))
    said = str(sample.get("answer", ""))
    key = f"{sample.get('id', '')} {question}"
    history = histories.setdefault(key, AnswerHistory(one_line(question), one_line(reference), []))
    ended = bool(sample.get("ended", True))
    history.answers.append((step, Answer(one_line(said), is_right(said, reference), ended)))
