"""The alignment task: pictures and words in one space. The only place where its rooms meet."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from edge_glass.assets import cache_root
from edge_glass.config.schema import DatasetConfig, ExperimentConfig
from edge_glass.data.captions import CaptionChooser
from edge_glass.data.datasets import PairDataset, collate_pairs, complete_splits
from edge_glass.data.feature_cache import FeatureCache
from edge_glass.data.folder import read_folder
from edge_glass.data.generated import generated_splits
from edge_glass.data.pairs import PairTable, check_rejected
from edge_glass.data.parquet import read_parquet
from edge_glass.data.splits import connected_groups
from edge_glass.encoders.text import TextEncoder
from edge_glass.encoders.vision import VisionEncoder
from edge_glass.evaluation.metrics import retrieval_values
from edge_glass.evaluation.results import SplitCount
from edge_glass.evaluation.retrieval import RetrievalResult, retrieval_hits
from edge_glass.models.alignment import MultimodalAlignmentModel, Tower, build_alignment_model
from edge_glass.tasks.features import CachedFeatures, FeaturePairs, FeatureSource, LiveFeatures
from edge_glass.training.task import Batch, Report

logger = logging.getLogger(__name__)

EMBED_ROWS = 256
MOST_FITTED_ROWS = 20_000  # more rows hardly move means and principal axes


@dataclass(frozen=True)
class SplitEmbeddings:
    """One split in the shared space, projected but not normalised.

    Attributes:
        images: float32 `[I, D]`, one row per distinct picture.
        texts: float32 `[T, D]`, the first caption of every row.
        image_groups: int64 `[I]`; equal to a caption's group when they belong together.
        text_groups: int64 `[T]`.
        image_rows: Row of the split's table that shows each picture.
    """

    images: np.ndarray
    texts: np.ndarray
    image_groups: np.ndarray
    text_groups: np.ndarray
    image_rows: list[int]


class AlignmentTask:
    """Aligns pictures with captions; see `edge_glass.training.Task`.

    Args:
        config: The experiment.
        progress: Show progress bars.
        model: A finished model to measure; by default a fresh one is built.

    Raises:
        EdgeGlassError: Data, weights or configuration are wrong; nothing has been trained then.
    """

    greater_is_better = True

    def __init__(
        self, config: ExperimentConfig, progress: bool = True, model: MultimodalAlignmentModel | None = None
    ) -> None:
        self.config = config
        self.primary_metric = config.evaluation.primary_metric
        self.splits = load_splits(config)
        self.model = (model or build_alignment_model(config, *load_encoders(config))).to(
            training_device(config)
        )
        self.source = self._feature_source(progress)
        if model is None:
            self._fit_normalizers()
        self._train_dataset = self._build_train_dataset()

    def _feature_source(self, progress: bool) -> FeatureSource:
        vision, text = self.model.vision_tower, self.model.text_tower
        reason = cache_obstacle(self.config)
        if reason is not None:
            logger.info("the feature cache is off: %s", reason)
            return LiveFeatures(vision, text)
        choice = self.config.training.feature_cache
        cached = CachedFeatures(
            vision, text, FeatureCache(cache_root() if choice == "auto" else Path(choice)), progress
        )
        cached.fill(self.splits.values())
        return cached

    def _fit_normalizers(self) -> None:
        towers: tuple[Tower[Any], Tower[Any]] = (self.model.vision_tower, self.model.text_tower)
        if any(tower.normalizer is not None for tower in towers):
            for tower, features in zip(towers, self.pooled_features("train", MOST_FITTED_ROWS), strict=True):
                if tower.normalizer is not None:
                    tower.normalizer.fit(features)

    def _build_train_dataset(self) -> Dataset:
        table, dataset = self.splits["train"], self.config.dataset
        if isinstance(self.source, CachedFeatures):
            captions = CaptionChooser(table, True, self.config.seed, dataset.text_dropout_prob)
            return FeaturePairs(table, captions, self.source)
        return PairDataset(
            table,
            self.model.vision_tower.encoder.preprocess,
            training=True,
            seed=self.config.seed,
            text_dropout_prob=dataset.text_dropout_prob,
            augmentation=dataset.augmentation,
        )

    # What the trainer asks for

    @property
    def train_dataset(self) -> Dataset:
        """Rows to train on."""
        return self._train_dataset

    def collate(self, items: Any) -> Batch:
        """Cached rows arrive as a batch; decoded ones are stacked and tokenised."""
        if isinstance(items, dict):
            return items
        return collate_pairs(items, self.model.text_tower.encoder.tokenize)

    def loss(
        self, model: MultimodalAlignmentModel, batch: Batch, *, step: int, diagnostics: bool
    ) -> tuple[Tensor, Report]:
        """Contrastive and Matryoshka loss of a batch."""
        return model(batch | {"step": step}, with_diagnostics=diagnostics)

    def evaluate(self, model: MultimodalAlignmentModel, split: str) -> dict[str, float]:
        """Loss and its parts, and recall both ways at every dimension."""
        return self.validation_loss(model, split) | retrieval_values(self.retrieval(model, split))

    # Measuring

    def retrieval(self, model: MultimodalAlignmentModel, split: str) -> RetrievalResult:
        """Ranks of every picture's captions and every caption's pictures."""
        return retrieval_of(self.embed(model, split), model.dimensions)

    @torch.no_grad()
    def embed(self, model: MultimodalAlignmentModel, split: str) -> SplitEmbeddings:
        """A split in the shared space."""
        table = self.splits[split]
        groups = np.array(connected_groups(table), dtype=np.int64)
        first = {digest: row for row, digest in reversed(list(enumerate(table.picture_hashes)))}
        rows = sorted(first.values())
        texts = [captions[0] for captions in table.captions]
        was_training = model.training
        model.eval()
        try:
            images = [
                model.vision_tower.embed(self._moved(self.source.images(table, part)))
                for part in _parts(rows)
            ]
            words = [model.text_tower.embed(self._moved(self.source.texts(part))) for part in _parts(texts)]
        finally:
            model.train(was_training)
        return SplitEmbeddings(_stack(images), _stack(words), groups[rows], groups, rows)

    @torch.no_grad()
    def validation_loss(self, model: MultimodalAlignmentModel, split: str) -> dict[str, float]:
        """Mean loss over a split in fixed batches of the training size."""
        table, size = self.splits[split], self.config.dataset.batch_size
        image_groups = connected_groups(table)
        sums: dict[str, float] = {}
        was_training = model.training
        model.eval()
        try:
            for start in range(0, len(table), size):
                rows = range(start, min(start + size, len(table)))
                image = self._moved(self.source.images(table, rows))
                text = self._moved(self.source.texts([table.captions[row][0] for row in rows]))
                group = torch.tensor([image_groups[row] for row in rows], device=image.tokens.device)
                batch = {
                    "image": {"tokens": image.tokens, "mask": image.mask},
                    "text": {"tokens": text.tokens, "mask": text.mask},
                    "image_group": group,
                    "text_group": group,
                }
                loss, report = model(batch)
                for name, value in {"loss": loss, **report}.items():
                    if name.startswith("loss"):
                        sums[name] = sums.get(name, 0.0) + float(value) * len(rows)
        finally:
            model.train(was_training)
        return {name: total / len(table) for name, total in sums.items()}

    def pooled_features(self, split: str, most_rows: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Mean-pooled frozen features of a split's rows, for the closed form: `[N, Dx]` and `[N, Dy]`."""
        table = self.splits[split]
        if most_rows is not None and len(table) > most_rows:
            table = table.select(range(most_rows))
        images = [_mean(self.source.images(table, part)) for part in _parts(range(len(table)))]
        texts = [_mean(self.source.texts(part)) for part in _parts([row[0] for row in table.captions])]
        return _stack(images), _stack(texts)

    def split_counts(self) -> dict[str, SplitCount]:
        """Rows used and left out, by split."""
        counts = {}
        for name, table in self.splits.items():
            reasons: dict[str, int] = {}
            for rejected in table.rejected:
                reasons[rejected.reason] = reasons.get(rejected.reason, 0) + 1
            counts[name] = SplitCount(len(table), reasons)
        return counts

    def _moved(self, features: Any) -> Any:
        device = next(self.model.parameters()).device
        return type(features)(features.tokens.to(device), features.mask.to(device))


