"""What one data set's rows become: the common form of pixmo-cap, pixmo-cap-qa and instruction sets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edge_glass.corpora.downloading.fetching import Picture
from edge_glass.corpora.downloading.index import Row

if TYPE_CHECKING:
    import pyarrow as pa

USER = "[USER]"
ASSISTANT = "[ASSISTANT]"


class BadRow(Exception):
    """A row of the index that cannot be used, and why."""


@dataclass(frozen=True)
class Recipe:
    """How to make a data set.

    Attributes:
        name: Of the data set.
        needed: See `need_columns`.
        picture: Which picture a row shows; raises BadRow.
        texts: The text columns of a row's records, mostly one; raises BadRow.
        schema: Columns of the text part, in order.
        note: For the data set card: source and licence.
    """

    name: str
    needed: tuple[tuple[str, ...], ...]
    picture: Callable[[Row], Picture]
    texts: Callable[[Row], list[dict[str, Any]]]
    schema: Callable[[list[str]], list[tuple[str, pa.DataType]]]
    note: str


def text_of(value: Any, what: str) -> str:
    """Return a cell as text without surrounding blanks."""
    if not isinstance(value, str):
        raise BadRow(f"the {what} is missing" if value is None else f"the {what} is no text")
    if not any(character.isprintable() and not character.isspace() for character in value):
        raise BadRow(f"the {what} is empty")
    return value.strip()


def exchanges(messages: Any) -> list[tuple[str, str]]:
    """Return pairs of a question and its answer.

    Args:
        messages: Texts in turn (user first), or objects with a speaker (`from` or `role`) and words (`value`
            or `content`). A system message at the beginning is left out.
    """
    if not isinstance(messages, list) or not messages:
        raise BadRow("the conversation is missing")
    turns = [_turn(position, message) for position, message in enumerate(messages)]
    if turns[0][0] == "system":
        turns = turns[1:]
    speakers = [speaker for speaker, _ in turns]
    if not turns or len(turns) % 2 or speakers != ["user", "assistant"] * (len(turns) // 2):
        raise BadRow(f"the conversation does not alternate between user and assistant: {', '.join(speakers)}")
    words = [text_of(text, "question" if speaker == "user" else "answer") for speaker, text in turns]
    return list(zip(words[::2], words[1::2], strict=True))


_SPEAKERS = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "model": "assistant",
    "system": "system",
}


def _turn(position: int, message: Any) -> tuple[str, str]:
    if isinstance(message, str):
        return ("assistant" if position % 2 else "user"), message
    if not isinstance(message, dict):
        raise BadRow("the conversation holds something that is no message")
    given = message.get("from", message.get("role"))
    speaker = _SPEAKERS.get(str(given).lower())
    if speaker is None:
        raise BadRow(f"unknown speaker {str(given)[:40]!r} in the conversation")
    text = message.get("value", message.get("content"))
    if not isinstance(text, str):
        raise BadRow("a message of the conversation has no text")
    return speaker, text.replace("<image>", "").strip()


def prefixed(prefix: str, text: str) -> str:
    """ "[USER] text", also when the text says so already."""
    return f"{prefix} {text.removeprefix(prefix).strip()}"
