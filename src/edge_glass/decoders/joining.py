"""A prefix of features and the words around it, as one sequence."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

from edge_glass.decoders.decoder import NOT_TRAINED
from edge_glass.encoders.features import TokenFeatures


class PlacedPrefix(NamedTuple):
    """Features that stand inside of the text.

    A language model that learned from text alone makes its first token an attention sink (StreamingLLM, arXiv
    2309.17453): its activations grow a hundredfold (arXiv 2402.17762) and what it held is lost to the
    layers above. A picture must not stand there. The user's turn is where LLaVA and Qwen-VL put it too.

    Attributes:
        tokens: `[B, P, width]`.
        mask: `[B, P]` bool, True at real tokens.
        opening: int64 `[B]`, how many real tokens of each row's text stand before them.
    """

    tokens: Tensor
    mask: Tensor
    opening: Tensor


Prefix: TypeAlias = TokenFeatures | PlacedPrefix
"""What a decoder reads beside words; `TokenFeatures` stand in front of all of them."""


def join(prefix: Prefix | None, words: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Prefix and words as one sequence.

    Args:
        prefix: P tokens a row, or None.
        words: `[B, L, width]`, padded on either side.
        mask: `[B, L]` bool.

    Returns:
        `[B, P + L, width]` in the dtype of the words, and its mask.
    """
    if prefix is None:
        return words, mask
    tokens = torch.cat([prefix.tokens.to(words.dtype), words], dim=1)
    seen = torch.cat([prefix.mask, mask], dim=1)
    order = _order(prefix, mask)
    if order is None:
        return tokens, seen
    return tokens.gather(1, order[..., None].expand_as(tokens)), seen.gather(1, order)


def join_labels(prefix: Prefix | None, mask: Tensor, labels: Tensor) -> Tensor:
    """Labels `[B, L]` of the words → of the joined sequence `[B, P + L]`; a prefix is never trained."""
    if prefix is None:
        return labels
    places = prefix.mask.shape
    joined = torch.cat([labels.new_full(places, NOT_TRAINED), labels], dim=1)
    order = _order(prefix, mask)
    return joined if order is None else joined.gather(1, order)


def _order(prefix: Prefix, mask: Tensor) -> Tensor | None:
    """Which of prefix + words stands at each place, int64 `[B, P + L]`; None for as they come."""
    if not isinstance(prefix, PlacedPrefix) or not mask.shape[1]:
        return None
    count = prefix.tokens.shape[1]
    start = (mask.long().argmax(dim=1) + prefix.opening)[:, None]
    place = torch.arange(count + mask.shape[1], device=mask.device)
    behind = torch.where(place < start + count, place - start, place)
    return torch.where(place < start, place + count, behind)
