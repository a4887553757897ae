"""A causal language model of transformers, step by step with a KV cache, for `generation.generate`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from edge_glass.decoders.generation import pack_right


class CausalSteps:
    """A batch of prompts that grows word by word (`generation.Steps`).

    The rows' real tokens are moved to the right, so that all rows are continued at the same place; the mask
    hides the padding on the left, and positions count real tokens only.

    Args:
        lm: A causal language model of transformers.
        tokenizer: Its tokenizer: ids that it does not know are never written.
        embeddings: `[B, S, D]`, zero at padding.
        mask: `[B, S]` bool; at least one real token in each row.
        end: The token that stands for every end: the others are never written.
    """

    def __init__(self, lm: Any, tokenizer: Any, embeddings: Tensor, mask: Tensor, end: int) -> None:
        self.lm = lm
        self.embeddings, mask = pack_right(embeddings, mask)
        self.mask = mask.long()
        self.length = self.mask.sum(dim=1)
        self.cache: Any = None
        self.end = end
        self.other_ends = [other for other in stop_ids(lm, tokenizer) if other != end]
        rows = lm.get_output_embeddings().weight.shape[0]
        unknown = torch.ones(rows, dtype=torch.bool)
        unknown[sorted(set(tokenizer.get_vocab().values()))] = False
        self.forbidden = unknown.to(embeddings.device)

    def start(self) -> Tensor:
        """Read the prompts; the logits of the first word, `[B, V]`."""
        if not len(self.embeddings):
            return self.embeddings.new_zeros(0, len(self.forbidden))
        positions = (self.mask.cumsum(dim=1) - 1).clamp(min=0)
        return self._run(positions, inputs_embeds=self.embeddings)

    def step(self, tokens: Tensor) -> Tensor:
        """Append `tokens` `[B]`; the logits of the next word, `[B, V]`."""
        self.mask = torch.cat([self.mask, self.mask.new_ones(len(self.mask), 1)], dim=1)
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
        logits = self.lm.get_output_embeddings()(output.last_hidden_state[:, -1]).float()
        logits = logits.masked_fill(self.forbidden, -torch.inf)
        if self.other_ends:  # whichever end it is, the answer has ended: one token with all their probability
            ends = [self.end, *self.other_ends]
            logits[:, self.end] = logits[:, ends].logsumexp(dim=1)
            logits[:, self.other_ends] = -torch.inf
        return logits


def stop_ids(lm: Any, tokenizer: Any) -> list[int]:
    """All tokens that end an answer: the tokenizer's end, and those the model's authors name."""
    named = getattr(lm.generation_config, "eos_token_id", None)
    named = [] if named is None else [named] if isinstance(named, int) else list(named)
    known = set(tokenizer.get_vocab().values())
    return sorted({int(tokenizer.eos_token_id), *(int(end) for end in named if end in known)})