def retrieval_of(embeddings: SplitEmbeddings, dimensions: Sequence[int]) -> RetrievalResult:
    """Ranks both ways at these dimensions."""
    return retrieval_hits(
        embeddings.images, embeddings.texts, embeddings.image_groups, embeddings.text_groups, dimensions
    )


def load_splits(config: ExperimentConfig) -> dict[str, PairTable]:
    """Train, val and test of an experiment, with no picture on two sides.

    Raises:
        DataError: See `complete_splits`.
    """
    dataset = config.dataset
    tables = generated_splits() if config.tiny else _read_tables(dataset)
    for table in tables.values():
        check_rejected(table, dataset.max_bad_fraction)
    return complete_splits(tables, dataset.val_fraction, dataset.test_fraction, dataset.shared_pictures)


def _read_tables(dataset: DatasetConfig) -> dict[str, PairTable]:
    if dataset.image_folder is not None and dataset.metadata_file is not None:
        table = read_folder(
            dataset.image_folder, dataset.metadata_file, dataset.text_column, dataset.id_column
        )
        return {"train": table}
    files = {"train": dataset.train_parquet, "val": dataset.val_parquet, "test": dataset.test_parquet}
    return {
        name: read_parquet(
            file, dataset.image_column, dataset.text_column, dataset.extra_captions_column, dataset.id_column
        )
        for name, file in files.items()
        if file is not None
    }


