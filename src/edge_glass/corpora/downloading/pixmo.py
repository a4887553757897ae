"""PixMo-Cap and PixMo-CapQA (Ai2): captions and questions about pictures that are published as URLs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from edge_glass.corpora.downloading.fetching import Picture
from edge_glass.corpora.downloading.index import Row
from edge_glass.corpora.downloading.recipes import (
    ASSISTANT,
    USER,
    BadRow,
    Recipe,
    exchanges,
    prefixed,
    text_of,
)

if TYPE_CHECKING:
    import pyarrow as pa

CAPTIONS_HUB: Final = "allenai/pixmo-cap"
QUESTIONS_HUB: Final = "allenai/pixmo-cap-qa"

_HASHES: Final = ("image_sha256", "sha256")


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
    return [
        {
            "question": prefixed(USER, question),
            "answer": prefixed(ASSISTANT, answer),
            "source": PIXMO_CAP_QA.name,
        }
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
