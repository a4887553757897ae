"""Rows of pictures and captions, wherever they are stored: the plain table every data set is made of."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
from PIL import Image

from edge_glass.data.pictures import BadPicture, decode_image
from edge_glass.errors import DataError

logger = logging.getLogger(__name__)


class PictureBytes(Protocol):
    """Encoded pictures by their position in the source."""

    def __getitem__(self, position: int) -> bytes: ...


@dataclass(frozen=True)
class Rejected:
    """A row that is not used, and why."""

    row: int
    identifier: str
    reason: str

    def __str__(self) -> str:
        name = "" if self.identifier == str(self.row) else f" ({self.identifier})"
        return f"row {self.row}{name}"


@dataclass(frozen=True)
class PairTable:
    """Usable rows of one source; pictures stay encoded where they are until read.

    Attributes:
        source: File or folder, as named in messages.
        ids: Name of each row.
        captions: Captions of each row; the first is the one evaluation uses.
        picture_hashes: Content hash of each row's picture (`picture_hash`).
        positions: Position of each row in the source.
        pictures: Encoded pictures by position in the source.
        rejected: Rows of the source that are not among the above.
    """

    source: str
    ids: Sequence[str]
    captions: Sequence[Sequence[str]]
    picture_hashes: Sequence[str]
    positions: Sequence[int]
    pictures: PictureBytes
    rejected: tuple[Rejected, ...] = field(default=())

    def __len__(self) -> int:
        return len(self.ids)

    def picture(self, index: int) -> bytes:
        """Encoded picture of row `index`."""
        return self.pictures[self.positions[index]]

    def image(self, index: int) -> Image.Image:
        """Decoded, upright picture of row `index`: mode RGB, or RGBA where it has transparency.

        Raises:
            DataError: It could be decoded when the table was made, and cannot any more.
        """
        try:
            return decode_image(self.picture(index))
        except (BadPicture, OSError) as error:
            what = f"{self.source}: the picture of row {self.ids[index]}"
            raise DataError(f"{what} changed after it was first read: {error}") from error

    def leave_out(self, indices: set[int], reason: str) -> PairTable:
        """All rows but these, which are added to `rejected`."""
        lost = [Rejected(self.positions[i], self.ids[i], reason) for i in sorted(indices)]
        kept = self.select([i for i in range(len(self)) if i not in indices])
        return replace(kept, rejected=(*self.rejected, *lost))

    def select(self, indices: Sequence[int]) -> PairTable:
        """These rows in this order."""
        return replace(
            self,
            ids=[self.ids[i] for i in indices],
            captions=[self.captions[i] for i in indices],
            picture_hashes=[self.picture_hashes[i] for i in indices],
            positions=[self.positions[i] for i in indices],
        )


def text_problem(text: object) -> str | None:
    """Why a caption cannot be used; None when it can."""
    if text is None:
        return "the caption is missing"
    if isinstance(text, bytes):
        try:
            text = text.decode("utf-8")
        except UnicodeDecodeError:
            return "the caption is not UTF-8 text"
    if not isinstance(text, str):
        return f"the caption is {type(text).__name__}, not text"
    return None if has_visible_text(text) else "the caption is empty"


def has_visible_text(text: str) -> bool:
    """Whether a caption says anything: zero-width spaces and control characters do not, nor do blanks."""
    return any(character.isprintable() and not character.isspace() for character in text)


def as_text(text: str | bytes) -> str:
    """A usable caption as text without surrounding blanks."""
    return (text.decode("utf-8") if isinstance(text, bytes) else text).strip()


def check_rejected(table: PairTable, max_bad_fraction: float) -> None:
    """Log the bad rows of a table by name.

    Args:
        table: As read from its source.
        max_bad_fraction: Largest share of the source's rows that may be bad.

    Raises:
        DataError: There are more than `max_bad_fraction` of them, or no usable row is left.
    """
    bad, total = len(table.rejected), len(table.rejected) + len(table)
    for rejected in table.rejected[:5]:
        logger.warning("%s: %s is skipped: %s", table.source, rejected, rejected.reason)
    if bad > 5:
        logger.warning("%s: %d rows are skipped in all", table.source, bad)
    if total == 0:
        raise DataError(f"{table.source}: has no rows")
    if bad == total or bad > max_bad_fraction * total:
        first = table.rejected[0]
        parquet = "; `edge-glass data check FILE` lists them all" if table.source.endswith(".parquet") else ""
        raise DataError(
            f"{table.source}: {bad} of {total} rows cannot be used "
            f"(first: {first}: {first.reason}).\n"
            f"At most {max_bad_fraction:.1%} may be bad (dataset.max_bad_fraction){parquet}."
        )


def group_numbers(keys: Sequence[str]) -> np.ndarray:
    """Equal keys get equal numbers. Returns int64 `[N]`."""
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.int64)


def drop_captions_of(table: PairTable, measured: set[str]) -> PairTable:
    """Remove further captions that are a caption of another split: the answer must not be in the training."""
    captions = [[row[0], *(text for text in row[1:] if text not in measured)] for row in table.captions]
    return replace(table, captions=captions)
