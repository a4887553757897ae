"""Mozilla Common Voice from a release the user has: sentences with their clips, no speaker on two sides.

The copies on the hub are gone; releases come from https://datacollective.mozillafoundation.org, as archives.
Nothing is unpacked: members of an archive are read from the stream, so no path in it can lead anywhere.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import logging
import lzma
import tarfile
import zlib
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final, Protocol

from edge_glass.core.errors import ConfigError, DataError
from edge_glass.core.progress import progress_bar
from edge_glass.corpora.downloading.journal import full_disk
from edge_glass.corpora.downloading.stopping import Stop, alone_in, stopping_on_signals
from edge_glass.corpora.downloading.writing import Rejected, row_groups, write_rejects

if TYPE_CHECKING:
    pass

logger = logging.getLogger(__name__)

SPLITS: Final = {"train": "train", "val": "dev", "test": "test"}
"""Our names of the splits, and Common Voice's."""

_FRACTIONS: Final = {"test": 0.1, "val": 0.1}
_CHUNK: Final = 64
_GROUP_ROWS: Final = 512
TABLES: Final = ("train", "dev", "test", "validated")
_TABLE_BYTES: Final = 4 * 2**30

Clip = tuple[str, bytes | str]
"""Language folder and file name of a clip, and its bytes, or why there are none."""


@dataclass(frozen=True)
class Sentence:
    """One clip: its place in the tables, its file name, who says what."""

    row: int
    path: str
    caption: str
    client_id: str
    split: str


def download_common_voice(
    archive: Path,
    output: Path,
    language: str | None = None,
    limit: int | None = None,
    max_bytes: int = 32 * 2**20,
    progress: bool = True,
) -> list[str]:
    """Write train.parquet, val.parquet and test.parquet from a release; nothing is unpacked.

    Columns: `id` (the clip's name), `audio` (list with one entry, the bytes of the file), `caption` (the
    sentence), `client_id`. Rows stand in the order of the clips: in an archive theirs, in a folder by name.

    Args:
        archive: cv-corpus-….tar.gz, or the folder it was unpacked to.
        output: Where the files go.
        language: Such as "en"; needed when the release has several.
        limit: Only the first so many rows of each table.
        max_bytes: Largest clip.
        progress: Show a progress bar when stderr is a terminal.

    Returns:
        Lines for the terminal.

    Raises:
        ConfigError: The language is not there, or not said.
        DataError: The release is damaged, holds no usable clip, or the disk is full.
        DownloadStopped: A signal arrived; nothing was written.
    """
    release = open_release(archive)
    with stopping_on_signals() as stop, alone_in(output):
        logger.info("%s: reading the tables", archive)
        tables = release.tables()
        chosen = _language(archive, tables, language)
        own = {name: table for (place, name), table in tables.items() if place == chosen}
        sentences, rejected, how = _split(own, limit)
        if not sentences:
            raise DataError(f"{archive}: no usable row in the tables of {chosen}")
        try:
            counts = _write(release, chosen, sentences, rejected, output, max_bytes, stop, progress)
        except OSError as error:
            raise full_disk(error, output, "Nothing was written") from error
    lines = [f"{output / name}.parquet: {counts[name]} rows" for name in SPLITS]
    lines = [f"{chosen}: {how}", *lines]
    return [*lines, f"rejected rows: {output / 'rejects.csv'} ({len(rejected)})"] if rejected else lines


def _language(archive: Path, tables: dict[tuple[str, str], Table], language: str | None) -> str:
    found = sorted({key[0] for key in tables})
    if not found:
        raise DataError(f"{archive}: no train.tsv or validated.tsv there; is this a Common Voice release?")
    if language is None and len(found) == 1:
        return found[0]
    if language not in found:
        said = "has several languages" if language is None else f"has no language '{language}'"
        raise ConfigError(f"{archive} {said}; choose with --language: {', '.join(found)}")
    return language


def _split(tables: dict[str, Table], limit: int | None) -> tuple[list[Sentence], list[Rejected], str]:
    """Return sentences with their side, rows that cannot be used, and how the sides were chosen."""
    official = [SPLITS[split] for split in SPLITS]
    if all(name in tables for name in official):
        speakers = {name: {row.get("client_id") for row in tables[name].rows} for name in official}
        pairs = itertools.combinations(official, 2)
        shared = [pair for pair in pairs if speakers[pair[0]] & speakers[pair[1]]]
        if not shared:
            parts = [(split, tables[name]) for split, name in SPLITS.items()]
            how = "the official split; no speaker is on two sides (checked)"
            return *_sentences(parts, limit, lambda row, split: split), how
        parts = [("", tables[name]) for name in official]
        how = f"split by speaker, because the official {shared[0][0]} and {shared[0][1]} share speakers"
    else:
        name = "validated" if "validated" in tables else next(iter(tables))
        parts = [("", tables[name])]
        how = f"{name}.tsv split by speaker; the release has no official split"
    return *_sentences(parts, limit, lambda row, split: speaker_side(row["client_id"])), how


