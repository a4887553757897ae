"""Where features come from: the towers as they run, or the cache that was filled by them.

Both give the same thing for the same question, so that training, evaluation and the closed form need not know
which one it is.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from edge_glass.data.captions import CaptionChooser
from edge_glass.data.feature_cache import FeatureCache, FeatureTable
from edge_glass.data.pairs import PairTable, group_numbers
from edge_glass.data.pictures import decode_image
from edge_glass.data.scan import progress_bar
from edge_glass.encoders.features import TokenFeatures, fast_dtype
from edge_glass.encoders.text import TextEncoder
from edge_glass.encoders.vision import VisionEncoder
from edge_glass.models.alignment import Tower

logger = logging.getLogger(__name__)

READ_ROWS = 64
TEXT_ROWS = 256


class FeatureSource(Protocol):
    """Frozen features of pictures and captions."""

    def images(self, table: PairTable, indices: Sequence[int]) -> TokenFeatures:
        """Features of these rows' pictures: tokens `[n, N, D]`, mask `[n, N]`."""
        ...

    def texts(self, texts: Sequence[str]) -> TokenFeatures:
        """Features of these captions: tokens `[n, N, D]`, mask `[n, N]`."""
        ...


class LiveFeatures:
    """Runs the towers each time it is asked, without gradients."""

    def __init__(self, vision: Tower[VisionEncoder], text: Tower[TextEncoder]) -> None:
        self.vision, self.text = vision, text
        self.device = next(vision.encoder.parameters()).device
        self.dtype = fast_dtype(self.device)

    def images(self, table: PairTable, indices: Sequence[int]) -> TokenFeatures:
        preprocess = self.vision.encoder.preprocess
        return self.pixels(torch.stack([preprocess(decode_image(table.picture(i))) for i in indices]))

    @torch.no_grad()
    def pixels(self, pixels: Tensor) -> TokenFeatures:
        """Features of preprocessed pictures `[n, 3, H, W]`."""
        return self.vision.features({"pixels": pixels.to(self.device)}, dtype=self.dtype)

    @torch.no_grad()
    def texts(self, texts: Sequence[str]) -> TokenFeatures:
        tokenized = self.text.encoder.tokenize(list(texts))
        return self.text.features(
            {name: ids.to(self.device) for name, ids in tokenized.items()}, dtype=self.dtype
        )


