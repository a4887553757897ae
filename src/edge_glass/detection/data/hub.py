"""Parquet files of a data set on the Hugging Face hub, by split."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from edge_glass.core.errors import AssetError, DataError, error_line
from edge_glass.encoders.sources import require_hub

SPLIT_NAMES: Final = {"train": "train", "val": "val", "validation": "val", "valid": "val", "test": "test"}
_HUB_ID: Final = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def is_hub_id(source: str) -> bool:
    """Whether a source looks like `OWNER/NAME`; what exists as a path here is none."""
    return bool(_HUB_ID.fullmatch(source)) and not Path(source).exists()


def hub_files(source: str) -> dict[str, list[Path]]:
    """Parquet files of a data set, in order, by split: train, val and test, those that it has.

    They are downloaded on first use, all splits at once, and kept in the hub's own cache. A file belongs to a
    split by its name (`train-00000-of-00002.parquet`) or its folder's; OpenFoodFacts calls validation `val`,
    others `validation`.

    Args:
        source: `OWNER/NAME`.

    Raises:
        DataError: It cannot be downloaded, or has no parquet files of a split.
    """
    from huggingface_hub import snapshot_download

    try:
        require_hub(source)
        folder = Path(snapshot_download(source, repo_type="dataset", allow_patterns=["*.parquet"]))
    except AssetError as error:
        raise DataError(f"{str(error).splitlines()[0]}\nGive a parquet file instead.") from error
    except Exception as error:  # the hub's own, of its network library, OSError when the disk is full
        raise DataError(
            f"{source}: the data set cannot be fetched from the hub ({error_line(error)}).\n"
            "Give OWNER/NAME of a data set this machine can reach, or a parquet file."
        ) from error
    found: dict[str, list[Path]] = {}
    for file in sorted(folder.rglob("*.parquet")):
        if (split := split_of(file.relative_to(folder))) is not None:
            found.setdefault(split, []).append(file)
    if not found:
        raise DataError(
            f"{source}: the data set has no parquet files named by split, such as train-*.parquet"
        )
    return found


def split_of(file: Path) -> str | None:
    """The split that a file belongs to, by its name or else its folder's; None when neither says."""
    for part in reversed(file.with_suffix("").parts):
        if (word := re.split(r"[-_.]", part.lower())[0]) in SPLIT_NAMES:
            return SPLIT_NAMES[word]
    return None
