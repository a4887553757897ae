"""Where an experiment's pictures with boxes come from."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from edge_glass.config.detection import DetectionConfig
from edge_glass.config.sections.data import ScenesConfig
from edge_glass.core.errors import ConfigError, DataError
from edge_glass.data.samples import check_rejected
from edge_glass.data.splits import separate_by, separate_pictures, split_by_group
from edge_glass.detection.boxes.evidence import order_evidence
from edge_glass.detection.boxes.spec import BoxSpec
from edge_glass.detection.data.generated import generated_scenes
from edge_glass.detection.data.readers import own_splits, read_detection
from edge_glass.detection.data.table import DetectionTable, check_skipped_boxes

logger = logging.getLogger(__name__)

FEWEST = 2


def load_scenes(config: DetectionConfig) -> dict[str, DetectionTable]:
    """Train, val and test of an experiment, with no picture and no barcode on two sides.

    A split without a source of its own is the one that the source of train brings along (a hub id, YOLO or
    VOC may), else it is split off train by barcode and picture. What is looked for is `dataset.categories`,
    else every category of the training rows; all three tables have the same.

    Raises:
        ConfigError: There is no training source.
        DataError: See the readers and `check_rejected`; too many boxes are wrong, a split is too small, two
            splits share a picture or barcode and that is an error, or x and y of the boxes look swapped.
    """
    dataset = config.dataset
    tables = generated_scenes() if config.tiny else _read_tables(dataset)
    if config.tiny and dataset.categories is not None:
        logger.info("dataset.categories: the generated scenes have their own")
    for table in tables.values():
        check_rejected(table, dataset.max_bad_fraction)
        check_skipped_boxes(table, dataset.max_bad_fraction)
        check_order(table, dataset.box_spec)
    return complete_scenes(tables, dataset.val_fraction, dataset.test_fraction, dataset.shared_pictures)


def complete_scenes(
    tables: Mapping[str, DetectionTable], val_fraction: float, test_fraction: float, shared_pictures: str
) -> dict[str, DetectionTable]:
    """Train, val and test from those that are given, with no picture and no group on two sides.

    Raises:
        DataError: A split has fewer than 2 rows, or two splits share a picture or group and the policy is
            `error`.
    """
    wanted = {"test": test_fraction, "val": val_fraction}
    missing = {name: fraction for name, fraction in wanted.items() if name not in tables}
    splits: dict[str, Any] = dict(tables)
    if missing:
        splits |= split_by_group(splits["train"], missing)
        splits |= {name: replace(splits[name], skipped_boxes=()) for name in missing}
    separated = separate_pictures(splits, shared_pictures)
    splits = dict(separate_by(separated, shared_pictures, "group", "barcode"))
    for name in ("train", "val", "test"):
        if len(splits[name]) < FEWEST:
            raise DataError(
                f"{splits['train'].source}: the {name} split has {len(splits[name])} usable rows; at least "
                f"{FEWEST} are needed.\nGive more rows, or name a source in dataset.{name}."
            )
    return splits


def check_order(table: DetectionTable, box_spec: str) -> None:
    """Look whether the boxes fit the pictures better with x and y swapped.

    Raises:
        DataError: They clearly do.
    """
    evidence = order_evidence(table)
    found = (
        f"on {evidence.rows} pictures they fit {evidence.given:+.2f} as read and {evidence.swapped:+.2f} "
        f"with x and y swapped (p = {evidence.p_value:.1g})"
    )
    if evidence.verdict != "swapped":
        logger.info("%s: order of the boxes: %s", table.source, found)
        return
    if ".parquet" in table.source:
        others = [
            spec for spec in BoxSpec if spec != box_spec and spec.relative == BoxSpec(box_spec).relative
        ]
        advice = f"dataset.box_spec is {box_spec}; {' or '.join(others)} may be right."
    else:
        advice = (
            "This form fixes the order, so the file was written wrongly; dataset.box_spec is for parquet."
        )
    raise DataError(f"{table.source}: x and y of the boxes seem to be swapped: {found}.\n{advice}")


def _read_tables(dataset: ScenesConfig) -> dict[str, DetectionTable]:
    if dataset.train is None:
        raise ConfigError("dataset.train is not set; a source of pictures with boxes is needed")
    given = {"val": dataset.val, "test": dataset.test}
    sources = own_splits(dataset.train) | {name: source for name, source in given.items() if source}
    train = _read(dataset, sources["train"], dataset.categories)
    if dataset.categories is None:
        train = replace(train, categories=train.used_categories())
    elif unseen := [name for name in dataset.categories if name not in train.used_categories()]:
        logger.warning("%s: no box is of the categories %s", train.source, ", ".join(unseen))
    others = {name: source for name, source in sources.items() if name != "train"}
    return {"train": train} | {
        name: _read(dataset, source, list(train.categories)) for name, source in others.items()
    }


def _read(dataset: ScenesConfig, source: str, categories: list[str] | None) -> DetectionTable:
    return read_detection(source, dataset.box_spec, dataset.image_root, dataset.bad_boxes, categories)
