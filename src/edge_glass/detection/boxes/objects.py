"""Which of the values in an answer are boxes, and what they are called.

A box is a list of four numbers, or two pairs of numbers. Its label stands beside it, as in
`{"bbox_2d": [1, 2, 3, 4], "label": "dog"}`, or is its key, as in `{"dog": [1, 2, 3, 4]}`, or is not said, as
in `[[1, 2, 3, 4]]`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain, repeat
from typing import Final, NamedTuple

from edge_glass.detection.boxes.values import NUMBER, Node, Scalar

BOX_KEYS: Final = ("bbox_2d", "bbox", "box", "box_2d", "bboxes", "boxes")
LABEL_KEYS: Final = ("label", "labels", "category", "class", "name", "object", "text_content")

Span = tuple[int, int]

_NUMBER: Final = re.compile(NUMBER)
_ONLY_NUMBERS: Final = re.compile(r"[\s\[\](),;0-9.eE+-]*+")


class WrittenBox(NamedTuple):
    """A box as an answer has it; nothing is checked yet.

    Attributes:
        numbers: In the order of the answer; not always four.
        label: Empty text where the answer does not say.
        span: Where the numbers stand in the text.
        problem: What stands in place of numbers, or None.
    """

    numbers: list[float]
    label: str
    span: Span
    problem: str | None = None


def written_boxes(node: Node, name: str = "") -> Iterator[WrittenBox]:
    """Every box of a value; `name` is the key that it stands under. What the text cut off is left out."""
    if node.is_map:
        yield from _of_map(node, name)
    elif boxes := _boxes(node):
        for numbers, span in boxes:
            yield WrittenBox(numbers, "", span)
    else:
        for child in node.values:
            if isinstance(child, Node):
                yield from written_boxes(child)


def says_nothing(node: Node) -> bool:
    """Whether a value is whole and holds no text and no number at all, as `[]` and `{"objects": []}`."""
    return node.closed and all(isinstance(one, Node) and says_nothing(one) for one in node.values)


def _of_map(node: Node, name: str) -> Iterator[WrittenBox]:
    keys = [key.strip().casefold() for key in node.keys]
    labels = _labels(node, keys)
    has_box_key = any(key in BOX_KEYS for key in keys)
    for key, plain, value, span in zip(node.keys, keys, node.values, node.spans, strict=True):
        if isinstance(value, Node) and _has_map(value):
            yield from written_boxes(value, key if value.is_map else "")
        elif plain in BOX_KEYS:
            boxes = _boxes(value) if isinstance(value, Node) else _box_in_text(value, span)
            for numbers, where in (boxes or ()) if node.closed else ():
                yield WrittenBox(numbers, next(labels) or name, where)
            if node.closed and not boxes:
                yield WrittenBox([], next(labels) or name, span, _why_no_box(value))
        elif isinstance(value, Node) and not has_box_key:
            boxes = _boxes(value)
            for numbers, where in boxes or ():
                yield WrittenBox(numbers, next(labels) or key, where)
            if not boxes:
                yield from written_boxes(value)


def _labels(node: Node, keys: list[str]) -> Iterator[str]:
    """The label of each box of a map in turn: the only one for all, or one for each; empty without any."""
    for wanted in LABEL_KEYS:
        said = [value for key, value in zip(keys, node.values, strict=True) if key == wanted]
        texts = [one if isinstance(one, str) else f"{one:g}" for value in said for one in _leaves(value)]
        if texts:
            return repeat(texts[0]) if len(texts) == 1 else chain(texts, repeat(""))
    return repeat("")


def _has_map(node: Node) -> bool:
    """Whether it is, or is a list of, something with keys."""
    return node.is_map or any(isinstance(value, Node) and value.is_map for value in node.values)


def _boxes(node: Node) -> list[tuple[list[float], Span]] | None:
    """Boxes of a list of 4 numbers, of two pairs, or of lists of such; None when it is something else."""
    if node.is_map or not node.closed or not node.values:
        return None
    numbers = _as_numbers(node.values)
    if numbers is not None:
        return [(numbers, (node.start, node.end))] if len(numbers) == 4 else None
    children = [value for value in node.values if isinstance(value, Node) and not value.is_map]
    if len(children) != len(node.values):
        return None
    if len(children) == 2:
        first, second = (_as_numbers(child.values) for child in children)
        if first is not None and second is not None and len(first) == len(second) == 2:
            return [(first + second, (node.start, node.end))]
    found: list[tuple[list[float], Span]] = []
    for child in children:
        below = _boxes(child)
        if below is None:
            return None
        found += below
    return found


def _as_numbers(values: list[Node | Scalar]) -> list[float] | None:
    """Numbers, also those written as texts; None when there is anything else."""
    numbers = []
    for value in values:
        if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
            numbers.append(float(value))
        elif isinstance(value, float):
            numbers.append(value)
        else:
            return None
    return numbers


def _box_in_text(value: Scalar, span: Span) -> list[tuple[list[float], Span]] | None:
    """A box whose numbers stand in one text: `"10, 20, 30, 40"`."""
    if isinstance(value, str) and _ONLY_NUMBERS.fullmatch(value):
        return [([float(number) for number in _NUMBER.findall(value)], span)]
    return None


def _why_no_box(value: Node | Scalar) -> str:
    leaves = list(_leaves(value))
    numbers = sum(isinstance(one, float) for one in leaves)
    if numbers < len(leaves):
        return "has words where its 4 numbers should be"
    return f"has {numbers} numbers instead of 4" if numbers != 4 else "is no list of 4 numbers"


def _leaves(value: Node | Scalar) -> Iterator[Scalar]:
    if isinstance(value, Node):
        for child in value.values:
            yield from _leaves(child)
    else:
        yield value
