"""The alignment task: pictures, sounds and words in one space. The only place where its rooms meet."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from edge_glass.alignment.data.feature_rows import FeatureRows, normalized_vectors
from edge_glass.alignment.measure.metrics import retrieval_values
from edge_glass.alignment.measure.retrieval import RetrievalResult, fused_hits, join_results, retrieval_hits
from edge_glass.alignment.model.alignment import (
    MultimodalAlignmentModel,
    build_alignment_model,
    fused_queries,
)
from edge_glass.assets import cache_root
from edge_glass.config.alignment import AlignmentConfig
from edge_glass.core import distributed
from edge_glass.core.passes import evaluating, moved, parts
from edge_glass.data.datasets import TriModalDataset, collate_samples
from edge_glass.data.feature_cache import FeatureCache
from edge_glass.data.features import CachedFeatures, FeatureSource, ItemRef, LiveFeatures, batch_inputs
from edge_glass.data.samples import row_kinds
from edge_glass.data.splits import connected_groups
from edge_glass.encoders.features import TokenFeatures
from edge_glass.tasks.sources import cache_obstacle, load_encoders, load_splits, training_device
from edge_glass.training.task import Batch, Report

logger = logging.getLogger(__name__)

EMBED_ROWS = 256
CODEBOOK_ITEMS = 1_000  # some 80 tokens each
MOST_FITTED_ROWS = 20_000  # more rows hardly move means and principal axes


@dataclass(frozen=True)
class Embedded:
    """One modality of a split in the shared space.

    Attributes:
        vectors: float32 `[N, D]`, projected but not normalised: distinct pictures, the first take of every
            row, the first caption of every row.
        groups: int64 `[N]`; equal across modalities where items belong together.
        rows: Row of the split's table that each item is from.
    """

    vectors: np.ndarray
    groups: np.ndarray
    rows: list[int]


SplitEmbeddings = dict[str, Embedded]
"""Modality → its items."""


class AlignmentTask:
    """Aligns pictures, captions and sounds; see `edge_glass.training.Task`.

    Args:
        config: The experiment.
        progress: Show progress bars.
        model: A finished model to measure; by default a fresh one is built.

    Raises:
        EdgeGlassError: Data, weights or configuration are wrong; nothing has been trained then.
    """

    greater_is_better = True

    def __init__(
        self, config: AlignmentConfig, progress: bool = True, model: MultimodalAlignmentModel | None = None
    ) -> None:
        self.config = config
        self.primary_metric = config.evaluation.primary_metric
        self.splits = load_splits(config)
        self.model = (model or build_alignment_model(config, *load_encoders(config))).to(
            training_device(config)
        )
        if model is None:
            self._fit_poolings()
        self.source = self._feature_source(progress)
        if model is None:
            self._fit_normalizers()
        self._train_dataset = self._dataset("train", training=True)

    def _feature_source(self, progress: bool) -> FeatureSource:
        reason = cache_obstacle(self.config)
        if reason is not None:
            logger.info("the feature cache is off: %s", reason)
            return LiveFeatures(self.model.towers)
        choice = self.config.training.feature_cache
        cache = FeatureCache(cache_root() if choice == "auto" else Path(choice))
        cached = CachedFeatures(self.model.towers, cache, progress)
        cached.fill(self.splits.values())
        return cached

    def _fit_poolings(self) -> None:
        """Measure the tokens of some training items, evenly spread; each rank encodes its share."""
        live = LiveFeatures(self.model.towers)
        for name, tower in self.model.towers.items():
            if tower.pooling.measured:
                places = self.places("train", name)
                places = places[:: max(1, len(places) // CODEBOOK_ITEMS)]
                own = [
                    place.table.item(name, place.row, place.take) for place in distributed.own_share(places)
                ]
                found = [live.tokens(name, part) for part in parts(own, EMBED_ROWS)]
                nothing = torch.zeros(0, tower.encoder.width)  # more ranks than items
                tokens = torch.cat([nothing, *(part.tokens[part.mask].float().cpu() for part in found)])
                tower.pooling.fit(distributed.rows_from_all(tokens).to(tower.device))

    def _fit_normalizers(self) -> None:
        for name, tower in self.model.towers.items():
            if tower.normalizer is not None:
                tower.normalizer.fit(self.pooled(name, self.places("train", name)[:MOST_FITTED_ROWS]))

    @cached_property
    def _vectors(self) -> dict[str, Tensor]:
        assert isinstance(self.source, CachedFeatures)
        return normalized_vectors(self.source)

    def _dataset(self, split: str, training: bool) -> Dataset:
        table, config = self.splits[split], self.config
        dropout = config.dataset.text_dropout_prob if training else 0.0
        if isinstance(self.source, CachedFeatures):
            return FeatureRows(table, self.source, self._vectors, training, config.seed, dropout)
        encoders = {name: tower.encoder for name, tower in self.model.towers.items() if name != "text"}
        return TriModalDataset(
            table,
            {name: encoder.preprocess for name, encoder in encoders.items()},
            training=training,
            seed=config.seed,
            text_dropout_prob=dropout,
            augmentation=config.dataset.augmentation,
            audio_augmentation=config.dataset.audio_augmentation,
        )

    # What the trainer asks for

    @property
    def train_dataset(self) -> Dataset:
        """Rows to train on."""
        return self._train_dataset

    @property
    def row_kinds(self) -> np.ndarray:
        """Which modalities each training row has; a batch has rows of one kind, on every rank."""
        return row_kinds(self.splits["train"], self.model.modalities)

    def collate(self, items: Any) -> Batch:
        """Return cached rows, which arrive as a batch; stack and tokenise decoded ones."""
        if isinstance(items, dict):
            return items
        encoders = {name: tower.encoder for name, tower in self.model.towers.items()}
        return collate_samples(items, {name: _Collate(name, encoder) for name, encoder in encoders.items()})

    def loss(
        self, model: MultimodalAlignmentModel, batch: Batch, *, step: int, diagnostics: bool
    ) -> tuple[Tensor, Report]:
        """Compute the contrastive and Matryoshka loss of a batch."""
        return model(batch | {"step": step}, with_diagnostics=diagnostics)

    def evaluate(self, model: MultimodalAlignmentModel, split: str) -> dict[str, float]:
        """Measure the loss and its parts, and recall in all directions at every dimension."""
        return self.validation_loss(model, split) | retrieval_values(self.retrieval(model, split))

    # Measuring

    def retrieval(self, model: MultimodalAlignmentModel, split: str) -> RetrievalResult:
        """Return ranks in every direction between the modalities that the model compares."""
        return retrieval_of(self.embed(model, split), model)

    def places(self, split: str, modality: str) -> list[ItemRef]:
        """List what is measured of a split: distinct pictures, or the first caption or take of every row."""
        table = self.splits[split]
        rows = [row for row, keys in enumerate(table.keys(modality)) if keys]
        if modality == "vision":
            rows = sorted({table.picture_hashes[row]: row for row in reversed(rows)}.values())
        return [ItemRef(table, row) for row in rows]

    @torch.no_grad()
    def embed(self, model: MultimodalAlignmentModel, split: str) -> SplitEmbeddings:
        """Map a split into the shared space; each rank encodes its share."""
        groups = np.array(connected_groups(self.splits[split]), dtype=np.int64)
        embedded = {}
        with evaluating(model):
            for name, tower in model.towers.items():
                places = self.places(split, name)
                own = distributed.own_share(places)
                vectors = [tower.embed(self._features(name, part)).float() for part in parts(own, EMBED_ROWS)]
                width = tower.projection.out_dim
                mine = torch.cat([torch.zeros(0, width, device=tower.device), *vectors])
                rows = [place.row for place in places]
                embedded[name] = Embedded(distributed.rows_from_all(mine).cpu().numpy(), groups[rows], rows)
        return embedded

    @torch.no_grad()
    def validation_loss(self, model: MultimodalAlignmentModel, split: str) -> dict[str, float]:
        """Average the loss over a split in fixed batches of the size that a training step has on all ranks.

        In eval mode the loss compares what it is given and asks no other rank, so every rank measures all.
        """
        dataset, rows = self._dataset(split, training=False), len(self.splits[split])
        size = self.config.dataset.batch_size * distributed.world_size()
        sums: dict[str, float] = {}
        counts: dict[str, int] = {}
        with evaluating(model):
            for keys in parts([(0, row) for row in range(rows)], size):
                loss, report = model(moved(self._batch(dataset, keys), self.device))
                for name, value in {"loss": loss, **report}.items():
                    if name.startswith("loss"):
                        sums[name] = sums.get(name, 0.0) + float(value) * len(keys)
                        counts[name] = counts.get(name, 0) + len(keys)
        return {name: total / counts[name] for name, total in sums.items()}

    def _batch(self, dataset: Any, keys: Sequence[tuple[int, int]]) -> Batch:
        if isinstance(dataset, FeatureRows):
            return dataset.__getitems__(list(keys))
        return self.collate([dataset[key] for key in keys])

    @torch.no_grad()
    def pooled(self, modality: str, places: Sequence[ItemRef]) -> np.ndarray:
        """Return frozen features of these items, pooled as by a tower without learned pooling, `[N, D]`."""
        return np.concatenate(
            [_mean(self.source.features(modality, part)) for part in parts(places, EMBED_ROWS)]
        )

    def _features(self, modality: str, places: Sequence[ItemRef]) -> TokenFeatures:
        tokens, mask = self.source.features(modality, places)
        return TokenFeatures(tokens.to(self.device), mask.to(self.device))

    @property
    def device(self) -> torch.device:
        """Where the trained parts are."""
        return self.model.towers["text"].device


class _Collate:
    """`batch_inputs` of one encoder."""

    def __init__(self, modality: str, encoder: Any) -> None:
        self.modality, self.encoder = modality, encoder

    def __call__(self, items: list[Any]) -> dict[str, Tensor]:
        return batch_inputs(self.encoder, self.modality, items)


def retrieval_of(embedded: SplitEmbeddings, model: MultimodalAlignmentModel) -> RetrievalResult:
    """Return ranks in all directions that the model compares and the split has, and of fused queries."""
    results = [retrieval_between(embedded, model.pairs, model.dimensions)]
    if model.fusion is not None:
        results += _fused_retrieval(embedded, model)
    return join_results(results)


@torch.no_grad()
def _fused_retrieval(embedded: SplitEmbeddings, model: MultimodalAlignmentModel) -> list[RetrievalResult]:
    """Return ranks of what is looked for by rows that have all other modalities."""
    results = []
    for wanted, asked in fused_queries(model.modalities).items():
        rows = sorted(set.intersection(*(set(embedded[name].rows) for name in asked)))
        place = {name: {row: at for at, row in enumerate(embedded[name].rows)} for name in asked}
        queries = {name: embedded[name].vectors[[place[name][row] for row in rows]] for name in asked}
        groups = embedded[asked[0]].groups[[place[asked[0]][row] for row in rows]]
        answered = np.isin(groups, embedded[wanted].groups)
        if answered.any():
            device = model.towers["text"].device
            vectors = {name: torch.from_numpy(part[answered]).to(device) for name, part in queries.items()}
            fused = model.fuse(vectors).cpu().numpy()
            candidates = embedded[wanted]
            results.append(
                fused_hits(
                    fused, candidates.vectors, groups[answered], candidates.groups, model.dimensions, wanted
                )
            )
    return results


def retrieval_between(
    embedded: SplitEmbeddings, pairs: Sequence[tuple[str, str]], dimensions: Sequence[int]
) -> RetrievalResult:
    """Return ranks both ways between these pairs; items without a counterpart do not ask.

    Raises:
        DataError: No pair has a row.
    """
    results = []
    for first, second in pairs:
        x, y = embedded[first], embedded[second]
        asks, answers = np.isin(x.groups, y.groups), np.isin(y.groups, x.groups)
        if asks.any():
            results.append(
                retrieval_hits(
                    x.vectors[asks],
                    y.vectors[answers],
                    x.groups[asks],
                    y.groups[answers],
                    dimensions,
                    modalities=(first, second),
                )
            )
    return join_results(results)


def _mean(features: TokenFeatures) -> np.ndarray:
    mask = features.mask[..., None]
    pooled = (features.tokens * mask).sum(1) / mask.sum(1).clamp(min=1)
    return pooled.float().cpu().numpy()
