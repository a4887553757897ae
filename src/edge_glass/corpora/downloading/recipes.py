"""What the rows of an index become: PixMo-Cap and PixMo-CapQA (Ai2), instruction sets in LLaVA's form.

A recipe says which picture a row shows and which texts it has.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from edge_glass.corpora.downloading.fetching import Failed, Kind, Picture
from edge_glass.corpora.downloading.index import Row
from edge_glass.data.pictures import BadPicture, decode_image

if TYPE_CHECKING:
    import pyarrow as pa

USER = "[USER]"
ASSISTANT = "[ASSISTANT]"
CAPTIONS_HUB: Final = "allenai/pixmo-cap"
QUESTIONS_HUB: Final = "allenai/pixmo-cap-qa"

_HASHES: Final = ("image_sha256", "sha256")
_PICTURE_COLUMNS: Final = ("image", "image_url", "url")
_SPEAKERS: Final = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "model": "assistant",
    "system": "system",
}


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
    """Return "[USER] text", also when the text says so already."""
    return f"{prefix} {text.removeprefix(prefix).strip()}"


def picture_of(row: Row) -> Picture:
    """Return the picture of a row: `image_url`, with its SHA-256 where the index has one."""
    digest = next((row[name] for name in _HASHES if row.get(name)), None)
    if digest is not None and not (isinstance(digest, str) and len(digest) == 64):
        raise BadRow(f"the SHA-256 {str(digest)[:70]!r} is none")
    return Picture(text_of(row.get("image_url"), "URL"), digest)


def _caption(row: Row) -> list[dict[str, Any]]:
    record: dict[str, Any] = {"caption": text_of(row.get("caption"), "caption")}
    if "transcripts" in row:
        spoken = row["transcripts"] if isinstance(row["transcripts"], list) else []
        record["transcripts"] = [text.strip() for text in spoken if isinstance(text, str) and text.strip()]
    return [record]


def _caption_schema(columns: list[str]) -> list[tuple[str, pa.DataType]]:
    import pyarrow as pa

    spoken = [("transcripts", pa.list_(pa.string()))] if "transcripts" in columns else []
    return [("caption", pa.string()), *spoken]


def _questions(row: Row) -> list[dict[str, Any]]:
    if row.get("question") is not None:
        pairs = [(text_of(row["question"], "question"), text_of(row.get("answer"), "answer"))]
    else:
        pairs = exchanges(row.get("messages"))
    return _question_records(pairs, PIXMO_CAP_QA.name)


def _question_records(pairs: list[tuple[str, str]], source: str) -> list[dict[str, Any]]:
    return [
        {"question": prefixed(USER, question), "answer": prefixed(ASSISTANT, answer), "source": source}
        for question, answer in pairs
    ]


def question_schema(columns: list[str]) -> list[tuple[str, pa.DataType]]:
    """Return columns of a question data set."""
    import pyarrow as pa

    return [(name, pa.string()) for name in ("question", "answer", "source")]


PIXMO_CAP: Final = Recipe(
    name="pixmo-cap",
    needed=(("image_url",), ("caption",)),
    picture=picture_of,
    texts=_caption,
    schema=_caption_schema,
    note="PixMo-Cap by Ai2 (https://huggingface.co/datasets/allenai/pixmo-cap), ODC-BY 1.0. The pictures "
    "belong to their owners and have licences of their own.",
)

PIXMO_CAP_QA: Final = Recipe(
    name="pixmo-cap-qa",
    needed=(("image_url",), ("question+answer", "messages")),
    picture=picture_of,
    texts=_questions,
    schema=question_schema,
    note="PixMo-CapQA by Ai2 (https://huggingface.co/datasets/allenai/pixmo-cap-qa), ODC-BY 1.0. "
    "The pictures belong to their owners and have licences of their own.",
)


def instruction_recipe(name: str, url_prefix: str | None = None, local: bool = False) -> Recipe:
    """Return a recipe for one annotation file.

    Args:
        name: Goes into the column `source`.
        url_prefix: Put before file names to make them URLs.
        local: Pictures are files (`FolderPictures`); their names stay as they are.
    """

    def picture(row: Row) -> Picture:
        given = next((row[column] for column in _PICTURE_COLUMNS if row.get(column)), None)
        if isinstance(given, list) and len(given) == 1:
            given = given[0]
        if given is None:
            raise BadRow("the row has no picture")
        if not isinstance(given, str):
            several = isinstance(given, list)
            raise BadRow("the row has several pictures" if several else "the picture is no name")
        if local or given.startswith(("http://", "https://")):
            return Picture(given)
        if url_prefix is None:
            raise BadRow(f"the picture {given[:100]!r} is no URL; give --image-root or --image-url-prefix")
        return Picture(url_prefix.rstrip("/") + "/" + quote(given.lstrip("/")))

    def texts(row: Row) -> list[dict[str, Any]]:
        return _question_records(exchanges(row.get("conversations", row.get("messages"))), name)

    return Recipe(
        name=name,
        needed=(("conversations", "messages"),),
        picture=picture,
        texts=texts,
        schema=question_schema,
        note="One row for each question and its answer; earlier turns of a conversation are not part of it.",
    )


class FolderPictures:
    """Pictures that are files below one folder."""

    def __init__(self, root: Path, max_bytes: int) -> None:
        self.root, self.max_bytes = root.resolve(), max_bytes

    def read(self, picture: Picture) -> tuple[bytes, str] | Failed:
        """Return bytes and SHA-256 of a picture that decodes, or why there is none."""
        try:
            file = (self.root / picture.url).resolve()
            if not file.is_relative_to(self.root):
                return Failed(f"the file lies outside {self.root}", 1, Kind.REFUSED)
            if not file.is_file():
                return Failed("the file does not exist", 1, Kind.ANSWER)
            if file.stat().st_size > self.max_bytes:
                return Failed(f"larger than {self.max_bytes / 2**20:.3g} MiB", 1, Kind.REFUSED)
            data = file.read_bytes()
            decode_image(data)
        except BadPicture as error:
            return Failed(error.reason, 1, Kind.ANSWER)
        except (OSError, ValueError, RuntimeError) as error:  # a null byte, links in a circle, no rights
            return Failed(f"the file cannot be read ({error})", 1, Kind.ANSWER)
        return data, hashlib.sha256(data).hexdigest()