class CachedFeatures:
    """Features of every picture and caption of a run, from the cache, which is filled first where needed."""

    def __init__(
        self,
        vision: Tower[VisionEncoder],
        text: Tower[TextEncoder],
        cache: FeatureCache,
        progress: bool = True,
    ) -> None:
        self.live = LiveFeatures(vision, text)
        self.cache = cache
        self.progress = progress
        self.image_index: dict[str, int] = {}
        self.text_index: dict[str, int] = {}

    def fill(self, tables: Iterable[PairTable]) -> None:
        """Cover all pictures and captions of these tables; only what is not in the cache is computed."""
        tables = list(tables)
        first = {digest: (table, row) for table in tables for row, digest in enumerate(table.picture_hashes)}
        digests, places = list(first), list(first.values())
        with progress_bar("encoding pictures", len(digests), self.progress) as advance:
            self.image_table = self.cache.features(
                self._about(self.live.vision),
                digests,
                lambda chunk: self._encode_images([places[i] for i in chunk]),
                advance,
            )
        self.image_index = {digest: index for index, digest in enumerate(digests)}
        texts = list(
            dict.fromkeys(["", *(text for table in tables for row in table.captions for text in row)])
        )
        keys = [hashlib.sha256(text.encode()).hexdigest() for text in texts]
        with progress_bar("encoding captions", len(texts), self.progress) as advance:
            self.text_table = self.cache.features(
                self._about(self.live.text),
                keys,
                lambda chunk: self._encode_texts([texts[i] for i in chunk]),
                advance,
            )
        self.text_index = {text: index for index, text in enumerate(texts)}

    def images(self, table: PairTable, indices: Sequence[int]) -> TokenFeatures:
        return _gather(self.image_table, [self.image_index[table.picture_hashes[i]] for i in indices])

    def texts(self, texts: Sequence[str]) -> TokenFeatures:
        return _gather(self.text_table, [self.text_index[text] for text in texts])

    def _about(self, tower: Tower) -> dict[str, Any]:
        return {
            "encoder": tower.encoder.fingerprint,
            "transform": tower.encoder.transform_id,
            "dtype": str(self.live.dtype),
            "pooling": "tokens" if tower.pooling.learned else type(tower.pooling).__name__,
        }

    def _encode_images(self, places: list[tuple[PairTable, int]]) -> tuple[Tensor, Tensor]:
        preprocess = self.live.vision.encoder.preprocess
        with ThreadPoolExecutor(1) as reader:
            parts = [self.live.pixels(pixels).tokens for pixels in _read_ahead(reader, places, preprocess)]
        tokens = torch.cat(parts).cpu()
        return tokens, torch.full((len(tokens),), tokens.shape[1])

    def _encode_texts(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        parts = [
            self.live.texts([texts[i] for i in order[start : start + TEXT_ROWS]])
            for start in range(0, len(order), TEXT_ROWS)
        ]
        longest = max(part.tokens.shape[1] for part in parts)
        tokens = torch.zeros(len(texts), longest, parts[0].tokens.shape[2])
        lengths = torch.zeros(len(texts), dtype=torch.int64)
        for start, part in zip(range(0, len(order), TEXT_ROWS), parts, strict=True):
            rows = order[start : start + TEXT_ROWS]
            tokens[rows, : part.tokens.shape[1]] = part.tokens.cpu()
            lengths[rows] = part.mask.sum(1).cpu()
        return tokens, lengths


class FeaturePairs(Dataset):
    """Training rows as cached features. A list of `(epoch, index)` keys gives a whole batch at once.

    Batches hold `image` and `text` as `{"tokens" [B, N, D], "mask" [B, N]}`, `image_group` and `text_group`
    int64 `[B]`, and `ids`.
    """

    def __init__(self, table: PairTable, captions: CaptionChooser, source: CachedFeatures) -> None:
        self.table, self.captions, self.source = table, captions, source
        self.image_rows = np.array([source.image_index[digest] for digest in table.picture_hashes])
        self.text_rows = np.array([source.text_index[text] for text in captions.texts])
        self.image_groups = torch.from_numpy(group_numbers(table.picture_hashes))

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Any]:
        return self.__getitems__([key])

    def __getitems__(self, keys: list[tuple[int, int]]) -> dict[str, Any]:
        indices = np.array([index for _, index in keys])
        numbers = self.captions.numbers(keys[0][0])[indices]
        image = self.source.image_table.gather(self.image_rows[indices])
        text = self.source.text_table.gather(self.text_rows[numbers])
        return {
            "ids": [self.table.ids[index] for index in indices],
            "image": {"tokens": image[0], "mask": image[1]},
            "text": {"tokens": text[0], "mask": text[1]},
            "image_group": self.image_groups[indices],
            "text_group": torch.from_numpy(numbers),
        }


def _gather(table: FeatureTable, rows: Sequence[int]) -> TokenFeatures:
    return TokenFeatures(*table.gather(rows))


def _read_ahead(
    reader: ThreadPoolExecutor, places: list[tuple[PairTable, int]], preprocess: Callable[..., Tensor]
) -> Iterator[Tensor]:
    """Preprocessed pictures `[n, 3, H, W]` in small groups; one is read while the one before is encoded."""

    def read(group: list[tuple[PairTable, int]]) -> Tensor:
        return torch.stack([preprocess(decode_image(table.picture(row))) for table, row in group])

    groups = [places[start : start + READ_ROWS] for start in range(0, len(places), READ_ROWS)]
    waiting = reader.submit(read, groups[0])
    for following in groups[1:]:
        ready = waiting.result()
        waiting = reader.submit(read, following)
        yield ready
    yield waiting.result()
