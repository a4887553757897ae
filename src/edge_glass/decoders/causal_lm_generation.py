"""A causal language model of transformers, step by step with a KV cache, for `generation.generate`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edge_glass.decoders.generation import pack_right


class CausalSteps:
    """A batch of prompts that grows word by word (`generation.Steps`).

    The rows' real tokens are moved to the right, so that all rows are continued at the same place; the mask
    hides the padding on the left, and positions count real tokens only.

    Args:
        lm: A causal language model of transformers.
        embeddings: `[B, S, D]`, zero at padding.
        mask: `[B, S]` bool; at least one real token in each row.
        known: `[V]` bool; the other ids are never written.
        ends: Tokens that end an answer. The first stands for all of them: the others are never written.
    """

    def __init__(self, lm: Any, embeddings: Tensor, mask: Tensor, known: Tensor, ends: Sequence[int]) -> None:
        self.lm = lm
        self.embeddings, mask = pack_right(embeddings, mask)
        self.mask = mask.long()
        self.length = self.mask.sum(dim=1)
        self.cache: Any = None
        self.ends = list(dict.fromkeys(ends))
        self.forbidden = ~known
        self.head = cast_head(lm.get_output_embeddings(), embeddings.device.type)

    def start(self) -> Tensor:
        """Read the prompts; the logits of the first word, `[B, V]`."""
        if not len(self.embeddings):
            return self.embeddings.new_zeros(0, len(self.forbidden))
        positions = (self.mask.cumsum(dim=1) - 1).clamp(min=0)
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
