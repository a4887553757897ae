"""Prompts of the small decoders that grow word by word, with cached keys and values."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from edge_glass.core.errors import DataError
from edge_glass.decoders.blocks import KeyValueCache, Sight
from edge_glass.decoders.generation import pack_right
from edge_glass.decoders.joining import Prefix

if TYPE_CHECKING:
    from edge_glass.decoders.small_decoder import SmallDecoder


class DecoderSteps:
    """A batch of prompts that grows word by word; old positions are not computed again.

    The rows' real tokens are moved to the right, so that all rows are continued at the same place. Position t
    depends only on positions up to t, in every application of every layer. So each application keeps its keys
    and values, and a new word needs its own vectors only.
    """

    def __init__(
        self,
        decoder: SmallDecoder,
        prefix: Prefix | None,
        ids: Tensor,
        mask: Tensor,
        room: int,
        cached: bool,
    ) -> None:
        self.decoder, self.room, self.cached = decoder, room, cached
        with torch.no_grad():
            self.x, self.mask = pack_right(*decoder.join(prefix, ids, mask))
        if not bool(self.mask.any(dim=1).all()):
            row = int((~self.mask.any(dim=1)).nonzero()[0])
            raise DataError(f"row {row} has neither a prefix nor a prompt to answer")
        self.cache: KeyValueCache | None = None
        self.depth = torch.zeros(len(ids), dtype=torch.long, device=ids.device)

    def start(self) -> Tensor:
        """Read the prompts; logits `[B, V]`."""
        decoder, (rows, length) = self.decoder, self.mask.shape
        if not rows:
            return self.x.new_zeros(0, decoder.vocabulary)
        if self.cached:
            self.cache = KeyValueCache(decoder.applications, length + self.room)
        sight = Sight(self.mask, length, decoder.rotary, self.cache)
        ends = [answer[:, -1] for answer in decoder.answers(self.x, sight)]
        if self.cache is not None:
            self.cache.length = length
        self.depth = decoder.choose_depth(ends)
        return self._read(ends)

    def step(self, tokens: Tensor) -> Tensor:
        """Append `[B]`; logits `[B, V]`."""
        new = self.decoder.embed_tokens(tokens[:, None])
        self.mask = F.pad(self.mask, (0, 1), value=True)
        if not self.cached:
            new = self.x = torch.cat([self.x, new], dim=1)
        sight = Sight(self.mask, new.shape[1], self.decoder.rotary, self.cache)
        answers = self.decoder.answers(new, sight, depth=int(self.depth.max()) + 1)
        if self.cache is not None:
            self.cache.length += 1
        return self._read([answer[:, -1] for answer in answers])

    def reorder(self, rows: Tensor) -> None:
        """Row i continues as row `rows[i]` was; there may be more rows afterwards, or fewer."""
        self.x, self.mask, self.depth = self.x[rows], self.mask[rows], self.depth[rows]
        if self.cache is not None:
            self.cache.reorder(rows)

    def _read(self, answers: list[Tensor]) -> Tensor:
        """Answers `[B, D]` after each depth → logits of each row's own depth."""
        row = torch.arange(len(self.depth), device=self.depth.device)
        return self.decoder.lm_head(torch.stack(answers)[self.depth, row])
