"""Instruction sets in LLaVA's form: a JSON list of conversations about pictures, by URL or by file name."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any
from urllib.parse import quote

from edge_glass.corpora.downloading.answers import Failed, Kind
from edge_glass.corpora.downloading.fetching import Picture
from edge_glass.corpora.downloading.index import Row
from edge_glass.corpora.downloading.pixmo import question_schema
from edge_glass.corpora.downloading.recipes import ASSISTANT, USER, BadRow, Recipe, exchanges, prefixed
from edge_glass.data.pictures import BadPicture, decode_image

_PICTURE_COLUMNS = ("image", "image_url", "url")


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
        pairs = exchanges(row.get("conversations", row.get("messages")))
        return [
            {"question": prefixed(USER, question), "answer": prefixed(ASSISTANT, answer), "source": name}
            for question, answer in pairs
        ]

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
