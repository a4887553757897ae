"""Where features come from: the towers as they run, or the cache that was filled by them.

Both give the same thing for the same question, so that training, evaluation and the closed form need not know
which one it is.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from edge_glass.core import distributed
from edge_glass.core.progress import progress_bar
from edge_glass.data.captions import EMPTY
from edge_glass.data.feature_cache import FeatureCache, FeatureTable
from edge_glass.data.samples import SampleTable
from edge_glass.encoders.features import TokenFeatures, keep_freed_memory
from edge_glass.encoders.tower import EncoderTower

logger = logging.getLogger(__name__)

GROUP_ROWS = {"vision": 8, "audio": 8, "text": 64}  # on CPUs: few enough to stay in the processor's cache
GPU_ROWS = 64
PLURALS = {"vision": "pictures", "audio": "sounds", "text": "captions"}


class ItemRef(NamedTuple):
    """Names an item of a table: one of the captions or takes of a row, or its picture."""

    table: SampleTable
    row: int
    take: int = 0


class FeatureSource(Protocol):
    """Frozen features of pictures, sounds and captions."""

    def features(self, modality: str, places: Sequence[ItemRef]) -> TokenFeatures:
        """Return features of these items: tokens `[n, N, D]`, mask `[n, N]`."""
        ...


class LiveFeatures:
    """Runs the towers each time it is asked, without gradients."""

    def __init__(self, towers: Mapping[str, EncoderTower[Any]]) -> None:
        self.towers = towers

    def features(self, modality: str, places: Sequence[ItemRef]) -> TokenFeatures:
        return self.encode(modality, [place.table.item(modality, place.row, place.take) for place in places])

    @torch.no_grad()
    def encode(self, modality: str, items: Sequence[Any]) -> TokenFeatures:
        """Compute features of decoded pictures, sounds or texts."""
        return self.towers[modality].features(self._raw(modality, items))

    @torch.no_grad()
    def tokens(self, modality: str, items: Sequence[Any]) -> TokenFeatures:
        """Do as `encode`, but without pooling."""
        return self.towers[modality].tokens(self._raw(modality, items))

    def _raw(self, modality: str, items: Sequence[Any]) -> dict[str, Tensor]:
        tower = self.towers[modality]
        raw = batch_inputs(
            tower.encoder, modality, [prepared(tower.encoder, modality, item) for item in items]
        )
        return {name: value.to(tower.device) for name, value in raw.items()}


def prepared(encoder: Any, modality: str, item: Any) -> Any:
    """Turn a decoded item into a tensor; text stays text."""
    return item if modality == "text" else encoder.preprocess(item)


def batch_inputs(encoder: Any, modality: str, items: Sequence[Any]) -> dict[str, Tensor]:
    """Turn prepared items, perhaps none, into what the encoder takes."""
    if modality == "text":
        return encoder.tokenize(list(items))
    if modality == "audio":
        return encoder.collate(list(items))
    side = encoder.image_size
    return {"pixels": torch.stack(list(items)) if items else torch.zeros(0, 3, side, side)}


class CachedFeatures:
    """Features of everything in a run, from the cache, which is filled first where needed.

    Attributes:
        tables: Modality → features on disk.
        index: Modality → item (a content hash, or a caption) → its row in `tables`.
    """

    def __init__(
        self, towers: Mapping[str, EncoderTower[Any]], cache: FeatureCache, progress: bool = True
    ) -> None:
        self.live = LiveFeatures(towers)
        self.cache = cache
        self.progress = progress
        self.tables: dict[str, FeatureTable] = {}
        self.index: dict[str, dict[str, int]] = {}

    def fill(self, tables: Iterable[SampleTable]) -> None:
        """Cover all pictures, sounds and captions of these tables; compute only what is not cached."""
        tables = list(tables)
        keep_freed_memory()
        for modality, tower in self.live.towers.items():
            items = _distinct_items(modality, tables)
            with progress_bar(f"encoding {PLURALS[modality]}", len(items), self.progress) as advance:
                self.tables[modality] = self.cache.features(
                    self._about(tower),
                    _content_keys(modality, items),
                    partial(self._encode, modality, items, list(items)),
                    advance,
                    _local_share(),
                    distributed.barrier,
                )
            self.index[modality] = {key: number for number, key in enumerate(items)}

    def features(self, modality: str, places: Sequence[ItemRef]) -> TokenFeatures:
        index = self.index[modality]
        rows = [index[place.table.keys(modality)[place.row][place.take]] for place in places]
        return TokenFeatures(*self.tables[modality].gather(rows))

    def _about(self, tower: EncoderTower[Any]) -> dict[str, Any]:
        return {
            "encoder": tower.encoder.fingerprint,
            "transform": tower.encoder.transform_id,
            "dtype": str(tower.frozen_dtype),
            "pooling": "tokens" if tower.pooling.learned else tower.pooling.fingerprint,
        }

    def _encode(
        self, modality: str, items: Mapping[str, ItemRef | None], keys: Sequence[str], chunk: Sequence[int]
    ) -> tuple[Tensor, Tensor]:
        """Compute tokens `[n, N, D]` and token counts `[n]` of some items.

        Groups of items go through decoding and encoder in parallel, each on one thread: on CPUs this is
        faster than many threads on one picture, and far faster when other programs run.
        """
        order = [keys[number] for number in chunk]
        if modality == "text":  # neighbours of one length need little padding
            order.sort(key=len)
        size = GROUP_ROWS[modality] if self._on_cpu() else GPU_ROWS
        groups = [order[start : start + size] for start in range(0, len(order), size)]
        with self._workers() as pool:
            parts = list(pool.map(lambda group: self._encode_group(modality, items, group), groups))
        row_of = {key: row for row, key in enumerate(keys[number] for number in chunk)}
        longest = max(part.tokens.shape[1] for part in parts)
        tokens = torch.zeros(len(chunk), longest, parts[0].tokens.shape[2])
        lengths = torch.zeros(len(chunk), dtype=torch.int64)
        for group, part in zip(groups, parts, strict=True):
            rows = [row_of[key] for key in group]
            tokens[rows, : part.tokens.shape[1]] = part.tokens
            lengths[rows] = part.mask.sum(1)
        return tokens, lengths

    def _encode_group(
        self, modality: str, items: Mapping[str, ItemRef | None], group: Sequence[str]
    ) -> TokenFeatures:
        loaded = [key if modality == "text" else _load(modality, items[key]) for key in group]
        features = self.live.encode(modality, loaded)
        return TokenFeatures(features.tokens.cpu(), features.mask.cpu())

    def _on_cpu(self) -> bool:
        return all(tower.device.type == "cpu" for tower in self.live.towers.values())

    def _workers(self) -> ThreadPoolExecutor:
        if self._on_cpu():
            return ThreadPoolExecutor(torch.get_num_threads(), initializer=partial(torch.set_num_threads, 1))
        return ThreadPoolExecutor(os.cpu_count())


def _distinct_items(modality: str, tables: Sequence[SampleTable]) -> dict[str, ItemRef | None]:
    """Return every distinct item and one place where it stands; text dropout's empty caption has none."""
    items: dict[str, ItemRef | None] = {EMPTY: None} if modality == "text" else {}
    for table in tables:
        for row, keys in enumerate(table.keys(modality)):
            for take, key in enumerate(keys):
                items.setdefault(key, ItemRef(table, row, take))
    return items


def _content_keys(modality: str, items: Iterable[str]) -> list[str]:
    if modality == "text":
        return [hashlib.sha256(text.encode()).hexdigest() for text in items]
    return list(items)


def _load(modality: str, place: ItemRef | None) -> Any:
    assert place is not None
    return place.table.item(modality, place.row, place.take)


def _local_share() -> tuple[int, int]:
    """Number this process among those of its machine, and count them: they fill one cache together."""
    ranks = distributed.world_size()
    if ranks == 1:
        return 0, 1
    return int(os.environ.get("LOCAL_RANK", "0")), int(os.environ.get("LOCAL_WORLD_SIZE", ranks))
