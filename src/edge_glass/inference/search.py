"""Use a finished model: encode pictures and words, search one by the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from edge_glass.data.pictures import BadPicture, decode_image
from edge_glass.encoders.mrl import truncate_and_normalize
from edge_glass.errors import CheckpointError, DataError
from edge_glass.evaluation.archive import make_thumbnail
from edge_glass.inference.index import PictureIndex, load_index, thumbnail
from edge_glass.models.artefact import DESCRIPTION, load_model

Picture = Image.Image | str | Path | bytes

PICTURE_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff"}


@dataclass(frozen=True)
class Hit:
    """A picture found. `score` is the cosine similarity to the query."""

    rank: int
    score: float
    identifier: str
    caption: str
    split: str
    thumbnail: bytes | None


class AlignmentModel:
    """A finished alignment run (or its `model/` folder), ready to use.

    Example:
        >>> model = edge_glass.load("runs/quickstart")
        >>> model.search("a sad animal", k=5)
        >>> model.encode_text(["a dog"], dim=256).shape
        (1, 256)
    """

    def __init__(self, folder: str | Path) -> None:
        folder = Path(folder)
        if not folder.is_dir():
            raise CheckpointError(f"{folder}: no such run or model folder.")
        self.run = folder.parent if (folder / DESCRIPTION).is_file() else folder
        self.model = load_model(folder if (folder / DESCRIPTION).is_file() else folder / "model")

    @property
    def dimensions(self) -> list[int]:
        """Matryoshka dimensions, descending, the full one first."""
        return self.model.dimensions

    @cached_property
    def index(self) -> PictureIndex:
        """The pictures of the run."""
        return load_index(self.run / "index")

    def encode_images(self, images: Sequence[Picture], dim: int | None = None) -> np.ndarray:
        """Pictures (PIL, paths or encoded bytes) → float32 `[N, dim]` of norm 1.

        Raises:
            DataError: A picture cannot be read.
        """
        return _normalized(self.project_images(images), dim)

    def encode_text(self, texts: Sequence[str], dim: int | None = None) -> np.ndarray:
        """Texts → float32 `[N, dim]` of norm 1."""
        tower = self.model.text_tower
        with torch.no_grad():
            features = tower.features(tower.encoder.tokenize(list(texts)))
            return _normalized(tower.embed(features).numpy(), dim)

    def project_images(self, images: Sequence[Picture]) -> np.ndarray:
        """Pictures → float32 `[N, D]`, projected but not normalised."""
        tower = self.model.vision_tower
        pixels = torch.stack([tower.encoder.preprocess(open_picture(image)) for image in images])
        with torch.no_grad():
            return tower.embed(tower.features({"pixels": pixels})).numpy()

    def search(
        self,
        query: str | Picture,
        k: int = 10,
        dim: int | None = None,
        index: PictureIndex | None = None,
    ) -> list[Hit]:
        """The `k` pictures nearest to words (a `str`) or to a picture (PIL, `Path` or bytes).

        Args:
            query: What to look for.
            k: How many pictures.
            dim: Matryoshka dimension to search with; the full one by default.
            index: Where to look; the run's own pictures by default (see `index_pictures`).
        """
        index = index or self.index
        if isinstance(query, str):
            vector = self.encode_text([query], dim)[0]
        else:
            vector = self.encode_images([query], dim)[0]
        scores = _normalized(index.embeddings, dim) @ vector
        best = np.argsort(-scores, kind="stable")[:k]
        return [
            Hit(
                rank,
                float(scores[i]),
                index.ids[i],
                index.captions[i],
                index.splits[i],
                index.thumbnails[i],
            )
            for rank, i in enumerate(best, start=1)
        ]

    def thumbnail(self, picture: Picture) -> bytes:
        """A small PNG of a picture, as shown in pages."""
        return make_thumbnail(open_picture(picture))

    def index_pictures(self, folder: str | Path, batch: int = 64) -> PictureIndex:
        """An index over the pictures in a folder, sub-folders included; unreadable ones are left out.

        Raises:
            DataError: The folder has no readable picture.
        """
        folder = Path(folder)
        files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in PICTURE_SUFFIXES)
        readable: list[tuple[Path, bytes]] = []
        parts = []
        for start in range(0, len(files), batch):
            images = []
            for file in files[start : start + batch]:
                data = file.read_bytes()
                try:
                    images.append(decode_image(data))
                except BadPicture:
                    continue
                readable.append((file, data))
            if images:
                parts.append(self.project_images(images))
        if not parts:
            raise DataError(f"{folder}: no readable picture ({', '.join(sorted(PICTURE_SUFFIXES))}) in it.")
        names = [str(file.relative_to(folder)) for file, _ in readable]
        small = [thumbnail(data) for _, data in readable]
        blank = [""] * len(names)
        return PictureIndex(np.concatenate(parts), names, blank, blank, small)


def open_picture(picture: Picture) -> Image.Image:
    """A picture as upright RGB(A).

    Raises:
        DataError: It is missing or cannot be decoded.
    """
    if isinstance(picture, Image.Image):
        return picture
    name = "the picture" if isinstance(picture, bytes) else str(picture)
    try:
        return decode_image(picture if isinstance(picture, bytes) else Path(picture).read_bytes())
    except FileNotFoundError as error:
        raise DataError(f"{name}: no such file.") from error
    except BadPicture as error:
        raise DataError(f"{name}: {error.reason}.") from error
    except OSError as error:
        raise DataError(f"{name}: cannot be read ({error.strerror}).") from error


def _normalized(embeddings: np.ndarray, dim: int | None) -> np.ndarray:
    return truncate_and_normalize(torch.from_numpy(np.array(embeddings)), dim).numpy()
