"""Records of an evaluated split, with small pictures beside them: how they are written and read.

evaluation/SPLIT_RECORDS.jsonl          one record a line, in the order of the rows
evaluation/SPLIT_pictures/HASH.SUFFIX   pictures by their content hash
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from edge_glass.core.errors import DataError
from edge_glass.core.files import write_whole

_NAME: Final = re.compile(r"[0-9A-Za-z_-]{1,128}")


@dataclass(frozen=True)
class RecordFiles:
    """The files of one kind of record.

    Attributes:
        plural: What the records are, in the name of their file.
        singular: What one of them is, in messages.
        suffix: Of pictures, with its dot.
        kinds: Every field of a record and the types it may have.
    """

    plural: str
    singular: str
    suffix: str
    kinds: Mapping[str, tuple[type, ...]]

    def save(
        self,
        folder: Path,
        split: str,
        records: Iterable[Mapping[str, Any]],
        pictures: Collection[str],
        picture: Callable[[str], bytes],
    ) -> Path:
        """Write a split into a run folder: pictures first, then the records, each file whole.

        Args:
            folder: The run folder.
            split: Which split was evaluated.
            records: As JSON, in the order of the rows.
            pictures: Content hashes of those to keep; those of earlier evaluations of the split are removed.
            picture: Content hash → the bytes of its file.

        Returns:
            The path of the records.

        Raises:
            ValueError: A picture's name is no content hash, or a number is not finite.
        """
        where = _pictures(folder, split)
        path = self._path(folder, split)
        if odd := [name for name in pictures if not _NAME.fullmatch(name)]:
            raise ValueError(f"{odd[0]!r} is no content hash")
        lines = [json.dumps(record, ensure_ascii=False, allow_nan=False) for record in records]
        where.mkdir(parents=True, exist_ok=True)
        for name in pictures:
            write_whole(where / f"{name}{self.suffix}", picture(name))
        write_whole(path, "".join(f"{line}\n" for line in lines))
        for old in where.glob(f"*{self.suffix}"):
            if old.stem not in pictures:
                old.unlink()
        return path

    def load(
        self, folder: Path, split: str, problem: Callable[[dict[str, Any]], str | None] | None = None
    ) -> list[dict[str, Any]]:
        """Read the records of a split.

        Args:
            folder: The run folder.
            split: Which split was evaluated.
            problem: What is wrong with a record whose fields have the right types, if anything.

        Raises:
            DataError: They are missing or broken.
        """
        path = self._path(folder, split)
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            raise DataError(f"{path}: no such file; was the run evaluated?") from None
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"{path}: cannot be read: {error}") from None
        records = []
        # Not splitlines: answers may hold line separators of Unicode, which JSON does not escape.
        for number, line in enumerate(text.split("\n"), start=1):
            if not line:
                continue
            try:
                record = json.loads(line)
            except json.JSONDecodeError as error:
                raise DataError(f"{path}:{number}: not JSON: {error}") from None
            if wrong := self._problem(record) or (problem(record) if problem else None):
                raise DataError(f"{path}:{number}: no {self.singular}: {wrong}")
            records.append(record)
        return records

    def picture(self, folder: Path, split: str, name: str | None) -> bytes | None:
        """Bytes of a picture by its content hash, or None where it was not kept."""
        if name is None or not _NAME.fullmatch(name):
            return None
        try:
            return (_pictures(folder, split) / f"{name}{self.suffix}").read_bytes()
        except OSError:
            return None

    def _problem(self, record: Any) -> str | None:
        if not isinstance(record, dict):
            return f"expected an object, got a {type(record).__name__}"
        names = self.kinds
        if odd := [name for name in (*names, *record) if (name in names) != (name in record)]:
            return f"{odd[0]} is {'missing' if odd[0] in names else 'unknown'}"
        wrong = [name for name in names if not isinstance(record[name], names[name])]
        return f"{wrong[0]} is {record[wrong[0]]!r}" if wrong else None

    def _path(self, folder: Path, split: str) -> Path:
        return Path(folder) / "evaluation" / f"{split}_{self.plural}.jsonl"


def drawn_place(name: str, row: int) -> str:
    """Place of a row among equal ones: random, but the same every time."""
    return hashlib.sha256(f"{name} {row}".encode("utf-8", "replace")).hexdigest()


def _pictures(folder: Path, split: str) -> Path:
    return Path(folder) / "evaluation" / f"{split}_pictures"
