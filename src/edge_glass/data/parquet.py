"""Rows from a parquet file with picture bytes, sound bytes and captions, read lazily (see `spool.py`)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edge_glass.data.parquet_file import (
    ANYTHING,
    PICTURES,
    SOUNDS,
    TEXT,
    TEXT_LISTS,
    open_parquet,
    read_cells,
)
from edge_glass.data.samples import SampleTable, as_text, sift, text_problem
from edge_glass.data.scan import EMPTY_CELL, CellScan
from edge_glass.data.spool import ArrowPictures, spool_pictures, spool_sounds

MAX_AUDIO_SECONDS = 600.0


def read_parquet(
    path: str | Path,
    image_column: str | None = "image_bytes",
    text_column: str = "caption",
    extra_captions_column: str | None = None,
    id_column: str | None = None,
    audio_column: str | None = None,
    group_column: str | None = None,
    max_audio_seconds: float = MAX_AUDIO_SECONDS,
) -> SampleTable:
    """Read the usable rows of a parquet file.

    Without sounds every row needs a picture and a caption. With sounds a row may lack any one of the three
    (an empty cell); a picture or sound that is there and broken makes the row a bad one.

    Args:
        path: The file.
        image_column: Column of picture bytes, or of Hugging Face's struct `{bytes, path}`; None to read none.
        text_column: Column with the caption.
        extra_captions_column: Column with lists of further captions.
        id_column: Column that names a row; the row number otherwise.
        audio_column: Column of sound bytes (or `{bytes, path}`), or of lists of them: several takes.
        group_column: Column whose equal values must stay on one side of a split, such as a speaker's name.
        max_audio_seconds: Longer sounds are bad ones.

    Raises:
        DataError: The file is missing, no parquet, damaged or empty, or lacks a column.
    """
    path = Path(path)
    columns = [(text_column, TEXT)]
    columns += [(extra_captions_column, TEXT_LISTS)] if extra_captions_column else []
    columns += [(name, ANYTHING) for name in (id_column, group_column) if name]
    contents = [(image_column, PICTURES)] if image_column else []
    contents += [(audio_column, SOUNDS)] if audio_column else []
    hint = ".\nName the right ones with dataset.image_column, dataset.text_column and dataset.audio_column."
    with open_parquet(path, [*contents, *columns], hint) as file:
        texts = read_cells(path, file, [name for name, _ in columns])
        pictures = spool_pictures(path, file, image_column) if image_column else None
        sounds = spool_sounds(path, file, audio_column, max_audio_seconds) if audio_column else None
    captions = texts[text_column]
    extras = texts[extra_captions_column] if extra_captions_column else [None] * len(captions)
    names = texts[id_column] if id_column else [None] * len(captions)
    ids = [str(row if name is None else name) for row, name in enumerate(names)]
    seen = pictures.scans() if pictures is not None else [EMPTY_CELL] * len(captions)
    heard = sounds.scans() if sounds is not None else [EMPTY_CELL] * len(captions)
    cells = zip(captions, seen, heard, strict=True)
    kept, rejected = sift(ids, [_row_problem(*each, partial=sounds is not None) for each in cells])
    return SampleTable(
        source=str(path),
        ids=[ids[row] for row in kept],
        captions=[_all_captions(captions[row], extras[row]) for row in kept],
        picture_hashes=[next(iter(seen[row].digests), None) for row in kept],
        positions=kept,
        pictures=ArrowPictures(pictures) if pictures is not None else [],
        rejected=rejected,
        sound_hashes=[heard[row].digests for row in kept] if sounds is not None else (),
        sounds=sounds,
        groups=[_name(texts[group_column][row]) for row in kept] if group_column else (),
        text_column=text_column,
    )


def _row_problem(caption: Any, seen: CellScan, heard: CellScan, partial: bool) -> str | None:
    """Say why a row cannot be used; None when it can."""
    if not partial:
        empty = "the cell is empty (null)" if not seen.digests else None
        return text_problem(caption) or seen.problem or empty
    missing = caption is None or caption in ("", b"")
    if problem := seen.problem or heard.problem or (None if missing else text_problem(caption)):
        return problem
    if (not missing) + bool(seen.digests) + bool(heard.digests) < 2:
        return "it has only one of picture, sound and caption"
    return None


def _name(value: Any) -> str | None:
    return None if value is None else str(value)


def _all_captions(caption: Any, extras: Sequence[Any] | None) -> list[str]:
    usable = [as_text(text) for text in (caption, *(extras or ())) if text_problem(text) is None]
    return list(dict.fromkeys(usable))
