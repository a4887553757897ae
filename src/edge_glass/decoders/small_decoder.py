"""What the decoders that are trained from scratch share: embedding, loss, generation, files."""

from __future__ import annotations

import json
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edge_glass.core.errors import AssetError, CheckpointError, ConfigError, DataError
from edge_glass.core.labels import NOT_TRAINED
from edge_glass.decoders.blocks import AttentionContext, KeyValueCache, Rotary
from edge_glass.decoders.decoder import (
    DecoderOutput,
    Generation,
    GenerationSettings,
    OnToken,
    Prefix,
    check_names_and_shapes,
    join,
    join_labels,
)
from edge_glass.decoders.generation import generate, pack_right
from edge_glass.decoders.supervised_head import (
    HeadLoss,
    Supervision,
    find_supervision,
    supervised_cross_entropy,
)
from edge_glass.encoders.sources import write_record

DESCRIPTION = "decoder.json"
WEIGHTS = "decoder.safetensors"
TOKENIZER = "tokenizer"


class SmallDecoder(nn.Module, ABC):
    """A causal decoder over its own embedding, which is the LM head too.

    Embeddings enter with a mean square of 1 (rows of the table have 1 / width): the scale of the prefix.

    A subclass gives `answers` and `applications`, and sets `kind` and `config_class`.

    Args:
        tokenizer: A fast tokenizer of transformers with an end-of-text token, which also pads where there is
            no pad token.
        config: Sizes, at least `width` and `heads`.

    Raises:
        ConfigError: The tokenizer has no end token, or gaps between its ids.
    """

    prefix_first: ClassVar[bool] = True  # it starts from scratch: no token is special to it yet
    kind: ClassVar[str]
    config_class: ClassVar[type]

    def __init__(self, tokenizer: Any, config: Any) -> None:
        super().__init__()
        if tokenizer.eos_token_id is None:
            raise ConfigError("decoder: the tokenizer has no eos_token; it needs one")
        if tokenizer.pad_token_id is None:
            tokenizer.pad_token = tokenizer.eos_token  # padding is always masked, so any known id will do
        if (highest := max(tokenizer.get_vocab().values())) >= len(tokenizer):
            raise ConfigError(
                "decoder: expected a tokenizer without gaps between its ids, got "
                f"{len(tokenizer)} tokens with ids up to {highest}"
            )
        self.tokenizer = tokenizer
        self.config = config
        self.width: int = config.width
        self.vocabulary = len(tokenizer)
        self.embedding = nn.Embedding(self.vocabulary, self.width)
        nn.init.normal_(self.embedding.weight, std=self.width**-0.5)
        self.rotary = Rotary(self.width // config.heads)

    @property
    @abstractmethod
    def applications(self) -> int:
        """Return layer applications of one pass, each with keys and values of its own."""

    @abstractmethod
    def answers(self, x: Tensor, context: AttentionContext, depth: int | None = None) -> list[Tensor]:
        """Map `[B, S, D]` → what the LM head reads, `[B, S, D]`, after each depth (up to `depth`)."""

    def choose_depth(self, answers: list[Tensor]) -> Tensor:
        """Map answers `[B, D]` at the end of the prompts → `[B]` int64, the depth each row is read at."""
        return torch.full((len(answers[0]),), len(answers) - 1, device=answers[0].device)

    def further_loss(
        self, answers: list[Tensor], heads: list[HeadLoss], supervision: Supervision
    ) -> tuple[Tensor, dict[str, Tensor]] | None:
        """Return a loss beside the words, as a sum over supervised tokens, and its part of the report."""
        return None

    def embed_tokens(self, ids: Tensor) -> Tensor:
        """Map `[B, L]` int64 → `[B, L, D]`."""
        return self.embedding(ids) * math.sqrt(self.width)

    def lm_head(self, hidden: Tensor) -> Tensor:
        """Map `[..., D]` → logits `[..., V]`."""
        return F.linear(hidden, self.embedding.weight)

    def forward(self, prefix: Prefix | None, ids: Tensor, mask: Tensor, labels: Tensor) -> DecoderOutput:
        """Return the summed loss (see `Decoder.forward`), the mean over the supervised depths.

        Raises:
            ConfigError: A prefix of another width.
        """
        if not len(ids):
            return self._nothing(prefix, ids)
        x, seen = self.join(prefix, ids, mask)
        supervision = find_supervision(seen, join_labels(prefix, mask, labels))
        answers = self.answers(x, AttentionContext(seen, x.shape[1], self.rotary))
        heads = [
            supervised_cross_entropy(answer, self.lm_head, self.vocabulary, supervision) for answer in answers
        ]
        loss = torch.stack([head.loss_sum for head in heads]).mean()
        report = {"correct": heads[-1].correct.sum(), "last_loss": heads[-1].loss_sum.detach()}
        if further := self.further_loss(answers, heads, supervision):
            loss, report = loss + further[0], report | further[1]
        count = torch.tensor(len(supervision.rows), device=x.device)
        return DecoderOutput(loss, count, report)

    def supervised_logits(self, prefix: Prefix | None, ids: Tensor, mask: Tensor, labels: Tensor) -> Tensor:
        """Return logits float32 `[K, V]` at the last supervised depth (see `Decoder.supervised_logits`)."""
        x, seen = self.join(prefix, ids, mask)
        supervision = find_supervision(seen, join_labels(prefix, mask, labels))
        hidden = self.answers(x, AttentionContext(seen, x.shape[1], self.rotary))[-1]
        return self.lm_head(hidden[supervision.rows, supervision.positions]).float()

    def _nothing(self, prefix: Prefix | None, ids: Tensor) -> DecoderOutput:
        """Return a loss of zero for no rows: such a rank takes part in averaging gradients and reports."""
        pad = torch.full((1, 1), self.tokenizer.pad_token_id, device=ids.device)
        output = self(None, pad, pad == pad, torch.full_like(pad, NOT_TRAINED))
        return output if prefix is None else output._replace(loss_sum=output.loss_sum + prefix.tokens.sum())

    def join(self, prefix: Prefix | None, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Join prefix and words to one sequence: `[B, P + L, D]` and its mask."""
        words, mask = self.embed_tokens(ids), mask.bool()
        if prefix is None:
            return words, mask
        if prefix.tokens.shape[-1] != self.width or len(prefix.tokens) != len(ids):
            found, expected = tuple(prefix.tokens.shape), f"({len(ids)}, any, {self.width})"
            raise ConfigError(f"decoder: expected a prefix of the shape {expected}, got {found}")
        tokens = prefix.tokens.masked_fill(~prefix.mask.unsqueeze(-1), 0.0)  # zero times NaN would be NaN
        return join(prefix._replace(tokens=tokens), words, mask)

    def generate(
        self,
        prefix: Prefix | None,
        ids: Tensor,
        mask: Tensor,
        settings: GenerationSettings,
        on_token: OnToken | None = None,
        cached: bool = True,
    ) -> Generation:
        """Write answers to a batch of prompts (see `Decoder.generate`).

        Args:
            prefix: `[B, P, D]`, or None.
            ids: `[B, L]` int64; padding may stand anywhere.
            mask: `[B, L]` bool.
            settings: How words are chosen.
            on_token: Called with (row, token) for every token chosen.
            cached: False computes everything anew for every word, to compare with.

        Raises:
            DataError: A row has neither a prefix nor a word.
        """
        steps = DecoderSteps(self, prefix, ids, mask, settings.max_new_tokens, cached)
        end = settings.end_for(self.tokenizer)
        return generate(steps, settings, end, self.tokenizer.pad_token_id, on_token)

    def trainable_state_dict(self) -> dict[str, Tensor]:
        """Return all tensors but frozen parameters; the fixed starting states of a recursion too."""
        frozen = {name for name, parameter in self.named_parameters() if not parameter.requires_grad}
        return {name: tensor for name, tensor in self.state_dict().items() if name not in frozen}

    def load_trainable_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Load exactly what `trainable_state_dict` gave.

        Raises:
            CheckpointError: A tensor is missing, unknown or of another shape; nothing was loaded then.
        """
        check_names_and_shapes(self.trainable_state_dict(), state, f"{self.kind} decoder")
        self.load_state_dict(dict(state), strict=False)

    def save(self, folder: str | Path) -> None:
        """Write everything that `load` needs: sizes, weights, tokenizer."""
        from safetensors.torch import save_file

        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self.tokenizer.save_pretrained(folder / TOKENIZER)
        save_file({k: v.detach().cpu().contiguous() for k, v in self.state_dict().items()}, folder / WEIGHTS)
        write_record(
            folder / DESCRIPTION,
            {
                "format": 1,
                "kind": self.kind,
                "vocabulary": self.vocabulary,
                "config": self.config.model_dump(),
            },
        )

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Read what `save` wrote.

        Raises:
            AssetError: The folder is no saved decoder of this kind.
            CheckpointError: The weights do not fit, or cannot be read.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file
        from transformers import PreTrainedTokenizerFast

        folder = Path(folder)
        try:
            record = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
            if record["kind"] != cls.kind:
                raise AssetError(f"{folder}: expected a {cls.kind} decoder, got a {record['kind']} decoder")
            config = cls.config_class(**record["config"])
            tokenizer = PreTrainedTokenizerFast.from_pretrained(folder / TOKENIZER)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise AssetError(f"{folder} is no saved decoder ({error})") from error
        decoder = cls(tokenizer, config)
        if decoder.vocabulary != record["vocabulary"]:
            raise CheckpointError(
                f"{folder}: expected a tokenizer of {record['vocabulary']} tokens, got {decoder.vocabulary}"
            )
        try:
            state = load_file(folder / WEIGHTS)
        except (OSError, SafetensorError) as error:
            raise CheckpointError(f"{folder / WEIGHTS} cannot be read ({error})") from error
        check_names_and_shapes(decoder.state_dict(), state, str(folder / WEIGHTS))
        decoder.load_state_dict(state)
        return decoder


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
        context = AttentionContext(self.mask, length, decoder.rotary, self.cache)
        ends = [answer[:, -1] for answer in decoder.answers(self.x, context)]
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
        context = AttentionContext(self.mask, new.shape[1], self.decoder.rotary, self.cache)
        answers = self.decoder.answers(new, context, depth=int(self.depth.max()) + 1)
        if self.cache is not None:
            self.cache.length += 1
        return self._read([answer[:, -1] for answer in answers])

    def reorder(self, rows: Tensor) -> None:
        """Continue row i as row `rows[i]` was; there may be more rows afterwards, or fewer."""
        self.x, self.mask, self.depth = self.x[rows], self.mask[rows], self.depth[rows]
        if self.cache is not None:
            self.cache.reorder(rows)

    def _read(self, answers: list[Tensor]) -> Tensor:
        """Map answers `[B, D]` after each depth → logits of each row's own depth."""
        row = torch.arange(len(self.depth), device=self.depth.device)
        return self.decoder.lm_head(torch.stack(answers)[self.depth, row])
