"""Reading the boxes that Qwen's models write, whatever the form: without eval, and without an exception.

Three forms are read: JSON and what looks like it (fences, single quotes, tuples, trailing commas, missing
brackets, text around, several values one after another), special tokens
(`<|object_ref_start|>dog<|object_ref_end|><|box_start|>(1,2),(3,4)<|box_end|>`), and the bare pairs
`dog(1,2),(3,4)` that are left of those when a tokenizer skips special tokens. Time is linear in the length of
the text. What the numbers mean depends on the model family: see `box_codec`.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from functools import cache
from typing import Final

import numpy as np

from edge_glass.detection.boxes.objects import Span, says_nothing, written_boxes
from edge_glass.detection.boxes.values import NUMBER, read_values
from edge_glass.vlm.family import Grammar

_NUMBERS: Final = re.compile(rf"{NUMBER}|[-+]?\b(?:nan|inf(?:inity)?)\b", re.IGNORECASE)
_PAIR: Final = rf"\(\s*+{NUMBER}\s*+,\s*+{NUMBER}\s*+\)"
_BARE: Final = re.compile(rf"{_PAIR}\s*+(?:,\s*+)?{_PAIR}")
_SHOWN_PROBLEMS: Final = 3


@dataclass(frozen=True)
class ParsedAnswer:
    """The boxes of an answer, as they are written.

    Attributes:
        numbers: float64 `[n, 4]`, x1 y1 x2 y2 in the order and unit of the answer, all finite, x1 <= x2 and
            y1 <= y2.
        labels: What each box is; empty text where the answer does not say.
        problem: Why the answer cannot be read, in one sentence; None when it holds a usable box or says that
            there is none.
        cut_off: Whether the text stops in the middle of something; what was whole before it is kept.
        dropped: A sentence for each box that was written but cannot be used: inverted, NaN, not four numbers.
        spans: Where in the text the numbers of each box stand, (first character, one past the last).
    """

    numbers: np.ndarray
    labels: list[str]
    problem: str | None = None
    cut_off: bool = False
    dropped: list[str] = field(default_factory=list)
    spans: list[Span] = field(default_factory=list)


def parse_qwen_bbox_output(text: str) -> ParsedAnswer:
    """Read every whole box of an answer of a Qwen model, or why there is none; any text is an answer.

    Args:
        text: As generated; what follows `<|im_end|>` or `<|endoftext|>` is not looked at.
    """
    return parse_boxes(text, Grammar())


def parse_boxes(text: str, grammar: Grammar) -> ParsedAnswer:
    """Read every whole box of an answer, or why there is none; any text is an answer.

    Args:
        text: As generated; what follows a token that ends an answer is not looked at.
        grammar: Of the model's family.
    """
    if end := _any_of(grammar.ends).search(text):
        text = text[: end.start()]
    found = _Found()
    if _any_of((*grammar.name_marks, *grammar.box_marks)).search(text):
        _read_tokens(text, grammar, found)
    if not found.seen:
        _read_values(text, found)
    if not found.seen and not found.empty and not found.cut_off:
        _read_bare_pairs(text, grammar, found)
    return found.answer(text)


@dataclass
class _Found:
    """What has been read so far."""

    numbers: list[list[float]] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    spans: list[Span] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    stopped: str | None = None  # why the reader gave up
    cut_off: bool = False
    empty: bool = False  # the answer says that there is nothing

    @property
    def seen(self) -> int:
        return len(self.numbers) + len(self.dropped)

    def add(self, numbers: list[float], label: str, span: Span, problem: str | None = None) -> None:
        """Keep a box, or say why it cannot be used."""
        problem = problem or _unusable(numbers)
        if problem is None:
            self.numbers.append(numbers)
            self.labels.append(label.strip())
            self.spans.append(span)
        else:
            self.dropped.append(f"box {self.seen + 1} {problem}")

    def answer(self, text: str) -> ParsedAnswer:
        problem = None
        if not self.numbers and not self.empty:
            shown = self.dropped[:_SHOWN_PROBLEMS]
            if len(self.dropped) > len(shown):
                shown.append(f"and {len(self.dropped) - len(shown)} more")
            problem = "; ".join(shown) or self.stopped or _why_nothing(text, self.cut_off)
        numbers = np.array(self.numbers, dtype=np.float64).reshape(-1, 4)
        return ParsedAnswer(numbers, self.labels, problem, self.cut_off, self.dropped, self.spans)


def _unusable(numbers: list[float]) -> str | None:
    if len(numbers) != 4:
        return f"has {len(numbers)} numbers instead of 4"
    if not all(map(math.isfinite, numbers)):
        return f"has numbers that are not finite: {_shown(numbers)}"
    x1, y1, x2, y2 = numbers
    if x2 < x1 or y2 < y1:
        return f"is inverted: {_shown(numbers)} should be x1, y1, x2, y2 with x1 <= x2 and y1 <= y2"
    return None


def _shown(numbers: list[float]) -> str:
    return "[" + ", ".join(f"{number:.6g}" for number in numbers) + "]"


def _why_nothing(text: str, cut_off: bool) -> str:
    if cut_off:
        return "the answer is cut off before its first box is whole"
    said = " ".join(text[:400].split())
    if not said:
        return "the answer is empty"
    return f"there is no box in {said[:60]!r}" + ("…" if len(said) > 60 or len(text) > 400 else "")


# Special tokens


@cache
def _any_of(texts: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(map(re.escape, texts)))


def _read_tokens(text: str, grammar: Grammar, found: _Found) -> None:
    """Read `<|box_start|>(x1,y1),(x2,y2)<|box_end|>`, each named by the last reference before it."""
    label, last = "", ""
    spelled = re.compile(re.escape(grammar.numbers).replace(r"\{\}", NUMBER))
    marks = list(_any_of((*grammar.name_marks, *grammar.box_marks)).finditer(text))
    for mark, after in zip(marks, [*marks[1:], None], strict=True):
        last, start = mark[0], mark.end()
        end = after.start() if after else len(text)
        if last == grammar.name_marks[0]:
            label = text[start:end]
        elif last == grammar.box_marks[0]:
            content = text[start:end].strip()
            if after is not None or _BARE.match(content) or spelled.match(content):
                found.add([float(number) for number in _NUMBERS.findall(content)], label, (start, end))
    found.cut_off = last != grammar.box_marks[1]


def _read_bare_pairs(text: str, grammar: Grammar, found: _Found) -> None:
    """Read `dog(1,2),(3,4)`; a box is named by what stands before it on its line."""
    after = 0
    for pair in _BARE.finditer(text):
        label = text[after : pair.start()].rpartition("\n")[2].strip(" \t\r,;:.-*")
        found.add([float(number) for number in _NUMBERS.findall(pair[0])], label, pair.span())
        after = pair.end()
    if not found.seen and text[:40].strip(" \t\r\n.`'\"").casefold() in (grammar.nothing, "null"):
        found.empty = True


# JSON and what looks like it


def _read_values(text: str, found: _Found) -> None:
    values = read_values(text)
    found.cut_off |= values.cut_off
    found.stopped = values.problem
    for root in values.roots:
        for box in written_boxes(root):
            found.add(box.numbers, box.label, box.span, box.problem)
    found.empty = not found.seen and any(says_nothing(root) for root in values.roots)
