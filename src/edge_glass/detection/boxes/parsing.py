"""Reading the boxes of a generated answer, whatever its form: without eval, and without an exception.

A model may fall back on the form that it was pretrained with. So special tokens, the form of the experiment
and JSON are looked for in turn, and at last the bare pairs `dog(1,2),(3,4)` that are left where a tokenizer
skips special tokens. Time is linear in the length of the text.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from edge_glass.detection.boxes.formats import Reading, Span, load_format
from edge_glass.detection.boxes.formats.tokens import any_of, read_bare_pairs
from edge_glass.vlm.family import Grammar

_SHOWN_PROBLEMS: Final = 3
_THOUGHT: Final = "</think>"


@dataclass(frozen=True)
class ParsedAnswer:
    """The boxes of an answer that can be used.

    Attributes:
        numbers: float64 `[n, 4]`, x1 y1 x2 y2 in the order and unit of the answer, all finite, x1 <= x2 and
            y1 <= y2.
        boxes: The same as float64 `[n, 4]` xyxy in pixels of the source picture, clipped to it, where a
            `BoxCodec` read the answer; else as `numbers`, whose meaning is not known.
        labels: What each box is; empty text where the answer does not say.
        problem: Why the answer cannot be read, in one sentence; None when it holds a usable box or says that
            there is none.
        cut_off: Whether the text stops in the middle of something; what was whole before it is kept.
        dropped: A sentence for each box that was written but cannot be used: inverted, NaN, not four numbers.
        spans: Where in the text the numbers of each box stand, (first character, one past the last).
    """

    numbers: np.ndarray
    boxes: np.ndarray
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


def parse_boxes(text: str, grammar: Grammar, box_format: str = "json") -> ParsedAnswer:
    """Read every whole box of an answer, or why there is none; any text is an answer.

    Args:
        text: As generated; what follows a token that ends an answer is not looked at.
        grammar: Of the model's family.
        box_format: What the model was asked for.
    """
    if end := any_of(grammar.ends).search(text):
        text = text[: end.start()]
    if thought := text.rpartition(_THOUGHT)[0]:  # its boxes are no answer; places in the text stay
        text = " " * (len(thought) + len(_THOUGHT)) + text[len(thought) + len(_THOUGHT) :]
    found = Reading()
    for name in dict.fromkeys(("tokens", box_format, "json")):
        reading = load_format(name).read(text, grammar)
        found = reading._replace(cut_off=found.cut_off or reading.cut_off)
        if found.boxes or found.says_nothing:
            break
    else:
        if not found.cut_off:
            found = read_bare_pairs(text, grammar)
    return _checked(found, text)


def _checked(found: Reading, text: str) -> ParsedAnswer:
    """Keep the boxes that can be used, and say what is wrong with the others."""
    usable, dropped = [], []
    for place, box in enumerate(found.boxes, start=1):
        per_cent = "is written in per cent" if "%" in text[slice(*box.span)] else None
        if fault := box.problem or per_cent or _unusable(box.numbers):
            dropped.append(f"box {place} {fault}")
        else:
            usable.append(box)
    problem = None
    if not usable and not found.says_nothing:
        shown = dropped[:_SHOWN_PROBLEMS]
        if len(dropped) > len(shown):
            shown.append(f"and {len(dropped) - len(shown)} more")
        problem = "; ".join(shown) or found.problem or _why_nothing(text, found.cut_off)
    numbers = np.array([box.numbers for box in usable], dtype=np.float64).reshape(-1, 4)
    labels, spans = [box.label.strip() for box in usable], [box.span for box in usable]
    return ParsedAnswer(numbers, numbers, labels, problem, found.cut_off, dropped, spans)


def _unusable(numbers: Sequence[float]) -> str | None:
    if len(numbers) != 4:
        return f"has {len(numbers)} numbers instead of 4"
    if not all(map(math.isfinite, numbers)):
        return f"has numbers that are not finite: {_shown(numbers)}"
    x1, y1, x2, y2 = numbers
    if x2 < x1 or y2 < y1:
        return f"is inverted: {_shown(numbers)} should be x1, y1, x2, y2 with x1 <= x2 and y1 <= y2"
    return None


def _shown(numbers: Sequence[float]) -> str:
    return "[" + ", ".join(f"{number:.6g}" for number in numbers) + "]"


def _why_nothing(text: str, cut_off: bool) -> str:
    if cut_off:
        return "the answer is cut off before its first box is whole"
    said = " ".join(text[:400].split())
    if not said:
        return "the answer is empty"
    return f"there is no box in {said[:60]!r}" + ("…" if len(said) > 60 or len(text) > 400 else "")
