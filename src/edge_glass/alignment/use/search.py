"""Use a finished model: encode pictures, words and sounds; search pictures by any of them, or several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from edge_glass.alignment.model.folder import load_model
from edge_glass.alignment.use.index import PictureIndex, load_index, thumbnail
from edge_glass.core.errors import ConfigError, DataError
from edge_glass.data.inputs import (
    PICTURE_SUFFIXES,
    Picture,
    SoundSource,
    open_picture,
    open_sound,
)
from edge_glass.data.pictures import BadPicture, decode_image, make_thumbnail
from edge_glass.encoders.mrl import truncate_and_normalize
from edge_glass.tasks.finding import require_task


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

    Raises:
        CheckpointError: The folder is no finished run, or a part of it is missing or broken.
        ConfigError: It is a run of another task.

    Example:
        >>> model = edge_glass.load("runs/quickstart")
        >>> model.search("a sad animal", k=5)
        >>> model.encode_text(["a dog"], dim=256).shape
        (1, 256)
    """

    def __init__(self, folder: str | Path) -> None:
        found = require_task(folder, "alignment")
        self.run = found.run
        self.model = load_model(found.model)

    @property
    def dimensions(self) -> list[int]:
        """Matryoshka dimensions, descending, the full one first."""
        return self.model.dimensions

    @cached_property
    def index(self) -> PictureIndex:
        """The pictures of the run."""
        return load_index(self.run / "index")

    def encode_images(self, images: Sequence[Picture], dim: int | None = None) -> np.ndarray:
        """Map pictures (PIL, paths or encoded bytes) → float32 `[N, dim]` of norm 1.

        Raises:
            DataError: A picture cannot be read.
        """
        return _normalized(self.project_images(images), dim)

    def encode_text(self, texts: Sequence[str], dim: int | None = None) -> np.ndarray:
        """Map texts → float32 `[N, dim]` of norm 1."""
        return _normalized(self._project("text", list(texts)), dim)

    def encode_audio(self, sounds: Sequence[SoundSource], dim: int | None = None) -> np.ndarray:
        """Map sounds (files, bytes, or samples and rate) → float32 `[N, dim]` of norm 1.

        Raises:
            DataError: A sound cannot be read.
            ConfigError: The model was trained without sounds.
        """
        return _normalized(self._project("audio", [open_sound(sound) for sound in sounds]), dim)

    def project_images(self, images: Sequence[Picture]) -> np.ndarray:
        """Map pictures → float32 `[N, D]`, projected but not normalised."""
        return self._project("vision", [open_picture(image) for image in images])

    def search(
        self,
        query: str | Picture | None = None,
        k: int = 10,
        dim: int | None = None,
        index: PictureIndex | None = None,
        *,
        image: Picture | None = None,
        audio: SoundSource | None = None,
    ) -> list[Hit]:
        """Find the `k` pictures nearest to words, a picture or a sound, or to several of them fused into one.

        Args:
            query: Words (a `str`), or a picture (PIL, `Path` or bytes).
            k: How many pictures.
            dim: Matryoshka dimension to search with; the full one by default.
            index: Where to look; the run's own pictures by default (see `index_pictures`).
            image: A picture, beside words or a sound.
            audio: A sound.

        Raises:
            ConfigError: Nothing is asked for, or a sound of a model without sounds.
            DataError: The picture or sound cannot be read.
        """
        index = index or self.index
        if query is not None and not isinstance(query, str):
            query, image = None, query
        vector = _normalized(self._query(query, image, audio)[None], dim)[0]
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

    def _query(self, words: str | None, image: Picture | None, audio: SoundSource | None) -> np.ndarray:
        """Make one query `[D]`, not normalised."""
        asked: dict[str, list[Any]] = {
            "vision": [] if image is None else [open_picture(image)],
            "audio": [] if audio is None else [open_sound(audio)],
            "text": [] if words is None else [words],
        }
        embedded = {name: self._project(name, items) for name, items in asked.items() if items}
        if not embedded:
            raise ConfigError("nothing to search for; give words, a picture or a sound")
        if len(embedded) == 1:
            return next(iter(embedded.values()))[0]
        return self._fused(embedded)[0]

    @torch.no_grad()
    def _fused(self, embedded: Mapping[str, np.ndarray]) -> np.ndarray:
        return self.model.fuse({name: torch.from_numpy(part) for name, part in embedded.items()}).numpy()

    @torch.no_grad()
    def _project(self, modality: str, items: Sequence[Any]) -> np.ndarray:
        """Map decoded items → float32 `[N, D]`, projected but not normalised."""
        if modality not in self.model.modalities:
            raise ConfigError(f"{self.run}: this model was trained without sounds (no audio_encoder)")
        tower = self.model.towers[modality]
        inputs = [tower.encoder.preprocess(item) for item in items] if modality != "text" else items
        if modality == "vision":
            side = tower.encoder.image_size
            raw = {"pixels": torch.stack(list(inputs)) if inputs else torch.zeros(0, 3, side, side)}
        else:
            raw = tower.encoder.tokenize(inputs) if modality == "text" else tower.encoder.collate(inputs)
        return tower.embed(tower.features(raw)).numpy()

    def thumbnail(self, picture: Picture) -> bytes:
        """Return a small PNG of a picture, as shown in pages."""
        return make_thumbnail(open_picture(picture))

    def index_pictures(self, folder: str | Path, batch: int = 64) -> PictureIndex:
        """Index the pictures in a folder, sub-folders included; unreadable ones are left out.

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


def _normalized(embeddings: np.ndarray, dim: int | None) -> np.ndarray:
    return truncate_and_normalize(torch.from_numpy(np.array(embeddings)), dim).numpy()
