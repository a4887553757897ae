"""Boxes as JSON: `[{"bbox_2d": [1, 2, 3, 4], "label": "dog"}]`, and what language models write for it.

Fences, single quotes, tuples, trailing commas, missing brackets, text around and several values one after
another are read too. The reader takes valid JSON and Python literals as their own parsers do, and goes on
where those give up: it never raises, never recurses over the text, and takes time linear in its length.

A box is a list of four numbers, or two pairs of numbers. Its label stands beside it, as above, or is its key,
as in `{"dog": [1, 2, 3, 4]}`, or is not said, as in `[[1, 2, 3, 4]]`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, pairwise, repeat
from typing import Final

from edge_glass.config.sections.detection import DEFAULT_PROMPT
from edge_glass.detection.boxes.formats import NUMBER, BoxFormat, Reading, Span, WrittenBox
from edge_glass.vlm.family import Grammar

BOX_KEYS: Final = ("bbox_2d", "bbox", "box", "box_2d", "bboxes", "boxes")
LABEL_KEYS: Final = ("label", "labels", "category", "class", "name", "object", "text_content")
MAX_DEPTH: Final = 16

Scalar = str | float

_NUMBER: Final = re.compile(NUMBER)
_ONLY_NUMBERS: Final = re.compile(r"[\s\[\](),;0-9.eE+-]*+")
_OPEN: Final = re.compile(r"[\[{]")
_TOKEN: Final = re.compile(
    r"(?P<open>[\[{(])|(?P<close>[\]})])|(?P<comma>,)|(?P<colon>:)|(?P<quote>[\"'])"
    rf"|(?P<number>{NUMBER}|[-+]?(?:NaN|nan|Infinity|inf)\b)"
    r"|(?P<word>[^\W\d][\w'’-]*+)|(?P<other>[^\[\]{}(),:\"'\w+.-]++|.)",
    re.DOTALL,
)
# A quote ends a text only before what can follow a text: models forget to escape quotes within.
_TEXTS: Final = {
    quote: re.compile(
        rf"{quote}((?:[^{quote}\\]|\\.|{quote}(?![ \t]*+(?:[\r\n,:\]}})]|\Z)))*+){quote}", re.DOTALL
    )
    for quote in "\"'"
}
_HEX: Final = "[0-9a-fA-F]"
_ESCAPE: Final = re.compile(
    rf"\\(?:u({_HEX}{{4}})|x({_HEX}{{2}})|U(00(?:0{_HEX}|10){_HEX}{{4}})|(.))", re.DOTALL
)
_ESCAPED: Final = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}
_CLOSES: Final = {"]": "[", "}": "{", ")": "("}


class Json(BoxFormat):
    """See the module. The key of the numbers is the family's."""

    prompt = DEFAULT_PROMPT
    example = '[{"bbox_2d": …, "label": …}]'

    def write(self, boxes: Sequence[WrittenBox], grammar: Grammar) -> str:
        written = [{grammar.key: box.numbers, "label": box.label} for box in boxes]
        return json.dumps(written, ensure_ascii=False)

    def read(self, text: str, grammar: Grammar) -> Reading:
        values = read_values(text)
        boxes = list(chain.from_iterable(map(written_boxes, values.roots)))
        nothing = not boxes and any(map(says_nothing, values.roots))
        return Reading(boxes, nothing, values.cut_off, values.problem)


# Which of the values are boxes, and what they are called


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


# The reader of values


@dataclass
class Node:
    """A list, or a map whose keys may come twice.

    Attributes:
        is_map: Whether values have keys.
        start: Its first character in the text.
        end: One past its last.
        closed: False when the text stopped before its end.
        values: Texts, numbers and nodes.
        keys: Of a map: the key of each value; empty text where it has none.
        spans: Of a map: where each value stands in the text.
    """

    is_map: bool
    start: int
    end: int = 0
    closed: bool = False
    values: list[Node | Scalar] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    spans: list[tuple[int, int]] = field(default_factory=list)
    opener: str = "["
    pending: str | None = None

    def add(self, value: Node | Scalar, span: tuple[int, int]) -> None:
        """Append a value; in a map, a text or number without a key becomes the key of what follows."""
        if self.is_map:
            if self.pending is None and not isinstance(value, Node):
                self.pending = value if isinstance(value, str) else f"{value:g}"
                return
            self.keys.append(self.pending or "")
            self.spans.append(span)
            self.pending = None
        self.values.append(value)


@dataclass
class Values:
    """What a text holds: outermost lists and maps; whether it stops within one; what stopped the reader."""

    roots: list[Node]
    cut_off: bool = False
    problem: str | None = None


def read_values(text: str) -> Values:
    """Every list and map of a text, with whatever stands between them left out.

    The reader stops at more than `MAX_DEPTH` brackets within one another.
    """
    values, unclosed, position = Values([]), set[str](), 0
    stack: list[Node] = []
    while True:
        token = _TOKEN.match(text, position) if stack else _OPEN.search(text, position)
        if token is None:
            break
        position = token.end()
        kind = token.lastgroup or "open"
        if kind == "open":
            if len(stack) == MAX_DEPTH:
                values.problem = f"brackets stand more than {MAX_DEPTH} deep within one another"
                break
            node = Node(token[0] == "{", token.start(), opener=token[0])
            if not stack:
                values.roots.append(node)
            stack.append(node)
            continue
        top = stack[-1]
        if kind == "close":
            _close(stack, token[0], position)
        elif kind == "comma":
            top.pending = None
        elif kind == "quote":
            position = _read_text(text, token.start(), top, unclosed)
        elif kind == "number":
            top.add(float(token[0]), token.span())
        elif kind == "word":
            top.add(token[0], token.span())
    values.cut_off = bool(stack)
    for outer, inner in pairwise(stack):
        outer.add(inner, (inner.start, len(text)))
    return values


def _close(stack: list[Node], bracket: str, position: int) -> None:
    """Close the innermost list or map of this bracket, and what was left open within it."""
    if all(node.opener != _CLOSES[bracket] for node in stack):
        return
    while stack:
        node = stack.pop()
        node.closed, node.end = True, position
        if stack:
            stack[-1].add(node, (node.start, position))
        if node.opener == _CLOSES[bracket]:
            return


def _read_text(text: str, start: int, top: Node, unclosed: set[str]) -> int:
    """Read a text in quotes into `top`; the position behind it. A quote that nothing closes is left out."""
    quote = text[start]
    # What is not closed from here is not closed from further on: asking again would cost quadratic time.
    match = None if quote in unclosed else _TEXTS[quote].match(text, start)
    if match is None:
        unclosed.add(quote)
        return start + 1
    top.add(_unescaped(match[1]), match.span())
    return match.end()


def _unescaped(text: str) -> str:
    if "\\" in text:
        text = _ESCAPE.sub(_character, text)
    # Halves of a pair of \u escapes join; lone halves, which no file could hold, become U+FFFD.
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _character(escape: re.Match[str]) -> str:
    code = escape[1] or escape[2] or escape[3]
    return chr(int(code, 16)) if code else _ESCAPED.get(escape[4], escape[4])


FORMAT = Json()
