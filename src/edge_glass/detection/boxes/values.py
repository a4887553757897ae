"""A forgiving reader of JSON and of what language models write for it: nested lists, maps, texts and numbers.

It reads valid JSON and Python literals as their own parsers do, and goes on where those give up: it never
raises, never recurses, and takes time linear in the length of the text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

MAX_DEPTH: Final = 16

Scalar = str | float

NUMBER: Final = r"[-+]?(?:[0-9]++(?:\.[0-9]*+)?|\.[0-9]++)(?:[eE][-+]?[0-9]++)?"

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
