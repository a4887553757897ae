"""Where rows come from: the forms of a source, and checks that it is one, complete and on the disk."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePath
from typing import Final, NamedTuple

from edge_glass.config.fields import nearest_word
from edge_glass.config.sections.base import Problem
from edge_glass.config.sections.data import DatasetConfig, ScenesConfig, TablesConfig

Sources = Mapping[str, tuple[str, ...]]

TABLE_SOURCES: Final[Sources] = {
    "parquet files": ("train_parquet", "val_parquet", "test_parquet"),
    "a folder of pictures": ("image_folder", "metadata_file"),
}
"""Kind of source → its options; the first says what is trained on."""

TABLE_PATHS: Final = (*(name for names in TABLE_SOURCES.values() for name in names), "extra_train_parquet")
_FOLDERS = ("image_folder", "image_root")
_SPLITS = ("train.parquet", "val.parquet", "test.parquet")
_BUILT = dict.fromkeys(("emoji", "easy-vqa", "nutrition-scenes", "emoji-scenes"), _SPLITS)

# Of the task detection
_FORMS = "FILE.parquet, coco:FILE.json, yolo:data.yaml, voc:FOLDER or a hub id (owner/name)"
_PREFIXES = ("coco", "yolo", "voc")
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_ENDINGS = {".json": "coco", ".yaml": "yolo", ".yml": "yolo"}


def table_source(
    dataset: TablesConfig, *, sounds: bool, sources: Sources = TABLE_SOURCES, grouped: bool = True
) -> Iterator[Problem]:
    """Yield what is wrong when rows do not come from one complete kind of source.

    Args:
        dataset: The section.
        sounds: There is an audio encoder.
        sources: The kinds of source that the task has.
        grouped: `group_column` is read.
    """
    given = {
        kind: names
        for kind, options in sources.items()
        if (names := [name for name in options if getattr(dataset, name) is not None])
    }
    if not given:
        firsts = [f"dataset.{names[0]}" for kind, names in sources.items() if kind != "a folder of pictures"]
        yield Problem(
            ("dataset", "train_parquet"),
            f"missing: no data is given; set {' or '.join(firsts)}, or dataset.image_folder and "
            "dataset.metadata_file",
        )
        return
    (kind, names), *others = given.items()
    for other, unwanted in others:
        yield Problem(("dataset", unwanted[0]), f"stands beside {names[0]}; give {kind} or {other}, not both")
    if others:
        return
    first = sources[kind][0]
    if names == ["image_folder"]:
        yield Problem(
            ("dataset", "image_folder"),
            "needs dataset.metadata_file: JSON, JSONL or CSV with the columns file_name "
            f"and {dataset.text_column} (dataset.text_column)",
        )
    elif names == ["metadata_file"]:
        yield Problem(
            ("dataset", "metadata_file"), "needs dataset.image_folder: the folder its file names are in"
        )
    elif names[0] != first:
        yield Problem(("dataset", first), f"missing: {names[0]} is given, but nothing to train on")
    if kind == "parquet files":
        return
    if dataset.extra_train_parquet:
        yield Problem(
            ("dataset", "extra_train_parquet"),
            f"stands beside {names[0]}; give parquet files or {kind}, not both",
        )
    if dataset.group_column is not None and grouped:
        yield Problem(("dataset", "group_column"), f"is read from parquet files only, not from {names[0]}")
    if sounds:
        yield Problem(
            ("audio_encoder",), f"needs sounds, which are read from parquet files only, not from {names[0]}"
        )


def missing_files(dataset: DatasetConfig, options: tuple[str, ...]) -> Iterator[Problem]:
    """Yield files and folders that do not exist; relative paths start at the working directory."""
    for name in options:
        written = getattr(dataset, name)
        for one in written if isinstance(written, list) else [written]:
            if one is not None:
                yield from missing_path(name, Path(one), folder=name in _FOLDERS)


def missing_path(name: str, path: Path, *, folder: bool) -> Iterator[Problem]:
    """Yield what is wrong with one path of the section `dataset`."""
    wanted, other = ("folder", "file") if folder else ("file", "folder")
    if not path.exists():
        command = build_command(path)
        help_ = f"; `{command}` writes it" if command else ""
        if not command and not path.is_absolute():
            help_ = f" (looked in the working directory {Path.cwd()})"
        yield Problem(("dataset", name), f"no such {wanted}: {path}{help_}", missing=path)
    elif path.is_dir() != folder:
        yield Problem(("dataset", name), f"expected a {wanted}, got {path}, which is a {other}")


def build_command(path: Path) -> str | None:
    """Return the command that writes a file of a data set; None for files that no command builds."""
    folder, name = ("", "", *PurePath(path).parts)[-2:]
    if (folder, name) == ("emoji", "spoken_words.parquet"):
        return "edge-glass data build emoji --speech"
    return f"edge-glass data build {folder}" if name in _BUILT.get(folder, ()) else None


class BoxSource(NamedTuple):
    """One source of rows: its kind (parquet, coco, yolo, voc or hub), and the path or name behind it."""

    kind: str
    where: str


def box_source(written: str) -> BoxSource | None:
    """Return what `dataset.train` names, without `#SPLIT`; None when it has none of the known forms."""
    place = written.partition("#")[0]
    prefix, colon, rest = place.partition(":")
    if colon and prefix in _PREFIXES and rest:
        return BoxSource(prefix, rest)
    if written.endswith(".parquet"):
        return BoxSource("parquet", written)
    if _HUB_ID.fullmatch(place) and Path(place).suffix not in _ENDINGS and not Path(place).exists():
        return BoxSource("hub", place)
    return None


def box_sources(dataset: ScenesConfig) -> list[BoxSource]:
    """Return the sources that are given and known."""
    written = (getattr(dataset, split) for split in ("train", "val", "test"))
    return [source for one in written if one is not None and (source := box_source(one)) is not None]


def source_problems(dataset: ScenesConfig) -> Iterator[Problem]:
    """Yield what is missing: rows to train on, a known form of each source, its file or folder."""
    given = [split for split in ("train", "val", "test") if getattr(dataset, split) is not None]
    if not given:
        yield Problem(("dataset", "train"), f"missing: no data is given; set dataset.train to {_FORMS}")
    elif "train" not in given:
        yield Problem(("dataset", "train"), f"missing: {given[0]} is given, but nothing to train on")
    for split in given:
        written = getattr(dataset, split)
        source = box_source(written)
        if source is None:
            yield Problem(("dataset", split), f"expected {_FORMS}, got the text {written!r}{_meant(written)}")
        elif source.kind != "hub":
            yield from missing_path(split, Path(source.where), folder=source.kind == "voc")


def _meant(written: str) -> str:
    """Hint at the form that was probably meant."""
    prefix, colon, rest = written.partition(":")
    kind = nearest_word(prefix, list(_PREFIXES)) if colon else None
    if kind is not None:
        return f"; did you mean {kind}:{rest or '…'}?"
    kind = _ENDINGS.get(Path(written).suffix) or ("voc" if Path(written).is_dir() else None)
    return f"; did you mean {kind}:{written}?" if kind is not None and not colon else ""
