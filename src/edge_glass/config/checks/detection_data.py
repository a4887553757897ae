"""Checks of where the rows of the task detection come from: a form that is known, files that are there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from edge_glass.config.checks.data import missing_path
from edge_glass.config.fields import nearest_word
from edge_glass.config.problems import Problem, found
from edge_glass.config.schema import DatasetConfig, ExperimentConfig

_FORMS = "FILE.parquet, coco:FILE.json, yolo:data.yaml, voc:FOLDER or a hub id (owner/name)"
_PREFIXES = ("coco", "yolo", "voc")
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_SPLITS = ("train", "val", "test")
_ENDINGS = {".json": "coco", ".yaml": "yolo", ".yml": "yolo"}


class BoxSource(NamedTuple):
    """One source of rows: its kind (parquet, coco, yolo, voc or hub), and the path or name behind it."""

    kind: str
    where: str


def box_source(written: str) -> BoxSource | None:
    """What `dataset.train` names, without `#SPLIT`; None when it has none of the known forms."""
    place = written.partition("#")[0]
    prefix, colon, rest = place.partition(":")
    if colon and prefix in _PREFIXES and rest:
        return BoxSource(prefix, rest)
    if written.endswith(".parquet"):
        return BoxSource("parquet", written)
    if _HUB_ID.fullmatch(place) and Path(place).suffix not in _ENDINGS and not Path(place).exists():
        return BoxSource("hub", place)
    return None


def box_sources(dataset: DatasetConfig) -> list[BoxSource]:
    """The sources that are given and known."""
    written = (getattr(dataset, split) for split in _SPLITS)
    return [source for one in written if one is not None and (source := box_source(one)) is not None]


def detection_source(config: ExperimentConfig) -> Iterator[Problem]:
    """There are rows to train on, each source has a known form, and its file or folder exists."""
    dataset = config.dataset
    if config.task != "detection":
        return
    given = [split for split in _SPLITS if getattr(dataset, split) is not None]
    if not given:
        yield Problem(("dataset", "train"), f"missing: no data is given; set dataset.train to {_FORMS}")
    elif "train" not in given:
        yield Problem(("dataset", "train"), f"missing: {given[0]} is given, but nothing to train on")
    for split in given:
        yield from _source_problems(split, getattr(dataset, split))


def _source_problems(split: str, written: str) -> Iterator[Problem]:
    path, source = ("dataset", split), box_source(written)
    if source is None:
        yield Problem(path, f"expected {_FORMS}, found {found(written)}{_meant(written)}")
        return
    if source.kind == "hub":
        return
    place, folder_wanted = Path(source.where), source.kind == "voc"
    if not place.exists():
        what = "folder" if folder_wanted else "file"
        yield Problem(path, f"no such {what}: {missing_path(place)}", missing=place)
    elif place.is_dir() != folder_wanted:
        kinds = ("a folder", "a file") if folder_wanted else ("a file", "a folder")
        yield Problem(path, f"expected {kinds[0]}, but {place} is {kinds[1]}")


def _meant(written: str) -> str:
    """A hint at the form that was probably meant."""
    prefix, colon, rest = written.partition(":")
    kind = nearest_word(prefix, list(_PREFIXES)) if colon else None
    if kind is not None:
        return f"; did you mean {kind}:{rest or '…'}?"
    kind = _ENDINGS.get(Path(written).suffix) or ("voc" if Path(written).is_dir() else None)
    return f"; did you mean {kind}:{written}?" if kind is not None and not colon else ""
