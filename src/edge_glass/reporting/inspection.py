"""Samples as a model receives them, and their tokens as something to look at."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final, Literal

from edge_glass.reporting.boxes import ShownBox

if TYPE_CHECKING:
    from PIL import Image

MODALITY_WORDS: Final = {"vision": "picture", "audio": "sound"}
SAME_IN_A_ROW: Final = 4
"""So many equal special tokens become one chip, such as those that hold the place of a picture."""

_MARKS: Final = {" ": "·", "\n": "↵", "\t": "⇥"}
_INVISIBLE: Final = {"Cc", "Cf", "Cs", "Co", "Cn", "Zs", "Zl", "Zp"}


@dataclass(frozen=True)
class InspectedToken:
    """One token of a conversation.

    Attributes:
        text: Decoded, with its blanks; see `token_text`.
        id: Its number in the vocabulary.
        trained: Whether a loss is taken on it.
        special: Whether it is a marker that stands for no text.
    """

    text: str
    id: int
    trained: bool
    special: bool


@dataclass(frozen=True)
class InspectedInput:
    """A picture or sound of a sample, before and after the transform.

    Attributes:
        modality: What it is.
        tokens: Prefix tokens it becomes; 0 where it has none, or where they stand among the sample's tokens.
        source: As it is stored; anything may be drawn on it. None for a sound.
        seen: What the encoder receives, un-normalised: a picture, or a sound's spectrogram.
        source_size: In words, such as "64 × 64" or "3.2 s".
        seen_size: In words, such as "224 × 224" or "80 bands × 320 frames".
        note: Anything else to know, or "".
        inside: Tokens of the sample that stand for it, where they stand among the words.
        source_boxes: What is on the source picture.
        seen_boxes: What the trained tokens say, read back, on the picture that the model sees.
    """

    modality: Literal["vision", "audio"]
    tokens: int
    source: Image.Image | None
    seen: Image.Image | None
    source_size: str
    seen_size: str
    note: str = ""
    inside: int = 0
    source_boxes: tuple[ShownBox, ...] = ()
    seen_boxes: tuple[ShownBox, ...] = ()

    @property
    def word(self) -> str:
        """ "picture" or "sound"."""
        return MODALITY_WORDS[self.modality]


@dataclass(frozen=True)
class InspectedSample:
    """One sample as the model receives it.

    Attributes:
        id: Its name in the data set.
        split: The split it is from.
        inputs: Pictures and sounds, in the order of their prefix tokens.
        prompt: What stands before the last answer, as text with its markers.
        tokens: The whole conversation.
        prompt_tokens: How many of the first tokens are the prompt of the last answer.
        trained_tokens: How many tokens a loss is taken on.
        checks: What must hold, in words, each with None where it holds, else with what is wrong.
        facts: Anything else to show, by name.
        opening: Before which of the tokens those of pictures and sounds stand.
    """

    id: str
    split: str
    inputs: tuple[InspectedInput, ...]
    prompt: str
    tokens: tuple[InspectedToken, ...]
    prompt_tokens: int
    trained_tokens: int
    checks: tuple[tuple[str, str | None], ...]
    facts: dict[str, str]
    opening: int = 0

    @property
    def prefix_tokens(self) -> int:
        """Tokens that are no words: of all pictures and sounds."""
        return sum(one.tokens for one in self.inputs)


@dataclass(frozen=True)
class Chip:
    """A token as it is shown, or several equal special ones.

    Attributes:
        parts: Pieces of its text; the second value says that a piece stands for what cannot be seen.
        token: The token, or the first of them.
        position: Where it stands among the sample's tokens, from 0.
        count: How many tokens it is.
        ends_line: Whether a new line begins behind it.
    """

    parts: tuple[tuple[str, bool], ...]
    token: InspectedToken
    position: int
    count: int
    ends_line: bool

    @property
    def text(self) -> str:
        """On one line, without a blank."""
        return "".join(part for part, _ in self.parts) + (f"×{self.count}" if self.count > 1 else "")

    @property
    def hint(self) -> str:
        """All that is known of it, in words."""
        last = f" to {self.position + self.count}" if self.count > 1 else ""
        kind = ("trained" if self.token.trained else "read only") + " marker" * self.token.special
        number = f"number {self.token.id} of the vocabulary"
        return f"token {self.position + 1}{last} of the words · {kind} · {number}"


@dataclass(frozen=True)
class CheckCount:
    """How many samples an invariant holds for; `wrong` are the numbers (from 1) of those it fails for."""

    name: str
    total: int
    wrong: tuple[int, ...]


def inspected_tokens(
    tokenizer: Any, ids: Iterable[int], trained: Iterable[bool], special: Collection[int]
) -> tuple[InspectedToken, ...]:
    """Tokens to look at, from what a batch holds.

    Args:
        tokenizer: Of transformers.
        ids: Of one conversation.
        trained: Whether each has a label.
        special: Ids that stand for no text.
    """
    return tuple(
        InspectedToken(token_text(tokenizer, int(number)), int(number), bool(label), int(number) in special)
        for number, label in zip(ids, trained, strict=True)
    )


def token_text(tokenizer: Any, number: int) -> str:
    """The text of one token, with the blank in front that tokenizers of words like to drop.

    A token that is a part of a character, so that it has no text of its own, gives its bytes: `<E7><8A>`.
    """
    piece = tokenizer.convert_ids_to_tokens(number)
    if piece is None:
        return f"<{number}>"
    text = str(tokenizer.decode([number]))
    if "\N{REPLACEMENT CHARACTER}" in text:
        known = _byte_characters()
        if piece.isascii() or not known.keys() >= set(piece):  # "<0xE7>", as SentencePiece writes a byte
            return str(piece).replace("<0x", "<")
        return "".join(chr(byte) if byte < 128 else f"<{byte:02X}>" for byte in map(known.__getitem__, piece))
    return f" {text}" if piece.startswith("▁") and not text.startswith(" ") else text


def _byte_characters() -> dict[str, int]:
    """The characters that byte-level tokenizers write bytes as: GPT-2's table."""
    same = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in same]
    return {chr(byte): byte for byte in same} | {chr(256 + n): byte for n, byte in enumerate(others)}


