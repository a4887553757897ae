"""What an evaluation leaves behind, so that plots and pages can be made later without the model.

    evaluation/SPLIT.npz              arrays, see `EvaluationArchive`
    evaluation/SPLIT.images.parquet   row i: id (string), thumbnail (PNG or JPEG bytes, may be null)
    evaluation/SPLIT.texts.parquet    row j: caption (string)
    evaluation/SPLIT.sounds.parquet   row k: id (string), in runs with sounds

Row i of the images belongs to `image_embeddings[i]`, row j of the texts to `text_embeddings[j]`, row k of the
sounds to `audio_embeddings[k]`.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edge_glass.core.errors import DataError
from edge_glass.core.files import atomic_file

if TYPE_CHECKING:
    pass


@dataclass(frozen=True)
class EvaluationArchive:
    """One evaluated split.

    Attributes:
        image_embeddings: float32 `[I, D]` of the trained model, projected but not normalised.
        text_embeddings: float32 `[T, D]`, likewise.
        image_groups: int64 `[I]`; a picture and a caption belong together when their groups are equal.
        text_groups: int64 `[T]`.
        image_ids: `I` names of pictures.
        captions: `T` captions.
        thumbnails: `I` small pictures as PNG or JPEG bytes, or None.
        baseline_image_ranks: int64 `[I]`, picture → caption ranks of the untouched model, if kept.
        baseline_text_ranks: int64 `[T]`, caption → picture ranks of the untouched model, if kept; 0
            stands for an item without a counterpart.
        audio_embeddings: float32 `[A, D]`, in runs with sounds.
        audio_groups: int64 `[A]`.
        audio_ids: `A` names of sounds' rows.
    """

    image_embeddings: np.ndarray
    text_embeddings: np.ndarray
    image_groups: np.ndarray
    text_groups: np.ndarray
    image_ids: list[str]
    captions: list[str]
    thumbnails: list[bytes | None]
    baseline_image_ranks: np.ndarray | None = None
    baseline_text_ranks: np.ndarray | None = None
    audio_embeddings: np.ndarray | None = None
    audio_groups: np.ndarray | None = None
    audio_ids: list[str] | None = None


def save_archive(run_folder: Path, split: str, archive: EvaluationArchive) -> Path:
    """Write the three files under `evaluation/` of a run folder; the arrays come last.

    Raises:
        DataError: The parts do not have the same number of rows.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    _check(archive, split)
    folder = Path(run_folder) / "evaluation"
    folder.mkdir(parents=True, exist_ok=True)
    images = pa.table(
        {
            "id": pa.array(archive.image_ids, pa.string()),
            "thumbnail": pa.array(archive.thumbnails, pa.binary()),
        }
    )
    pq.write_table(images, folder / f"{split}.images.parquet")
    pq.write_table(
        pa.table({"caption": pa.array(archive.captions, pa.string())}), folder / f"{split}.texts.parquet"
    )
    arrays: dict[str, np.ndarray] = {
        "image_embeddings": np.asarray(archive.image_embeddings, dtype=np.float32),
        "text_embeddings": np.asarray(archive.text_embeddings, dtype=np.float32),
        "image_groups": np.asarray(archive.image_groups, dtype=np.int64),
        "text_groups": np.asarray(archive.text_groups, dtype=np.int64),
    }
    if archive.audio_embeddings is not None and archive.audio_groups is not None:
        sounds = pa.table({"id": pa.array(archive.audio_ids, pa.string())})
        pq.write_table(sounds, folder / f"{split}.sounds.parquet")
        arrays["audio_embeddings"] = np.asarray(archive.audio_embeddings, dtype=np.float32)
        arrays["audio_groups"] = np.asarray(archive.audio_groups, dtype=np.int64)
    for name in ("baseline_image_ranks", "baseline_text_ranks"):
        if (ranks := getattr(archive, name)) is not None:
            arrays[name] = np.asarray(ranks, dtype=np.int64)
    path = folder / f"{split}.npz"
    with atomic_file(path) as temporary, temporary.open("wb") as stream:
        np.savez(stream, **arrays)  # type: ignore[arg-type]
    return path


def load_archive(run_folder: Path, split: str) -> EvaluationArchive:
    """Read what `save_archive` wrote; nothing is unpickled.

    Raises:
        DataError: A file is missing, broken, or does not fit the others.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder = Path(run_folder) / "evaluation"
    path = folder / f"{split}.npz"
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        images = pq.read_table(folder / f"{split}.images.parquet", columns=["id", "thumbnail"])
        texts = pq.read_table(folder / f"{split}.texts.parquet", columns=["caption"])
        sound_ids = None
        if "audio_embeddings" in arrays:
            table = pq.read_table(folder / f"{split}.sounds.parquet", columns=["id"])
            sound_ids = [str(name) for name in table["id"].to_pylist()]
        archive = EvaluationArchive(
            image_ids=[str(name) for name in images["id"].to_pylist()],
            thumbnails=images["thumbnail"].to_pylist(),
            captions=[str(caption) for caption in texts["caption"].to_pylist()],
            image_embeddings=arrays["image_embeddings"],
            text_embeddings=arrays["text_embeddings"],
            image_groups=arrays["image_groups"],
            text_groups=arrays["text_groups"],
            baseline_image_ranks=arrays.get("baseline_image_ranks"),
            baseline_text_ranks=arrays.get("baseline_text_ranks"),
            audio_embeddings=arrays.get("audio_embeddings"),
            audio_groups=arrays.get("audio_groups"),
            audio_ids=sound_ids,
        )
    except FileNotFoundError as error:
        raise DataError(f"{error.filename or path}: no such file; was the run evaluated?") from None
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile, pa.ArrowException) as error:
        raise DataError(f"{path}: the evaluation files are broken: {error}") from None
    _check(archive, split)
    return archive


def _check(archive: EvaluationArchive, split: str) -> None:
    images, texts = len(archive.image_embeddings), len(archive.text_embeddings)
    lengths = {
        "image_groups": (len(archive.image_groups), images),
        "image_ids": (len(archive.image_ids), images),
        "thumbnails": (len(archive.thumbnails), images),
        "text_groups": (len(archive.text_groups), texts),
        "captions": (len(archive.captions), texts),
    }
    if archive.baseline_image_ranks is not None:
        lengths["baseline_image_ranks"] = (len(archive.baseline_image_ranks), images)
    if archive.baseline_text_ranks is not None:
        lengths["baseline_text_ranks"] = (len(archive.baseline_text_ranks), texts)
    if archive.audio_embeddings is not None:
        sounds = len(archive.audio_embeddings)
        groups, ids = archive.audio_groups, archive.audio_ids
        lengths["audio_groups"] = (0 if groups is None else len(groups), sounds)
        lengths["audio_ids"] = (len(ids or ()), sounds)
    for name, (found, expected) in lengths.items():
        if found != expected:
            raise DataError(f"evaluation of {split}: {name} has {found} rows; its embeddings have {expected}")
