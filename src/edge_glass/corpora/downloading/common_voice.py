"""Mozilla Common Voice from a release the user has: sentences with their clips, no speaker on two sides.

The hub's copies are gone; releases come from https://datacollective.mozillafoundation.org.
"""

from __future__ import annotations

import hashlib
import itertools
import logging
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final

from edge_glass.core.errors import ConfigError, DataError
from edge_glass.core.files import atomic_file
from edge_glass.core.progress import progress_bar
from edge_glass.corpora.downloading.journal import full_disk
from edge_glass.corpora.downloading.stopping import Stop, alone_in, stopping_on_signals
from edge_glass.corpora.downloading.voice_archive import Release, Table, is_plain_name, open_release
from edge_glass.corpora.downloading.writing import Rejected, write_rejects

if TYPE_CHECKING:
    import pyarrow.parquet as pq

logger = logging.getLogger(__name__)

SPLITS: Final = {"train": "train", "val": "dev", "test": "test"}
"""Our names of the splits, and Common Voice's."""

_FRACTIONS: Final = {"test": 0.1, "val": 0.1}
_CHUNK: Final = 64
_GROUP_ROWS: Final = 512


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
    """Sentences with their side, rows that cannot be used, and how the sides were chosen."""
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
    """Write the three files and the rejects, which are added to; returns the rows of each split."""
    wanted = {sentence.path: sentence for sentence in sentences}
    counts: Counter[str] = Counter()
    with ExitStack() as stack:
        sinks = {split: stack.enter_context(_sink(output / f"{split}.parquet")) for split in SPLITS}
        advance = stack.enter_context(progress_bar("reading clips", len(wanted), progress))
        for sentence, data in _checked(release, language, wanted, max_bytes):
            stop.check("nothing was written")
            del wanted[sentence.path]
            advance(1)
            if isinstance(data, str):
                rejected.append(Rejected(sentence.row, sentence.path, data, 1))
                continue
            counts[sentence.split] += 1
            sinks[sentence.split].add(sentence, data)
        rejected += [Rejected(left.row, left.path, "the clip is missing", 1) for left in wanted.values()]
        if not counts:
            raise DataError(f"no clip of {language} can be used (first: {min(rejected).reason})")
    rejected.sort()
    write_rejects(output / "rejects.csv", rejected)
    return counts


def _checked(
    release: Release, language: str, wanted: dict[str, Sentence], max_bytes: int
) -> Iterator[tuple[Sentence, bytes | str]]:
    """Clips as they come, each decoded once; in place of the bytes, why a clip cannot be used."""
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


class _Sink:
    """One split's file, written in row groups."""

    def __init__(self, writer: pq.ParquetWriter) -> None:
        self._writer = writer
        self._rows: list[dict[str, Any]] = []

    def add(self, sentence: Sentence, data: bytes) -> None:
        identifier = PurePosixPath(sentence.path).stem
        row = {"id": identifier, "audio": [data], "caption": sentence.caption}
        self._rows.append({**row, "client_id": sentence.client_id})
        if len(self._rows) == _GROUP_ROWS:
            self.flush()

    def flush(self) -> None:
        import pyarrow as pa

        if self._rows:
            self._writer.write_table(pa.Table.from_pylist(self._rows, schema=self._writer.schema))
        self._rows = []


@contextmanager
def _sink(file: Path) -> Iterator[_Sink]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    text = pa.string()
    columns = [("id", text), ("audio", pa.list_(pa.binary())), ("caption", text), ("client_id", text)]
    with (
        atomic_file(file) as temporary,
        pq.ParquetWriter(temporary, pa.schema(columns), use_dictionary=False) as writer,
    ):
        sink = _Sink(writer)
        yield sink
        sink.flush()
