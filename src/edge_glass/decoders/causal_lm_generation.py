"""A causal language model of transformers, step by step with a KV cache, for `generation.generate`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edge_glass.decoders.generation import pack_right

WORTH_A_PASS = 64  # tokens that need not be read; a pass of its own has to fetch all weights


class CausalSteps:
    """A batch of prompts that grows word by word (`generation.Steps`).

    What all rows begin with, such as a system prompt, is read once. The real tokens behind it are moved to
    the right, so that all rows are continued at the same place; the mask hides the padding before them, and
    positions count real tokens only.

    Args:
        lm: A causal language model of transformers.
        embeddings: `[B, S, D]`, zero at padding.
        mask: `[B, S]` bool; at least one real token in each row.
        known: `[V]` bool; the other ids are never written.
        ends: Tokens that end an answer. The first stands for all of them: the others are never written.
    """

    def __init__(self, lm: Any, embeddings: Tensor, mask: Tensor, known: Tensor, ends: Sequence[int]) -> None:
        self.lm = lm
        count = shared_opening(embeddings, mask) if _shares_cache(lm) else 0
        self.opening = embeddings[:1][mask[:1]][None, :count]
        self.embeddings, mask = pack_right(embeddings, mask & (mask.cumsum(dim=1) > count))
        self.mask = F.pad(mask.long(), (count, 0), value=1)
        self.length = self.mask.sum(dim=1)
        self.cache: Any = None
        self.ends = list(dict.fromkeys(ends))
        self.forbidden = ~known
        self.head = cast_head(lm.get_output_embeddings(), embeddings.device.type)

    def start(self) -> Tensor:
        """Read the prompts; the logits of the first word, `[B, V]`."""
        if not len(self.embeddings):
            return self.embeddings.new_zeros(0, len(self.forbidden))
        count = self.opening.shape[1]
        if count:
            self.cache = self.lm.base_model(inputs_embeds=self.opening, use_cache=True).past_key_values
            self.cache.batch_repeat_interleave(len(self.embeddings))
        positions = (self.mask.cumsum(dim=1) - 1).clamp(min=0)[:, count:]
        return self._run(positions, inputs_embeds=self.embeddings)

    def step(self, tokens: Tensor) -> Tensor:
        """Append `tokens` `[B]`; the logits of the next word, `[B, V]`."""
        self.mask = F.pad(self.mask, (0, 1), value=1)
        positions = self.length[:, None]
        self.length = self.length + 1
        return self._run(positions, input_ids=tokens[:, None])

    def reorder(self, rows: Tensor) -> None:
        """Row i continues as row `rows[i]` was; there may be more rows afterwards, or fewer."""
        self.mask, self.length = self.mask[rows], self.length[rows]
        if self.cache is not None:
            self.cache.reorder_cache(rows)

    def _run(self, positions: Tensor, **inputs: Tensor) -> Tensor:
        output = self.lm.base_model(
            **inputs,
            attention_mask=self.mask,
            position_ids=positions,
            past_key_values=self.cache,
            use_cache=True,
        )
        self.cache = output.past_key_values
        return only_writable(self.head(output.last_hidden_state[:, -1]).float(), self.forbidden, self.ends)


def shared_opening(embeddings: Tensor, mask: Tensor) -> int:
    """How many first real tokens all rows share, where reading them once pays; each row keeps one of its own.

    Args:
        embeddings: `[B, S, D]`.
        mask: `[B, S]` bool.
    """
    if len(mask) < 2:
        return 0
    order = torch.argsort((~mask).long(), dim=1, stable=True)
    packed = embeddings.gather(1, order[..., None].expand_as(embeddings))
    same = (packed == packed[:1]).all(dim=2).all(dim=0)
    count = min(int(same.long().cumprod(dim=0).sum()), int(mask.sum(dim=1).min()) - 1)
    return count if count * (len(mask) - 1) >= WORTH_A_PASS else 0


def _shares_cache(lm: Any) -> bool:
    """Whether all layers attend to all there is; a window would count the padding behind the opening too."""
    from transformers.cache_utils import DynamicCache, DynamicLayer

    layers = DynamicCache(config=lm.config.get_text_config(decoder=True)).layers
    return all(type(layer) is DynamicLayer for layer in layers)


def only_writable(logits: Tensor, forbidden: Tensor, ends: Sequence[int]) -> Tensor:
    """`[B, V]` without the forbidden ids, and with one end that has the probability of all ends."""
    logits = logits.masked_fill(forbidden, -torch.inf)
    end, *others = ends
    if others:  # whichever end it is, the answer has ended
        logits[:, end] = logits[:, [end, *others]].logsumexp(dim=1)
        logits[:, others] = -torch.inf
    return logits


def cast_head(head: Any, kind: str) -> Callable[[Tensor], Tensor]:
    """The LM head in the dtype of autocast, which would cast it anew in each step."""
    if not torch.is_autocast_enabled(kind) or head.weight.dtype != torch.float32:
        return head
    weight = head.weight.to(torch.get_autocast_dtype(kind))
    return lambda hidden: F.linear(hidden, weight, head.bias)


def stop_ids(lm: Any, tokenizer: Any) -> list[int]:
    """Tokens that always end an answer: the tokenizer's end of text, and those the model's authors name."""
    named = getattr(lm.generation_config, "eos_token_id", None)
    named = [] if named is None else [named] if isinstance(named, int) else list(named)
    known = [int(end) for end in named if tokenizer.convert_ids_to_tokens(int(end)) is not None]
    return sorted({int(tokenizer.eos_token_id), *known})


@contextmanager
def weights_in(lm: nn.Module, dtype: torch.dtype) -> Iterator[None]:
    """Frozen float32 weights of linear layers in `dtype` meanwhile.

    Autocast casts frozen weights anew whenever they are used, which takes longer than a step of generation.
    """
    # What is looked up in an embedding is what all layers add to: it stays as it is.
    tables = {id(layer.weight) for layer in lm.modules() if isinstance(layer, nn.Embedding)}
    kept = [
        (layer.weight, layer.weight.data)
        for layer in lm.modules()
        if isinstance(layer, nn.Linear)
        and layer.weight.dtype == torch.float32
        and not (layer.weight.requires_grad or id(layer.weight) in tables)
    ]
    try:
        for weight, data in kept:
            weight.data = data.to(dtype)
        yield
    finally:
        for weight, data in kept:
            weight.data = data
