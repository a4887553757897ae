"""Boxes in special tokens: `<|object_ref_start|>dog<|object_ref_end|><|box_start|>(1,2),(3,4)<|box_end|>`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from itertools import zip_longest
from typing import Final

from edge_glass.detection.boxes.formats import NUMBER, BoxFormat, Reading, WrittenBox
from edge_glass.vlm.family import Grammar

_NUMBERS: Final = re.compile(rf"{NUMBER}|[-+]?\b(?:nan|inf(?:inity)?)\b", re.IGNORECASE)
_PAIR: Final = rf"\(\s*+{NUMBER}\s*+,\s*+{NUMBER}\s*+\)"
_BARE: Final = re.compile(rf"{_PAIR}\s*+(?:,\s*+)?{_PAIR}")


class Tokens(BoxFormat):
    """See the module; shorter than JSON. The tokens are the family's."""

    example = "<|box_start|>(x,y),(x,y)<|box_end|>"

    def write(self, boxes: Sequence[WrittenBox], grammar: Grammar) -> str:
        return "".join(_spelled(box, grammar) for box in boxes) or grammar.nothing

    def read(self, text: str, grammar: Grammar) -> Reading:
        """See `BoxFormat`; a box is named by the last reference before it."""
        marks = list(any_of((*grammar.name_marks, *grammar.box_marks)).finditer(text))
        spelled = re.compile(re.escape(grammar.numbers).replace(r"\{\}", NUMBER))
        boxes, label = [], ""
        for mark, after in zip_longest(marks, marks[1:]):
            start, end = mark.end(), after.start() if after else len(text)
            if mark[0] == grammar.name_marks[0]:
                label = text[start:end]
            elif mark[0] == grammar.box_marks[0]:
                content = text[start:end].strip()
                if after is not None or _BARE.match(content) or spelled.match(content):
                    boxes.append(WrittenBox(_numbers(content), label, (start, end)))
        return Reading(boxes, cut_off=bool(marks) and marks[-1][0] != grammar.box_marks[1])


def read_bare_pairs(text: str, grammar: Grammar) -> Reading:
    """Read `dog(1,2),(3,4)`, which is left where a tokenizer skips special tokens.

    A box is named by what stands before it on its line.
    """
    boxes, after = [], 0
    for pair in _BARE.finditer(text):
        label = text[after : pair.start()].rpartition("\n")[2].strip(" \t\r,;:.-*")
        boxes.append(WrittenBox(_numbers(pair[0]), label, pair.span()))
        after = pair.end()
    said = text[:40].strip(" \t\r\n.`'\"").casefold()
    return Reading(boxes, says_nothing=not boxes and said in (grammar.nothing, "null"))


@cache
def any_of(texts: tuple[str, ...]) -> re.Pattern[str]:
    """Return a pattern of any of these texts."""
    return re.compile("|".join(map(re.escape, texts)))


def _spelled(box: WrittenBox, grammar: Grammar) -> str:
    numbers = grammar.numbers.format(*box.numbers)
    return box.label.join(grammar.name_marks) + numbers.join(grammar.box_marks)


def _numbers(text: str) -> list[float]:
    return [float(number) for number in _NUMBERS.findall(text)]


FORMAT = Tokens()
