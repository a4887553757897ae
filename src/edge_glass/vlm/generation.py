"""Answers of a vision-language model, word by word with a KV cache, and how sure it was of each word.

The words are chosen as everywhere in this package (`edge_glass.decoders.generation`), so that an answer is a
function of its row and the seed; greedy answers are those of transformers' own `generate`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from edge_glass.core.errors import ConfigError
from edge_glass.decoders.decoder import GenerationSettings, OnToken
from edge_glass.decoders.generation import generate
from edge_glass.decoders.pretrained import cast_head, only_writable, stop_ids
from edge_glass.vlm.inputs import inner_inputs, rope_positions


class Written(NamedTuple):
    """What was written for each row.

    Attributes:
        tokens: Ids of each answer, without the prompt and without the end token.
        ended: Whether the end token came before `max_new_tokens` ran out.
        log_probs: Of each of the tokens, the logarithm of the probability that the model gave it (before any
            temperature).
    """

    tokens: list[list[int]]
    ended: list[bool]
    log_probs: list[list[float]]


def write(
    vlm: Any,
    batch: Mapping[str, Any],
    known: Tensor,
    tokenizer: Any,
    settings: GenerationSettings,
    on_token: OnToken | None = None,
) -> Written:
    """Write an answer to every prompt of a batch; see `DetectionModel.generate`."""
    if settings.num_beams > 1:
        raise ConfigError(
            f"generation: num_beams: expected 1, got {settings.num_beams}; boxes are scored by words that "
            "were chosen one after another"
        )
    steps = VlmSteps(vlm, batch, known, [settings.end_for(tokenizer), *stop_ids(vlm, tokenizer)])
    log_probs: list[list[float]] = [[] for _ in batch["input_ids"]]

    def noted(row: int, token: int) -> None:
        log_probs[row].append(steps.log_prob(row, token))
        if on_token is not None:
            on_token(row, token)

    tokens, ended = generate(steps, settings, steps.ends[0], int(tokenizer.pad_token_id), noted)
    return Written(tokens, ended, log_probs)


class VlmSteps:
    """A batch of prompts that grows word by word (`generation.Steps`).

    Args:
        vlm: A Qwen vision-language model of transformers.
        batch: Prompts, as for `DetectionModel.generate`.
        known: `[V]` bool; the other ids are never written.
        ends: Tokens that end an answer. The first stands for all of them: the others are never written.
    """

    def __init__(self, vlm: Any, batch: Mapping[str, Any], known: Tensor, ends: Sequence[int]) -> None:
        self.vlm = vlm
        self.batch = _padded_left(batch)
        self.mask = self.batch["attention_mask"].long()
        self.ends = list(dict.fromkeys(ends))
        self.forbidden = ~known
        self.head = cast_head(vlm.get_output_embeddings(), known.device.type)
        self.cache: Any = None
        self.rows = list(range(len(self.mask)))  # the prompt that each running row began with
        self.log_probs: Tensor | None = None
        self.logits: Tensor | None = None

    def start(self) -> Tensor:
        """Read the prompts; the logits of the first word, `[B, V]`."""
        if not self.rows:
            return self.mask.new_zeros((0, len(self.forbidden)), dtype=torch.float32)
        positions, deltas = rope_positions(self.vlm, self.batch)
        self.next = self.mask.sum(dim=1, keepdim=True) + deltas  # position of the next word, [B, 1]
        return self._run(inner_inputs(self.batch, positions))

    def step(self, tokens: Tensor) -> Tensor:
        """Append `tokens` `[B]`; the logits of the next word, `[B, V]`."""
        self.mask = F.pad(self.mask, (0, 1), value=1)
        positions = self.next.expand(3, -1, -1)
        self.next = self.next + 1
        return self._run(
            {"input_ids": tokens[:, None], "attention_mask": self.mask, "position_ids": positions}
        )

    def reorder(self, rows: Tensor) -> None:
        """Continue row i as row `rows[i]` was; there may be more rows afterwards, or fewer."""
        self.mask, self.next = self.mask[rows], self.next[rows]
        self.rows = [self.rows[row] for row in rows.tolist()]
        self.cache.reorder_cache(rows)

    def log_prob(self, row: int, token: int) -> float:
        """Return the log-probability of a token as the newest word of a prompt's answer.

        One step's logits are kept at a time.
        """
        if self.log_probs is None:
            assert self.logits is not None
            self.log_probs = self.logits.log_softmax(dim=-1)
        return float(self.log_probs[self.rows.index(row), token])

    def _run(self, inputs: Mapping[str, Tensor]) -> Tensor:
        output = self.vlm.model(**inputs, past_key_values=self.cache, use_cache=True)
        self.cache = output.past_key_values
        logits = self.head(output.last_hidden_state[:, -1]).float()
        self.logits, self.log_probs = only_writable(logits, self.forbidden, self.ends), None
        return self.logits


def _padded_left(batch: Mapping[str, Any]) -> dict[str, Any]:
    """Move all padding to the left, so that all rows are continued at the same place."""
    mask = batch["attention_mask"].long()
    order = torch.argsort(mask, dim=1, stable=True)
    moved = {
        name: batch[name].gather(1, order)
        for name in ("input_ids", "attention_mask", "mm_token_type_ids")
        if name in batch
    }
    return {**batch, **moved}
