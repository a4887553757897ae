"""The pictures a run can find: embeddings, names, captions and thumbnails, beside the model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edge_glass.core.errors import CheckpointError
from edge_glass.core.files import atomic_folder
from edge_glass.data.pictures import BadPicture, decode_image, make_thumbnail
from edge_glass.data.samples import SampleTable

MOST_THUMBNAILS = 20_000
EMBEDDINGS = "embeddings.npy"
PICTURES = "pictures.parquet"


@dataclass(frozen=True)
class PictureIndex:
    """Pictures that can be found.

    Attributes:
        embeddings: float32 `[N, D]`, projected, not normalised (so that any Matryoshka dimension can be cut).
        ids: Names.
        captions: First captions; empty where there is none.
        splits: The split each picture is from.
        thumbnails: PNG bytes, or None in indexes of more than `MOST_THUMBNAILS` pictures.
    """

    embeddings: np.ndarray
    ids: list[str]
    captions: list[str]
    splits: list[str]
    thumbnails: list[bytes | None]


def write_index(folder: Path, splits: Mapping[str, tuple[SampleTable, Any]]) -> Path:
    """Write the index of a run.

    Args:
        folder: Replaced as a whole.
        splits: Split → its table and its embedded pictures (`vectors` `[I, D]` and `rows`).
    """
    keep = sum(len(embedded.rows) for _, embedded in splits.values()) <= MOST_THUMBNAILS
    ids: list[str] = []
    captions: list[str] = []
    names: list[str] = []
    thumbnails: list[bytes | None] = []
    for split, (table, embedded) in splits.items():
        for row in embedded.rows:
            ids.append(table.ids[row])
            captions.append(next(iter(table.captions[row]), ""))
            names.append(split)
            thumbnails.append(thumbnail(table.picture(row)) if keep else None)
    embeddings = np.concatenate([embedded.vectors for _, embedded in splits.values()])
    return save_index(folder, PictureIndex(embeddings, ids, captions, names, thumbnails))


def save_index(folder: Path, index: PictureIndex) -> Path:
    """Write an index; the folder appears whole or not at all.

    Raises:
        CheckpointError: It cannot be written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {"id": index.ids, "caption": index.captions, "split": index.splits}
    table = pa.table(columns).append_column("thumbnail", pa.array(index.thumbnails, pa.binary()))
    try:
        with atomic_folder(folder) as temporary:
            pq.write_table(table, temporary / PICTURES)
            np.save(temporary / EMBEDDINGS, index.embeddings.astype(np.float32))
    except OSError as error:
        raise CheckpointError(
            f"{folder}: the index of pictures could not be written ({error}). "
            "Free some space and use --resume."
        ) from error
    return folder


def load_index(folder: Path) -> PictureIndex:
    """Read an index.

    Raises:
        CheckpointError: It is missing or broken.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(folder / PICTURES).to_pydict()
        embeddings = np.load(folder / EMBEDDINGS, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise CheckpointError(
            f"{folder}: no readable index of pictures ({error}). Was the run finished?"
        ) from error
    return PictureIndex(embeddings, table["id"], table["caption"], table["split"], table["thumbnail"])


def thumbnail(picture: bytes) -> bytes | None:
    """Return a small PNG of an encoded picture; None when it cannot be decoded."""
    try:
        return make_thumbnail(decode_image(picture))
    except BadPicture:
        return None