def visible_parts(text: str, keep: str = "") -> tuple[tuple[str, bool], ...]:
    """The text with signs where nothing would be seen, in pieces; the second value says which are signs.

    Blanks, line ends, control characters (no text may steer a terminal) and invisible ones are replaced.

    Args:
        text: Any text.
        keep: Characters that stay what they are.
    """
    signs = [(char, None) if char in keep else (char, _sign(char)) for char in text]
    return tuple(
        ("".join(sign or char for char, sign in group), is_sign)
        for is_sign, group in groupby(signs, key=lambda pair: pair[1] is not None)
    )


def visible(text: str, keep: str = " ") -> str:
    """As `visible_parts`, in one piece."""
    return "".join(part for part, _ in visible_parts(text, keep))


def _sign(char: str) -> str | None:
    if char in _MARKS:
        return _MARKS[char]
    if unicodedata.category(char) not in _INVISIBLE:
        return None
    return f"<{ord(char):02X}>" if ord(char) < 128 else f"<U+{ord(char):04X}>"


def chips(tokens: Sequence[InspectedToken]) -> list[Chip]:
    """Tokens as they are shown, in order; long runs of one special token are drawn together."""
    found: list[Chip] = []
    position = 0
    for _, group in groupby(tokens, key=lambda token: token):
        run = list(group)
        together = run[0].special and len(run) >= SAME_IN_A_ROW
        for token in run[:1] if together else run:
            follows = position + 1 < len(tokens) and "\n" in tokens[position + 1].text
            parts = visible_parts(token.text) or (("∅", True),)
            count = len(run) if together else 1
            found.append(Chip(parts, token, position, count, "\n" in token.text and not follows))
            position += count
    return found


def count_checks(samples: Sequence[InspectedSample]) -> list[CheckCount]:
    """Every invariant with the samples it holds for, in the order they were checked."""
    totals: dict[str, int] = {}
    wrong: dict[str, list[int]] = {}
    for number, sample in enumerate(samples, start=1):
        for name, fault in sample.checks:
            totals[name] = totals.get(name, 0) + 1
            if fault is not None:
                wrong.setdefault(name, []).append(number)
    return [CheckCount(name, total, tuple(wrong.get(name, ()))) for name, total in totals.items()]
