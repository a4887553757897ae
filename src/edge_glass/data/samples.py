"""Rows of pictures, sounds and captions, wherever they are stored: the table every data set is made of."""

from __future__ import annotations

import hashlib
import logging
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain
from typing import Any, Final, Protocol, Self

import numpy as np
from PIL import Image

from edge_glass.core.errors import DataError
from edge_glass.data.pictures import BadPicture, decode_image
from edge_glass.data.sounds import BadSound, Sound, decode_sound

logger = logging.getLogger(__name__)

MODALITIES: Final = ("vision", "audio", "text")
CAPTION_COLUMN: Final = "caption"


class PictureBytes(Protocol):
    """Encoded pictures by their position in the source."""

    def __getitem__(self, position: int) -> bytes: ...


class SoundBytes(Protocol):
    """Encoded sounds by their position in the source: one or several takes of each."""

    def __getitem__(self, position: int) -> Sequence[bytes]: ...


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
class SampleTable:
    """Usable rows of one source; pictures and sounds stay encoded where they are until read.

    A row may lack a modality. It may have several captions, and several takes of its sound: training draws
    one of them, evaluation uses the first.

    Attributes:
        source: File or folder, as named in messages.
        ids: Name of each row.
        captions: Captions of each row, none where it has no words.
        picture_hashes: Content hash of each row's picture (`picture_hash`); None where it has none.
        positions: Position of each row in the source.
        pictures: Encoded pictures by position in the source.
        rejected: Rows of the source that are not among the above.
        sound_hashes: Content hashes of each row's takes (`sound_hash`); empty for a table without sounds.
        sounds: Encoded sounds by position in the source.
        groups: Name of the group each row must not be parted from, such as its speaker; empty for none.
        text_column: Column of a parquet file that the words are read from; of several files, of the first.
    """

    source: str
    ids: Sequence[str]
    captions: Sequence[Sequence[str]]
    picture_hashes: Sequence[str | None]
    positions: Sequence[int]
    pictures: PictureBytes
    rejected: tuple[Rejected, ...] = field(default=())
    sound_hashes: Sequence[Sequence[str]] = field(default=())
    sounds: SoundBytes | None = None
    groups: Sequence[str | None] = field(default=())
    text_column: str = CAPTION_COLUMN

    def __len__(self) -> int:
        return len(self.ids)

    def keys(self, modality: str) -> Sequence[Sequence[str]]:
        """Return what each row has of a modality, by content: hashes of its picture or takes, or captions."""
        return self._keys[modality]

    @cached_property
    def _keys(self) -> dict[str, Sequence[Sequence[str]]]:
        """Made once: `keys` is asked row by row."""
        return {
            "vision": [() if digest is None else (digest,) for digest in self.picture_hashes],
            "audio": self.sound_hashes or [()] * len(self),
            "text": self.captions,
        }

    def digest(self) -> str:
        """Return a SHA-256 (hex) of the rows, in their order: equal rows, wherever they are stored."""
        found = hashlib.sha256()
        for row in zip(*self.contents(), strict=True):
            found.update(repr(row).encode())
        return found.hexdigest()

    def contents(self) -> Sequence[Sequence[Any]]:
        """Return the columns that `digest` is of: one entry a row, whose `repr` says what it holds."""
        return [self.keys(modality) for modality in MODALITIES]

    def item(self, modality: str, index: int, take: int = 0) -> Image.Image | Sound | str:
        """Return the picture, sound or caption that `keys(modality)[index][take]` names."""
        if modality == "text":
            return self.captions[index][take]
        return self.sound(index, take) if modality == "audio" else self.image(index)

    def picture(self, index: int) -> bytes:
        """Return the encoded picture of row `index`."""
        return self.pictures[self.positions[index]]

    def image(self, index: int) -> Image.Image:
        """Return the decoded, upright picture of row `index`: mode RGB, or RGBA where it has transparency.

        Raises:
            DataError: It could be decoded when the table was made, and cannot any more.
        """
        try:
            return decode_image(self.picture(index))
        except (BadPicture, OSError) as error:
            raise self._changed("picture", index, error) from error

    def sound(self, index: int, take: int = 0) -> Sound:
        """Return the decoded sound of row `index`.

        Raises:
            DataError: It could be decoded when the table was made, and cannot any more.
        """
        assert self.sounds is not None
        try:
            return decode_sound(self.sounds[self.positions[index]][take])
        except (BadSound, OSError) as error:
            raise self._changed("sound", index, error) from error

    def _changed(self, what: str, index: int, error: Exception) -> DataError:
        place = f"{self.source}: the {what} of row {self.ids[index]}"
        return DataError(f"{place} changed after it was first read: {error}")

    def leave_out(self, indices: set[int], reason: str) -> SampleTable:
        """Return all rows but these, which are added to `rejected`."""
        lost = [Rejected(self.positions[i], self.ids[i], reason) for i in sorted(indices)]
        kept = self.select([i for i in range(len(self)) if i not in indices])
        return replace(kept, rejected=(*self.rejected, *lost))

    def spread(self, count: int) -> Self:
        """Return `count` rows, evenly spread; all when there are fewer."""
        chosen = min(count, len(self))
        return self.select([len(self) * number // chosen for number in range(chosen)])

    def select(self, indices: Sequence[int]) -> Self:
        """Return these rows in this order."""

        def chosen(column: Sequence[Any]) -> list[Any]:
            return [column[i] for i in indices] if column else []

        return replace(
            self,
            ids=chosen(self.ids),
            captions=chosen(self.captions),
            picture_hashes=chosen(self.picture_hashes),
            positions=chosen(self.positions),
            sound_hashes=chosen(self.sound_hashes),
            groups=chosen(self.groups),
        )


class JoinedItems:
    """Encoded pictures or sounds of several sources, by position in all of them together."""

    def __init__(self, parts: Sequence[Any], places: Sequence[tuple[int, int]]) -> None:
        self.parts, self.places = parts, places

    def __getitem__(self, position: int) -> Any:
        part, place = self.places[position]
        return self.parts[part][place]


def join_tables(tables: Sequence[SampleTable]) -> SampleTable:
    """Join the rows of these tables, one after the other."""
    if len(tables) == 1:
        return tables[0]
    places = [(part, position) for part, table in enumerate(tables) for position in table.positions]
    return SampleTable(
        source=", ".join(dict.fromkeys(table.source for table in tables)),
        ids=list(chain(*(table.ids for table in tables))),
        captions=list(chain(*(table.captions for table in tables))),
        picture_hashes=list(chain(*(table.picture_hashes for table in tables))),
        positions=range(len(places)),
        pictures=JoinedItems([table.pictures for table in tables], places),
        rejected=tuple(
            replace(bad, identifier=f"{table.source} {bad.identifier}")
            for table in tables
            for bad in table.rejected
        ),
        sound_hashes=list(chain(*(table.keys("audio") for table in tables))),
        sounds=JoinedItems([table.sounds for table in tables], places),
        groups=list(chain(*(table.groups or [None] * len(table) for table in tables))),
        text_column=tables[0].text_column,
    )


def sift(names: Sequence[str], problems: Sequence[str | None]) -> tuple[list[int], tuple[Rejected, ...]]:
    """Split the rows of a source into those to keep, and those to reject because something is wrong.

    Args:
        names: What each row is called in messages.
        problems: What is wrong with each row; None or "" where nothing is.
    """
    kept = [row for row, problem in enumerate(problems) if not problem]
    rejected = [Rejected(row, names[row], problem) for row, problem in enumerate(problems) if problem]
    return kept, tuple(rejected)


def digests(splits: Mapping[str, SampleTable]) -> dict[str, str]:
    """Return the digest of each split."""
    return {name: table.digest() for name, table in splits.items()}


def row_kinds(table: SampleTable, modalities: Sequence[str]) -> np.ndarray:
    """Number which of these modalities each row has: bit m stands for `modalities[m]`. int64 `[N]`."""
    bits = [
        np.array([bool(keys) for keys in table.keys(name)], dtype=np.int64) << bit
        for bit, name in enumerate(modalities)
    ]
    return np.stack(bits).sum(axis=0)


def text_problem(text: object) -> str | None:
    """Say why a caption cannot be used; None when it can."""
    if text is None:
        return "the caption is missing"
    if isinstance(text, bytes):
        try:
            text = text.decode("utf-8")
        except UnicodeDecodeError:
            return "the caption is not UTF-8 text"
    if not isinstance(text, str):
        return f"the caption is {type(text).__name__}, not text"
    if any("\ud800" <= character <= "\udfff" for character in text):
        return "the caption holds half of a character (an unpaired surrogate)"
    return None if has_visible_text(text) else "the caption is empty"


def has_visible_text(text: str) -> bool:
    """Say whether a caption says anything: blanks, zero-width spaces and control characters do not."""
    return any(character.isprintable() and not character.isspace() for character in text)


def as_text(text: str | bytes) -> str:
    """Return a usable caption as text without surrounding blanks."""
    return (text.decode("utf-8") if isinstance(text, bytes) else text).strip()


def check_rejected(table: SampleTable, max_bad_fraction: float) -> None:
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
        raise DataError(
            f"{table.source}: {bad} of {total} rows cannot be used "
            f"(first: {first}: {first.reason}).\n"
            f"At most {max_bad_fraction:.1%} may be bad (dataset.max_bad_fraction){_how_to_list(table)}."
        )


def _how_to_list(table: SampleTable) -> str:
    """Return the command that lists all bad rows; it reads parquet files with captions only."""
    if not table.source.endswith(".parquet") or not table.text_column:
        return ""
    named = f" --text-column {shlex.quote(table.text_column)}"
    option = "" if table.text_column == CAPTION_COLUMN else named
    return f"; `edge-glass data check FILE{option}` lists them all"


def group_numbers(keys: Sequence[str]) -> np.ndarray:
    """Number keys so that equal ones get equal numbers, int64 `[N]`."""
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.int64)


def drop_captions_of(table: SampleTable, measured: set[str]) -> SampleTable:
    """Remove further captions that are a caption of another split: the answer must not be in the training."""
    captions = [[*row[:1], *(text for text in row[1:] if text not in measured)] for row in table.captions]
    return replace(table, captions=captions)