def speaker_side(client_id: str) -> str:
    """Return the split of a speaker: a function of the id alone; about a tenth each for test and val."""
    position = int.from_bytes(hashlib.sha256(client_id.encode()).digest()[:8], "big") / 2**64
    for split, fraction in _FRACTIONS.items():
        if position < fraction:
            return split
        position -= fraction
    return "train"


def _sentences(
    parts: list[tuple[str, Table]], limit: int | None, side: Callable[[dict[str, str], str], str]
) -> tuple[list[Sentence], list[Rejected]]:
    sentences: dict[str, Sentence] = {}
    rejected = []
    number = 0
    for split, table in parts:
        for row in table.rows[:limit]:
            path, caption = row.get("path", ""), row.get("sentence", "").strip()
            problem = _row_problem(row, path, caption)
            if path in sentences:
                problem = "the clip stands twice"
            if problem:
                rejected.append(Rejected(number, path, problem, 0))
            else:
                sentences[path] = Sentence(number, path, caption, row["client_id"], side(row, split))
            number += 1
    return list(sentences.values()), rejected


def _row_problem(row: dict[str, str], path: str, caption: str) -> str | None:
    if not is_plain_name(path):
        return "the path is no file name"
    if not row.get("client_id"):
        return "the client_id is missing"
    return None if caption else "the sentence is empty"


def _write(
    release: Release,
    language: str,
    sentences: list[Sentence],
    rejected: list[Rejected],
    output: Path,
    max_bytes: int,
    stop: Stop,
    progress: bool,
) -> Counter[str]:
    """Write the three files and the rejects, which are added to; return the rows of each split."""
    import pyarrow as pa

    text = pa.string()
    columns = [("id", text), ("audio", pa.list_(pa.binary())), ("caption", text), ("client_id", text)]
    wanted = {sentence.path: sentence for sentence in sentences}
    counts: Counter[str] = Counter()
    with ExitStack() as stack:
        files = {split: row_groups(output / f"{split}.parquet", columns, _GROUP_ROWS) for split in SPLITS}
        groups = {split: stack.enter_context(file) for split, file in files.items()}
        advance = stack.enter_context(progress_bar("reading clips", len(wanted), progress))
        for sentence, data in _checked(release, language, wanted, max_bytes):
            stop.check("nothing was written")
            del wanted[sentence.path]
            advance(1)
            if isinstance(data, str):
                rejected.append(Rejected(sentence.row, sentence.path, data, 1))
                continue
            counts[sentence.split] += 1
            row = {"id": PurePosixPath(sentence.path).stem, "audio": [data], "caption": sentence.caption}
            groups[sentence.split].add([row | {"client_id": sentence.client_id}], len(data))
        rejected += [Rejected(left.row, left.path, "the clip is missing", 1) for left in wanted.values()]
        if not counts:
            raise DataError(f"no clip of {language} can be used (first: {min(rejected).reason})")
    rejected.sort()
    write_rejects(output / "rejects.csv", rejected)
    return counts


def _checked(
    release: Release, language: str, wanted: dict[str, Sentence], max_bytes: int
) -> Iterator[tuple[Sentence, bytes | str]]:
    """Give clips as they come, each decoded once; in place of the bytes, why one cannot be used."""
    clips = release.clips(language, list(wanted), max_bytes)
    with ThreadPoolExecutor() as pool:
        while chunk := list(itertools.islice(clips, _CHUNK)):
            found = pool.map(lambda clip: _sound_or_problem(clip[1]), chunk)
            for (name, _), result in zip(chunk, found, strict=True):
                yield wanted[name], result


def _sound_or_problem(data: bytes | str) -> bytes | str:
    from edge_glass.data.sounds import BadSound, decode_sound

    if isinstance(data, str):
        return data
    try:
        decode_sound(data)
    except BadSound as error:
        return error.reason
    return data


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
        """Give ordinary files in the order of the archive; links and devices are left out."""
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
