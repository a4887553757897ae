"""Checks of where the data comes from: one kind of source, complete, and on the disk."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePath

from edge_glass.config.problems import Problem
from edge_glass.config.schema import ExperimentConfig

# The options of each kind of source; the first says what is trained on.
_KINDS = {
    "parquet files": ("train_parquet", "val_parquet", "test_parquet"),
    "conversations": ("train_conversations", "val_conversations", "test_conversations"),
    "a folder of pictures": ("image_folder", "metadata_file"),
}
_FOLDERS = ("image_folder", "image_root")
_SPLITS = ("train.parquet", "val.parquet", "test.parquet")
_BUILT = dict.fromkeys(("emoji", "easy-vqa", "nutrition-scenes", "emoji-scenes"), _SPLITS)


def data_source(config: ExperimentConfig) -> Iterator[Problem]:
    """Rows come from one kind of source, and it is complete. For detection see `detection_data`."""
    dataset = config.dataset
    if config.task == "detection":
        return
    given = {
        kind: names
        for kind, options in _KINDS.items()
        if (names := [name for name in options if getattr(dataset, name) is not None])
    }
    if not given:
        or_talk = ", or dataset.train_conversations" if config.task == "instruction" else ""
        yield Problem(
            ("dataset", "train_parquet"),
            f"missing: no data is given; set dataset.train_parquet{or_talk}, "
            "or dataset.image_folder and dataset.metadata_file",
        )
        return
    (kind, names), *others = given.items()
    for other, unwanted in others:
        yield Problem(("dataset", unwanted[0]), f"stands beside {names[0]}; give {kind} or {other}, not both")
    if others:
        return
    if kind == "a folder of pictures":
        yield from _folder(config, names)
    elif names[0] != _KINDS[kind][0]:
        yield Problem(("dataset", _KINDS[kind][0]), f"missing: {names[0]} is given, but nothing to train on")
    if kind != "parquet files":
        yield from _parquet_only(config, kind, names[0])


def _folder(config: ExperimentConfig, names: list[str]) -> Iterator[Problem]:
    """A folder of pictures goes with a file of captions."""
    if names == ["image_folder"]:
        yield Problem(
            ("dataset", "image_folder"),
            "needs dataset.metadata_file: JSON, JSONL or CSV with the columns file_name "
            f"and {config.dataset.text_column} (dataset.text_column)",
        )
    elif names == ["metadata_file"]:
        yield Problem(
            ("dataset", "metadata_file"), "needs dataset.image_folder: the folder its file names are in"
        )
    elif config.task == "instruction" and config.dataset.caption_question is None:
        yield Problem(
            ("dataset", "image_folder"),
            "comes with captions, not with questions; set dataset.caption_question to what every picture is "
            "asked",
        )


def _parquet_only(config: ExperimentConfig, kind: str, name: str) -> Iterator[Problem]:
    """What a folder of pictures, or conversations, cannot give."""
    dataset = config.dataset
    if dataset.extra_captions_column is not None and config.task == "alignment":
        yield Problem(
            ("dataset", "extra_captions_column"),
            "is read from parquet files only; in a metadata file, give a picture a row for each caption",
        )
    if dataset.extra_train_parquet:
        yield Problem(
            ("dataset", "extra_train_parquet"),
            f"stands beside {name}; give parquet files or {kind}, not both",
        )
    if dataset.group_column is not None and (config.task == "alignment" or dataset.caption_question):
        yield Problem(("dataset", "group_column"), f"is read from parquet files only, not from {name}")
    if config.audio_encoder is not None:
        yield Problem(
            ("audio_encoder",), f"needs sounds, which are read from parquet files only, not from {name}"
        )


def data_files(config: ExperimentConfig) -> Iterator[Problem]:
    """The files of the data set exist; relative paths start at the working directory."""
    dataset = config.dataset
    options = ["image_root"]
    if config.task != "detection":  # which reads none of the others, and says so
        options += [name for names in _KINDS.values() for name in names]
    named = [(name, getattr(dataset, name)) for name in options]
    named += [("extra_train_parquet", written) for written in dataset.extra_train_parquet]
    for name, written in named:
        if written is None:
            continue
        path, folder_wanted = Path(written), name in _FOLDERS
        if not path.exists():
            yield Problem(
                ("dataset", name),
                f"no such {'folder' if folder_wanted else 'file'}: {missing_path(path)}",
                missing=path,
            )
        elif path.is_dir() != folder_wanted:
            kinds = ("a folder", "a file") if folder_wanted else ("a file", "a folder")
            yield Problem(("dataset", name), f"expected {kinds[0]}, but {written} is {kinds[1]}")


def missing_path(path: Path) -> str:
    """The path, and what helps: the command that writes it, or the place a relative path starts at."""
    command = build_command(path)
    if command is not None:
        return f"{path}; `{command}` writes it"
    if not path.is_absolute():
        return f"{path} (looked in the working directory {Path.cwd()})"
    return str(path)


def build_command(path: Path) -> str | None:
    """Return the command that writes a file of a data set; None for files that no command builds."""
    folder, name = ("", "", *PurePath(path).parts)[-2:]
    if (folder, name) == ("emoji", "spoken_words.parquet"):
        return "edge-glass data build emoji --speech"
    return f"edge-glass data build {folder}" if name in _BUILT.get(folder, ()) else None
