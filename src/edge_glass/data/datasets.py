"""Data sets of pictures, sounds and captions: decoded in the worker, one row at a time."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from edge_glass.core.errors import DataError
from edge_glass.data.captions import ABSENT, Chooser
from edge_glass.data.common_voice import read_common_voice
from edge_glass.data.folder import read_folder
from edge_glass.data.parquet import read_parquet
from edge_glass.data.samples import MODALITIES, SampleTable, check_rejected, drop_captions_of, group_numbers
from edge_glass.data.splits import separate_pictures, split_by_group
from edge_glass.data.transforms import augment, sample_generator, spec_augment
from edge_glass.migrating import takes_old_calls

logger = logging.getLogger(__name__)

Preprocess = Callable[[Any], Tensor]

MAX_BAD_FRACTION = 0.01
"""Share of rows that may be unusable, where a caller does not say."""

INPUT_NAMES = {"vision": "pixels", "audio": "mel", "text": "text"}
"""What an item calls its modalities."""


class TriModalDataset(Dataset):
    """Rows of pictures, sounds and captions; a row may lack any of them.

    Items are dicts: `id`; those of `pixels` float32 `[3, H, W]`, `mel` float32 `[M, T]` and `text` that the
    row has; and `groups`, modality → number (equal numbers mean the same picture, words or sound).

    Args:
        table: The rows.
        preprocess: Modality → what turns its decoded item into a tensor: the encoder's own `preprocess` for
            `vision` (upright RGB(A) picture → pixels) and `audio` (samples and rate → log-mel). Modalities
            other than text that are not named here are left out.
        training: Draw captions and takes, and augment; keys are then `(epoch, index)`.
        seed: Everything random is a function of (seed, epoch, row).
        text_dropout_prob: See `Chooser`.
        augmentation: For pictures: `none`, `flip` or `crop_flip`.
        audio_augmentation: For sounds: `none` or `spec_augment`.
    """

    def __init__(
        self,
        table: SampleTable,
        preprocess: Mapping[str, Preprocess],
        *,
        training: bool = False,
        seed: int = 0,
        text_dropout_prob: float = 0.0,
        augmentation: str = "none",
        audio_augmentation: str = "none",
    ) -> None:
        self.table = table
        self.preprocess = dict(preprocess)
        self.modalities = [name for name in MODALITIES if name in preprocess or name == "text"]
        self.choosers = choosers(table, self.modalities, training, seed, text_dropout_prob)
        self.groups = ContentGroups(table, self.choosers)
        self.training, self.seed = training, seed
        self.augmentation, self.audio_augmentation = augmentation, audio_augmentation

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, key: int | tuple[int, int]) -> dict[str, Any]:
        epoch, index = key if isinstance(key, tuple) else (0, key)
        item: dict[str, Any] = {"id": self.table.ids[index], "groups": {}}
        for name, chooser in self.choosers.items():
            number = int(chooser.numbers(epoch)[index])
            if number != ABSENT:
                item[INPUT_NAMES[name]] = self._input(name, epoch, index, number)
                item["groups"][name] = int(self.groups.of(name, epoch, np.array([index]))[0])
        return item

    def _input(self, name: str, epoch: int, index: int, number: int) -> Any:
        chooser = self.choosers[name]
        if name == "text":
            return chooser.items[number]
        loaded = self.table.item(name, index, int(chooser.takes(epoch)[index]))
        generator = sample_generator(self.seed, epoch, f"{index} {self.table.ids[index]}")
        if name == "vision" and self.training and self.augmentation != "none":
            loaded = augment(loaded, self.augmentation, generator)  # type: ignore[arg-type]
        tensor = self.preprocess[name](loaded)
        if name == "audio" and self.training and self.audio_augmentation == "spec_augment":
            tensor = spec_augment(tensor, generator)
        return tensor


def choosers(
    table: SampleTable, modalities: Sequence[str], training: bool, seed: int, text_dropout_prob: float
) -> dict[str, Chooser]:
    """Choose what each row shows of each modality."""
    return {
        name: Chooser(table.keys(name), name, training, seed, text_dropout_prob if name == "text" else 0.0)
        for name in modalities
    }


class ContentGroups:
    """Numbers by which rows are recognised as the same: they are never each other's negatives.

    Pictures are the same when they look the same, captions when they are the same text, and sounds when they
    are spoken for the same caption (or are the same sound, where there is no caption).
    """

    def __init__(self, table: SampleTable, chosen: Mapping[str, Chooser]) -> None:
        spoken = [
            captions[0].casefold() if captions else " ".join(sounds)
            for captions, sounds in zip(table.captions, table.keys("audio"), strict=True)
        ]
        self.chosen = chosen
        self.fixed = {
            "vision": group_numbers([str(digest) for digest in table.picture_hashes]),
            "audio": group_numbers(spoken),
        }

    def of(self, modality: str, epoch: int, rows: np.ndarray) -> np.ndarray:
        """Group of each of these rows, int64."""
        numbers = self.chosen["text"].numbers(epoch) if modality == "text" else self.fixed[modality]
        return numbers[rows]


_LENGTH = {"max_text_length": "TextEncoder.load(source, max_length=…)"}


class AudioTextDataset(TriModalDataset):
    """Pairs of a sound and a caption from a parquet file or a Common Voice folder; see `TriModalDataset`.

    Args:
        source: Parquet file (`read_parquet`), or folder with `validated.tsv` and `clips/`
            (`read_common_voice`).
        preprocess: The audio encoder's own.
        audio_column: Column of sounds in a parquet file.
        text_column: Column of captions in a parquet file.
        max_bad_fraction: See `check_rejected`.
        **options: Of `TriModalDataset`.
    """

    def __init__(
        self,
        source: str | Path,
        preprocess: Preprocess,
        audio_column: str = "audio",
        text_column: str = "caption",
        max_bad_fraction: float = MAX_BAD_FRACTION,
        **options: Any,
    ) -> None:
        if Path(source).is_dir():
            table = read_common_voice(source)
        else:
            table = read_parquet(source, None, text_column, audio_column=audio_column)
        check_rejected(table, max_bad_fraction)
        super().__init__(table, {"audio": preprocess}, **options)


class ImageTextDataset(TriModalDataset):
    """Pairs from a folder of pictures and a JSON, JSONL or CSV file; see `read_folder`."""

    @takes_old_calls(
        "ImageTextDataset(folder, metadata_file, preprocess)",
        elsewhere=_LENGTH,
        fill=lambda options: {"folder": Path(options["metadata_file"]).parent},
        metadata_path="metadata_file",
        transforms="preprocess",
    )
    def __init__(
        self,
        folder: str | Path,
        metadata_file: str | Path,
        preprocess: Preprocess,
        text_column: str = "caption",
        max_bad_fraction: float = MAX_BAD_FRACTION,
        **options: Any,
    ) -> None:
        table = read_folder(folder, metadata_file, text_column)
        check_rejected(table, max_bad_fraction)
        super().__init__(table, {"vision": preprocess}, **options)


class PixmoParquetImageTextDataset(TriModalDataset):
    """Pairs from a parquet file with picture bytes; see `read_parquet` and `TriModalDataset`."""

    @takes_old_calls(
        "PixmoParquetImageTextDataset(parquet, preprocess)",
        elsewhere=_LENGTH,
        fill=lambda options: {"training": options.get("text_dropout_prob", 0.0) > 0.0},
        parquet_path="parquet",
        image_transforms="preprocess",
    )
    def __init__(
        self,
        parquet: str | Path,
        preprocess: Preprocess,
        image_column: str = "image_bytes",
        text_column: str = "caption",
        extra_captions_column: str | None = None,
        max_bad_fraction: float = MAX_BAD_FRACTION,
        **options: Any,
    ) -> None:
        table = read_parquet(parquet, image_column, text_column, extra_captions_column)
        check_rejected(table, max_bad_fraction)
        super().__init__(table, {"vision": preprocess}, **options)


class ImageDatasets(NamedTuple):
    """Three data sets; `["train"]` works too."""

    train: TriModalDataset
    val: TriModalDataset
    test: TriModalDataset

    def __getitem__(self, key: Any) -> Any:
        return getattr(self, key) if isinstance(key, str) else tuple.__getitem__(self, key)


@takes_old_calls(
    "build_image_datasets_from_parquet(train, preprocess, val, test)",
    elsewhere={**_LENGTH, "cfg": "edge_glass.train(config)"},
    train_parquet_path="train",
    val_parquet_path="val",
    test_parquet_path="test",
    train_transforms="preprocess",
    val_transforms="measured_preprocess",
)
def build_image_datasets_from_parquet(
    train: str | Path,
    preprocess: Preprocess,
    val: str | Path | None = None,
    test: str | Path | None = None,
    *,
    measured_preprocess: Preprocess | None = None,
    val_fraction: float = 0.1,
    test_fraction: float = 0.1,
    shared_pictures: str = "error",
    columns: Mapping[str, Any] | None = None,
    max_bad_fraction: float = MAX_BAD_FRACTION,
    **options: Any,
) -> ImageDatasets:
    """Make the training, validation and test sets.

    Splits that have no file are taken from the training file by group (`split_by_group`).

    Args:
        train: Parquet file to train on.
        preprocess: See `TriModalDataset`.
        val: Parquet file for validation.
        test: Parquet file for the final numbers.
        measured_preprocess: The same for validation and test, where it differs.
        val_fraction: Share split off when there is no validation file.
        test_fraction: Share split off when there is no test file.
        shared_pictures: See `separate_pictures`.
        columns: Column arguments of `read_parquet`.
        max_bad_fraction: See `check_rejected`.
        **options: Of `TriModalDataset`, for the training set: the others are not random.

    Raises:
        DataError: A file is wrong, a split is empty, or two splits share a picture.
    """
    files = {"train": train, "val": val, "test": test}
    tables = {name: read_parquet(file, **(columns or {})) for name, file in files.items() if file is not None}
    for table in tables.values():
        check_rejected(table, max_bad_fraction)
    splits = complete_splits(tables, val_fraction, test_fraction, shared_pictures)
    measured = {"vision": measured_preprocess or preprocess}
    return ImageDatasets(
        TriModalDataset(splits["train"], {"vision": preprocess}, training=True, **options),
        TriModalDataset(splits["val"], measured),
        TriModalDataset(splits["test"], measured),
    )


def complete_splits(
    tables: Mapping[str, Any],
    val_fraction: float,
    test_fraction: float,
    shared_pictures: str,
    split: Callable[[Any, Mapping[str, float]], Mapping[str, Any]] = split_by_group,
) -> dict[str, Any]:
    """Return train, val and test from those that are given, with no picture or sound on two sides.

    What val and test measure is removed from the further captions of train.

    Args:
        tables: Of `train`, and those of `val` and `test` that there are.
        val_fraction: Share of train that becomes a missing val.
        test_fraction: Share of train that becomes a missing test.
        shared_pictures: See `separate_pictures`.
        split: Takes shares of a table.

    Raises:
        DataError: A split has fewer than 2 rows, or two splits share a picture and the policy is `error`.
    """
    wanted = {"test": test_fraction, "val": val_fraction}
    missing = {name: fraction for name, fraction in wanted.items() if name not in tables}
    splits = dict(tables)
    _say_what_half_of_the_rows_share(splits["train"])
    if missing:
        splits |= split(splits["train"], missing)
        _say_shares(splits, missing)
    splits = separate_pictures(splits, shared_pictures)
    check_enough(splits)
    measured = {captions[0] for name in ("val", "test") for captions in splits[name].captions if captions}
    return splits | {"train": drop_captions_of(splits["train"], measured)}


def _say_what_half_of_the_rows_share(table: SampleTable) -> None:
    """Name a caption that half of the rows or more have: it teaches nothing, and ties them together."""
    counts = Counter(captions[0] for captions in table.captions if captions)
    caption, count = counts.most_common(1)[0] if counts else ("", 0)
    if len(counts) > 1 and 2 * count >= len(table):
        logger.warning(
            "%s: %d of %d rows have the caption %r; leave them out, or caption them",
            table.source,
            count,
            len(table),
            caption[:60],
        )


def _say_shares(splits: Mapping[str, SampleTable], wanted: Mapping[str, float]) -> None:
    """Name the splits that are far from the share that was asked for."""
    rows = sum(len(splits[name]) for name in ("train", *wanted))
    for name, fraction in wanted.items():
        if abs(len(splits[name]) - fraction * rows) > max(2.0, 0.5 * fraction * rows):
            logger.warning(
                "%s: the %s split has %d of %d rows, expected about %.0f: rows that share a picture, a "
                "caption or a group stay together",
                splits[name].source,
                name,
                len(splits[name]),
                rows,
                fraction * rows,
            )


def check_enough(splits: Mapping[str, SampleTable]) -> None:
    """Check that every split has rows.

    Raises:
        DataError: One has fewer than 2.
    """
    for name in ("train", "val", "test"):
        if len(splits[name]) < 2:
            raise DataError(
                f"{splits['train'].source}: the {name} split has {len(splits[name])} usable rows; "
                "at least 2 are needed.\n"
                f"Give more rows, or name a file for {name}, such as dataset.{name}_parquet."
            )


Collate = Callable[[list[Any]], dict[str, Tensor]]


def collate_samples(items: Sequence[Mapping[str, Any]], collate: Mapping[str, Collate]) -> dict[str, Any]:
    """Make a batch of items of `TriModalDataset`.

    Args:
        items: Rows, perhaps none.
        collate: Modality → what makes a batch of its inputs (perhaps none), such as a tokeniser.

    Returns:
        `ids`; modality → what its `collate` gives for the rows that have it; and `rows` and `groups`:
        modality → int64, which rows of the batch these are, and their groups.
    """
    batch: dict[str, Any] = {"ids": [item["id"] for item in items], "rows": {}, "groups": {}}
    for name, make in collate.items():
        present = [row for row, item in enumerate(items) if INPUT_NAMES[name] in item]
        batch[name] = make([items[row][INPUT_NAMES[name]] for row in present])
        batch["rows"][name] = torch.tensor(present, dtype=torch.int64)
        batch["groups"][name] = torch.tensor(
            [items[row]["groups"][name] for row in present], dtype=torch.int64
        )
    return batch
