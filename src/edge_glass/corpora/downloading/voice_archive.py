"""A Common Voice release as the user has it, an archive or a folder: its tables and its clips.

Nothing is unpacked: members of an archive are read from the stream, so no path in it can lead anywhere.
"""

from __future__ import annotations

import contextlib
import lzma
import tarfile
import zlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final, Protocol

from edge_glass.core.errors import DataError

TABLES: Final = ("train", "dev", "test", "validated")
_TABLE_BYTES: Final = 4 * 2**30

Clip = tuple[str, bytes | str]
"""Language folder and file name of a clip, and its bytes, or why there are none."""


@dataclass(frozen=True)
class Table:
    """One TSV file: where it lies, and its lines."""

    place: str
    columns: list[str]
    rows: list[dict[str, str]]


class Release(Protocol):
    """Where a release's files come from."""

    def tables(self) -> dict[tuple[str, str], Table]:
        """Return tables by language and name, those of `TABLES` that are there."""

    def clips(self, language: str, names: Collection[str], max_bytes: int) -> Iterator[Clip]:
        """Return the named clips of a language, as they come; missing ones do not."""


def open_release(path: Path) -> Release:
    """Return an archive (.tar, .tar.gz, .tar.xz …) or a folder."""
    if path.is_dir():
        return FolderRelease(path)
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    return ArchiveRelease(path)


def is_plain_name(name: str) -> bool:
    """Return whether a clip's name is a file name and nothing more."""
    return bool(name) and name not in (".", "..") and not set(name) & set("/\\\0")


class ArchiveRelease:
    """A release as it was downloaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def tables(self) -> dict[tuple[str, str], Table]:
        found: dict[tuple[str, str], Table] = {}
        for member, place, archive in self._members():
            key = place.parent.name, place.stem
            if place.suffix != ".tsv" or place.stem not in TABLES or key in found:
                continue
            stream = archive.extractfile(member)
            if stream is None or member.size > _TABLE_BYTES:
                raise DataError(f"{self.path}: {member.name} is too large for a table ({member.size} bytes)")
            found[key] = parse_table(f"{self.path}: {member.name}", stream.read())
        return found

    def clips(self, language: str, names: Collection[str], max_bytes: int) -> Iterator[Clip]:
        missing = set(names)
        for member, place, archive in self._members():
            if place.parent.name != "clips" or place.parent.parent.name != language:
                continue
            if place.name not in missing:
                continue
            missing.discard(place.name)
            stream = archive.extractfile(member)
            if stream is None or member.size > max_bytes:
                yield place.name, f"the clip is larger than {max_bytes / 2**20:.3g} MiB"
            else:
                yield place.name, stream.read()
            if not missing:
                return

    def _members(self) -> Iterator[tuple[tarfile.TarInfo, PurePosixPath, tarfile.TarFile]]:
        """Ordinary files in the order of the archive; links and devices are left out."""
        last = "its beginning"
        try:
            with tarfile.open(self.path, "r|*") as archive:
                for member in archive:
                    if member.isfile():
                        yield member, PurePosixPath(member.name), archive
                    last = member.name
                    # The stream keeps all headers otherwise: a gigabyte for a million clips.
                    archive.members = []  # type: ignore[attr-defined]
        except (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, OSError) as error:
            raise DataError(
                f"{self.path}: damaged or incomplete after {last} ({error}).\nDownload the archive again."
            ) from error


class FolderRelease:
    """A release that was unpacked; the folder itself or the one above."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def tables(self) -> dict[tuple[str, str], Table]:
        found: dict[tuple[str, str], Table] = {}
        for pattern in ("", "*/", "*/*/"):
            for name in TABLES:
                for file in sorted(self.path.glob(f"{pattern}{name}.tsv")):
                    key = file.resolve().parent.name, name
                    found.setdefault(key, parse_table(str(file), file.read_bytes()))
        return found

    def clips(self, language: str, names: Collection[str], max_bytes: int) -> Iterator[Clip]:
        folder = self._clips(language)
        for name in sorted(names):
            file = folder / name
            with contextlib.suppress(FileNotFoundError):
                if file.is_symlink() and not file.resolve().is_relative_to(self.path.resolve()):
                    yield name, f"the clip is a link out of {self.path}"
                elif file.stat().st_size > max_bytes:
                    yield name, f"the clip is larger than {max_bytes / 2**20:.3g} MiB"
                else:
                    yield name, file.read_bytes()

    def _clips(self, language: str) -> Path:
        for pattern in ("", "*/", "*/*/"):
            for folder in sorted(self.path.glob(f"{pattern}clips")):
                if folder.resolve().parent.name == language:
                    return folder
        raise DataError(f"{self.path}: no folder {language}/clips there")


def parse_table(place: str, data: bytes) -> Table:
    """Read a TSV file. Its cells are not quoted: a quotation mark belongs to the sentence."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{place}: not UTF-8 text (byte {error.start})") from error
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    columns = lines[0].split("\t")
    for column in ("client_id", "path", "sentence"):
        if column not in columns:
            raise DataError(f"{place}: no column '{column}'; it has {', '.join(columns)}")
    rows = [dict(zip(columns, line.split("\t"), strict=False)) for line in lines[1:] if line]
    return Table(place, columns, rows)
