"""Where the rows of the task detection come from: the forms of `dataset.train`, and checks of them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from edge_glass.config.checks.data import missing_path
from edge_glass.config.fields import nearest_word
from edge_glass.config.sections.base import Problem
from edge_glass.config.sections.data import ScenesConfig

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
    written = (getattr(dataset, split) for split in _SPLITS)
    return [source for one in written if one is not None and (source := box_source(one)) is not None]


def source_problems(dataset: ScenesConfig) -> Iterator[Problem]:
    """Yield what is missing: rows to train on, a known form of each source, its file or folder."""
    given = [split for split in _SPLITS if getattr(dataset, split) is not None]
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
    """A hint at the form that was probably meant."""
    prefix, colon, rest = written.partition(":")
    kind = nearest_word(prefix, list(_PREFIXES)) if colon else None
    if kind is not None:
        return f"; did you mean {kind}:{rest or '…'}?"
    kind = _ENDINGS.get(Path(written).suffix) or ("voc" if Path(written).is_dir() else None)
    return f"; did you mean {kind}:{written}?" if kind is not None and not colon else ""
