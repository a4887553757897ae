"""`edge-glass data download`: which options belong to which data set, and one function for each kind."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edge_glass.core.errors import ConfigError, DataError
from edge_glass.corpora.downloading.common_voice import download_common_voice
from edge_glass.corpora.downloading.fetching import Limits, Picture
from edge_glass.corpora.downloading.index import Index, hub_index, need_columns, open_index
from edge_glass.corpora.downloading.journal import Journal, open_journal
from edge_glass.corpora.downloading.recipes import (
    CAPTIONS_HUB,
    PIXMO_CAP,
    PIXMO_CAP_QA,
    QUESTIONS_HUB,
    BadRow,
    FolderPictures,
    Recipe,
    instruction_recipe,
)
from edge_glass.corpora.downloading.running import fetch_missing
from edge_glass.corpora.downloading.stopping import Stop, alone_in, stopping_on_signals
from edge_glass.corpora.downloading.writing import Written, write_data_set

logger = logging.getLogger(__name__)

_PIXMO: Final = {"pixmo-cap": (PIXMO_CAP, CAPTIONS_HUB), "pixmo-cap-qa": (PIXMO_CAP_QA, QUESTIONS_HUB)}
_PARTS: Final = "parts"
_OWN_OPTIONS: Final = {
    "index": ("pixmo-cap", "pixmo-cap-qa"),
    "archive": ("common-voice",),
    "language": ("common-voice",),
    "annotations": ("instruction",),
    "image_root": ("instruction",),
    "image_url_prefix": ("instruction",),
}


def download(
    corpus: str,
    output: Path | None = None,
    limits: Limits | None = None,
    *,
    limit: int | None = None,
    retry_rejected: bool = False,
    delete_parts: bool = False,
    index: Sequence[Path] = (),
    archive: Path | None = None,
    language: str | None = None,
    annotations: Sequence[Path] = (),
    image_root: Path | None = None,
    image_url_prefix: str | None = None,
) -> list[str]:
    """Download one data set; the arguments are the options of the command.

    Returns:
        Lines for the terminal.

    Raises:
        ConfigError: An option is missing or belongs to another data set.
        DataError, AssetError, DownloadStopped: See `download_pictures` and `download_common_voice`.
    """
    given = {
        "index": index,
        "archive": archive,
        "language": language,
        "annotations": annotations,
        "image_root": image_root,
        "image_url_prefix": image_url_prefix,
    }
    for name, value in given.items():
        if value and corpus not in _OWN_OPTIONS[name]:
            option = f"--{name.replace('_', '-')}"
            raise ConfigError(f"{option} belongs to {' and '.join(_OWN_OPTIONS[name])}, not to {corpus}")
    limits = limits or Limits()
    folder = output or Path("data") / corpus
    if corpus == "common-voice":
        if archive is None:
            raise ConfigError(
                "common-voice needs --archive: cv-corpus-….tar.gz, or the folder it was unpacked to.\n"
                "Its copies on the hub are gone; get it from https://datacollective.mozillafoundation.org."
            )
        return download_common_voice(archive, folder, language, limit, limits.max_bytes)
    options = Options(folder, limit, retry_rejected, delete_parts)
    if corpus == "instruction":
        return download_instruction(annotations, options, limits, image_root, image_url_prefix)
    return download_pixmo(corpus, options, limits, index)


@dataclass(frozen=True)
class Options:
    """What all downloads of pictures have in common.

    Attributes:
        output: Folder of the data set.
        limit: Only the first so many rows of the index.
        retry_rejected: Try every failed URL again, also those whose server's answer was final.
        delete_parts: Delete the kept pictures once the parquet file is written.
        progress: Show a progress bar when stderr is a terminal.
    """

    output: Path
    limit: int | None = None
    retry_rejected: bool = False
    delete_parts: bool = False
    progress: bool = True


def download_pixmo(
    name: str, options: Options, limits: Limits | None = None, index: Sequence[Path] = ()
) -> list[str]:
    """Download `pixmo-cap` or `pixmo-cap-qa`.

    Args:
        name: Which.
        options: See `Options`.
        limits: Bounds of the download.
        index: Files with the rows; from the hub when there are none.
    """
    recipe, repository = _PIXMO[name]
    rows = open_index(index, options.limit) if index else hub_index(repository, options.limit)
    return download_pictures(rows, recipe, options, limits or Limits())


def download_instruction(
    annotations: Sequence[Path],
    options: Options,
    limits: Limits | None = None,
    image_root: Path | None = None,
    image_url_prefix: str | None = None,
) -> list[str]:
    """Make a data set of conversations about pictures, which are URLs or files.

    Args:
        annotations: JSON, JSON lines or parquet in LLaVA's form; several files count as one.
        options: See `Options`.
        limits: Bounds of the download.
        image_root: Folder with the pictures, when they are files.
        image_url_prefix: Put before file names to make them URLs.
    """
    if image_root is not None and image_url_prefix is not None:
        raise ConfigError("give --image-root or --image-url-prefix, not both")
    if not annotations:
        raise ConfigError("`instruction` needs --annotations FILE")
    limits = limits or Limits()
    rows = open_index(annotations, options.limit)
    recipe = instruction_recipe(annotations[0].stem, image_url_prefix, local=image_root is not None)
    if image_root is None:
        return download_pictures(rows, recipe, options, limits)
    if not image_root.is_dir():
        raise DataError(f"{image_root}: no such folder; give that of the pictures as --image-root")
    need_columns(rows, recipe.needed)
    with stopping_on_signals() as stop, alone_in(options.output):
        pictures = FolderPictures(image_root, limits.max_bytes)
        return write_data_set(options.output, rows, recipe, pictures, stop).lines()


def download_pictures(index: Index, recipe: Recipe, options: Options, limits: Limits) -> list[str]:
    """Fetch the pictures of an index and write the data set; goes on where an earlier call stopped.

    Raises:
        DataError: The index is wrong, the disk is full or no host can be reached.
        DownloadStopped: A signal arrived.
    """
    columns = need_columns(index, recipe.needed)
    logger.info("%s: columns %s", index.files[0], ", ".join(columns))
    parts = options.output / _PARTS
    with stopping_on_signals() as stop, alone_in(options.output), open_journal(parts) as journal:
        again = journal.forget_failures(passing_only=not options.retry_rejected)
        if journal.pictures or again:
            logger.info("%d pictures are there; %d URLs are tried again", journal.pictures, again)
        written, counts = _fetch_and_write(index, recipe, options, limits, journal, stop)
        kept, size = journal.pictures, journal.size
    lines = [f"downloaded: {counts}", *written.lines()]
    if options.delete_parts:
        _delete(parts)
    else:
        lines.append(f"{parts}: keeps {kept} pictures ({size / 1e6:.0f} MB) for a later call; or delete it")
    return lines


def _fetch_and_write(
    index: Index, recipe: Recipe, options: Options, limits: Limits, journal: Journal, stop: Stop
) -> tuple[Written, str]:
    while True:
        counts = fetch_missing(_usable(index, recipe), journal, limits, stop, options.progress)
        written = write_data_set(options.output, index, recipe, journal, stop)
        damaged = journal.forget_damaged()
        if not damaged:
            return written, counts
        logger.warning("%s: %d kept pictures were damaged; they are fetched again", journal.folder, damaged)


def _usable(index: Index, recipe: Recipe) -> Iterator[Picture]:
    """Give the pictures of the rows whose texts can be used."""
    for _, row in index.rows():
        try:
            picture = recipe.picture(row)
            recipe.texts(row)
        except BadRow:
            continue
        yield picture


def _delete(parts: Path) -> None:
    for file in sorted(parts.iterdir()):
        file.unlink()
    parts.rmdir()