def load_encoders(config: ExperimentConfig) -> tuple[VisionEncoder, TextEncoder]:
    """The two encoders of an experiment, frozen as it says."""
    vision, text = config.vision_encoder, config.text_encoder
    if config.tiny:
        architecture = "test_vit" if vision.pooling_type == "cls" else "test_efficientnet"
        layers = ["blocks.*"] if vision.feature_layers else []
        return (
            VisionEncoder.tiny(config.seed, architecture, frozen=vision.frozen, layers=layers),
            TextEncoder.tiny(config.seed, text.frozen, layers=[0, 2] if text.feature_layers else []),
        )
    return (
        VisionEncoder.load(
            vision.source, vision.image_size, vision.frozen, vision.feature_layers, vision.layer_pooling
        ),
        TextEncoder.load(text.source, config.dataset.max_text_length, text.frozen, text.feature_layers),
    )


def training_device(config: ExperimentConfig) -> torch.device:
    """The GPU of this process if there is one and the config allows it."""
    if config.training.device == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", torch.cuda.current_device())


def cache_obstacle(config: ExperimentConfig) -> str | None:
    """Why features cannot be cached; None when they can."""
    if config.training.feature_cache == "off":
        return "training.feature_cache is off"
    if not (config.vision_encoder.frozen and config.text_encoder.frozen):
        return "an encoder is trained, so its features change"
    if config.dataset.augmentation != "none":
        return f"dataset.augmentation={config.dataset.augmentation} makes every picture different each time"
    return None


def _parts(rows: Sequence[Any]) -> list[Sequence[Any]]:
    return [rows[start : start + EMBED_ROWS] for start in range(0, len(rows), EMBED_ROWS)]


def _stack(parts: Sequence[Tensor]) -> np.ndarray:
    return torch.cat([part.float().cpu() for part in parts]).numpy()


def _mean(features: Any) -> Tensor:
    mask = features.mask[..., None]
    return (features.tokens * mask).sum(1) / mask.sum(1).clamp(min=1)
