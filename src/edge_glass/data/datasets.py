"""Data sets of pictures and captions: decoded in the worker, one row at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from edge_glass.data.captions import CaptionChooser
from edge_glass.data.folder import read_folder
from edge_glass.data.pairs import PairTable, check_rejected, drop_captions_of, group_numbers
from edge_glass.data.parquet import read_parquet
from edge_glass.data.splits import separate_pictures, split_by_group
from edge_glass.data.transforms import augment, sample_generator
from edge_glass.errors import DataError

Preprocess = Callable[[Image.Image], Tensor]

MAX_BAD_FRACTION = 0.01
"""Share of rows that may be unusable, where a caller does not say."""


class PairDataset(Dataset):
    """Pairs of a picture and a caption.

    Items are dicts: `id`, `pixels` float32 `[3, H, W]`, `text`, `image_group` and `text_group` (equal numbers
    mean the same picture, the same caption).

    Args:
        table: The rows.
        preprocess: Upright RGB(A) picture → pixels; the encoder's own.
        training: Draw captions and augment; keys are then `(epoch, index)`.
        seed: Everything random is a function of (seed, epoch, row).
        text_dropout_prob: See `CaptionChooser`.
        augmentation: `none`, `flip` or `crop_flip`.
    """

    def __init__(
        self,
        table: PairTable,
        preprocess: Preprocess,
        *,
        training: bool = False,
        seed: int = 0,
        text_dropout_prob: float = 0.0,
        augmentation: str = "none",
    ) -> None:
        self.table = table
        self.preprocess = preprocess
        self.captions = CaptionChooser(table, training, seed, text_dropout_prob)
        self.image_groups = group_numbers(table.picture_hashes)
        self.training, self.seed, self.augmentation = training, seed, augmentation

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, key: int | tuple[int, int]) -> dict[str, Any]:
        epoch, index = key if isinstance(key, tuple) else (0, key)
        identifier, image = self.table.ids[index], self.table.image(index)
        if self.training and self.augmentation != "none":
            image = augment(
                image, self.augmentation, sample_generator(self.seed, epoch, f"{index} {identifier}")
            )
        number = int(self.captions.numbers(epoch)[index])
        return {
            "id": identifier,
            "pixels": self.preprocess(image),
            "text": self.captions.texts[number],
            "image_group": int(self.image_groups[index]),
            "text_group": number,
        }


class ImageTextDataset(PairDataset):
    """Pairs from a folder of pictures and a JSON, JSONL or CSV file; see `read_folder` and `PairDataset`."""

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
        super().__init__(table, preprocess, **options)


class PixmoParquetImageTextDataset(PairDataset):
    """Pairs from a parquet file with picture bytes; see `read_parquet` and `PairDataset`."""

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
        super().__init__(table, preprocess, **options)


def build_image_datasets_from_parquet(
    train: str | Path,
    preprocess: Preprocess,
    val: str | Path | None = None,
    test: str | Path | None = None,
    *,
    val_fraction: float = 0.1,
    test_fraction: float = 0.1,
    shared_pictures: str = "error",
    columns: dict[str, str] | None = None,
    max_bad_fraction: float = MAX_BAD_FRACTION,
    **options: Any,
) -> tuple[PairDataset, PairDataset, PairDataset]:
    """Train, validation and test sets.

    Splits that have no file are taken from the training file by group (`split_by_group`).

    Args:
        train: Parquet file to train on.
        preprocess: See `PairDataset`.
        val: Parquet file for validation.
        test: Parquet file for the final numbers.
        val_fraction: Share split off when there is no validation file.
        test_fraction: Share split off when there is no test file.
        shared_pictures: See `separate_pictures`.
        columns: Column arguments of `read_parquet`.
        max_bad_fraction: See `check_rejected`.
        **options: Of `PairDataset`, for the training set: the others are not random.

    Raises:
        DataError: A file is wrong, a split is empty, or two splits share a picture.
    """
    files = {"train": train, "val": val, "test": test}
    tables = {name: read_parquet(file, **(columns or {})) for name, file in files.items() if file is not None}
    for table in tables.values():
        check_rejected(table, max_bad_fraction)
    splits = complete_splits(tables, val_fraction, test_fraction, shared_pictures)
    return (
        PairDataset(splits["train"], preprocess, training=True, **options),
        PairDataset(splits["val"], preprocess),
        PairDataset(splits["test"], preprocess),
    )


def complete_splits(
    tables: dict[str, PairTable], val_fraction: float, test_fraction: float, shared_pictures: str
) -> dict[str, PairTable]:
    """Train, val and test from those that are given, with no picture on two sides.

    What val and test measure is removed from the further captions of train.

    Raises:
        DataError: A split has fewer than 2 rows, or two splits share a picture and the policy is `error`.
    """
    wanted = {"test": test_fraction, "val": val_fraction}
    missing = {name: fraction for name, fraction in wanted.items() if name not in tables}
    splits = dict(tables)
    if missing:
        splits |= split_by_group(splits["train"], missing)
    splits = separate_pictures(splits, shared_pictures)
    for name in ("train", "val", "test"):
        if len(splits[name]) < 2:
            raise DataError(
                f"{splits['train'].source}: the {name} split has {len(splits[name])} usable rows; "
                "at least 2 are needed.\n"
                "Give more rows, or name separate files with dataset.val_parquet and dataset.test_parquet."
            )
    measured = {captions[0] for name in ("val", "test") for captions in splits[name].captions}
    return splits | {"train": drop_captions_of(splits["train"], measured)}


def collate_pairs(
    items: Sequence[dict[str, Any]], tokenize: Callable[[list[str]], dict[str, Tensor]]
) -> dict[str, Any]:
    """Items of `PairDataset` → batch of pixels `[B, 3, H, W]`, tokenised text `[B, L]` and groups `[B]`."""
    return {
        "ids": [item["id"] for item in items],
        "image": {"pixels": torch.stack([item["pixels"] for item in items])},
        "text": tokenize([item["text"] for item in items]),
        "image_group": torch.tensor([item["image_group"] for item in items]),
        "text_group": torch.tensor([item["text_group"] for item in items]),
    }
