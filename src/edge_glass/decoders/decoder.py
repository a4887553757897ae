"""What every decoder is: a prefix of features and words in, as one sequence; loss or words out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol, Self, TypeAlias

import torch
from pydantic import Field, model_validator
from torch import Tensor

from edge_glass.config.options import Options
from edge_glass.config.sections.answers import DECODERS
from edge_glass.config.sections.large_models import WritingOptions
from edge_glass.core.errors import CheckpointError, ConfigError
from edge_glass.core.labels import NOT_TRAINED
from edge_glass.decoders.tokenizers import load_tokenizer
from edge_glass.encoders.features import TokenFeatures

OnToken = Callable[[int, int], None]  # row, token id


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


class DecoderOutput(NamedTuple):
    """The loss of a batch, to be divided by the count of the whole accumulated, all-rank batch.

    Attributes:
        loss_sum: Scalar float32, the SUM over supervised tokens; zero, with a graph, when there are none.
        count: Scalar int64, the supervised tokens.
        report: Detached scalars, sums over supervised tokens too (`correct`: best guesses that are right).
    """

    loss_sum: Tensor
    count: Tensor  # type: ignore[assignment]  # tuple.count is of no use here
    report: dict[str, Tensor]


class Generation(NamedTuple):
    """What was written for each row.

    Attributes:
        tokens: Token ids of each answer, without the prompt and without the end token.
        ended: Whether the end token came before `max_new_tokens` ran out.
    """

    tokens: list[list[int]]
    ended: list[bool]


class GenerationSettings(Options, WritingOptions):
    """How words are chosen; the default is greedy.

    `num_beams` is beam search over so many hypotheses; the answer with the best mean log-probability per
    token wins. In sampling, `temperature` below 1 is more careful, and `top_p` leaves the smallest set of
    tokens with this much probability.

    Raises:
        ConfigError: A value out of range, or sampling with beams.
    """

    noun: ClassVar[str] = "generation"

    max_new_tokens: int = Field(32, ge=1, description="Longest answer in tokens, the end token counted.")
    seed: int = Field(
        0, description="Of the sampling. All rows draw the same numbers: none depends on the rows beside it."
    )
    end: int | None = Field(
        None,
        ge=0,
        description="Id of the token that ends an answer, as conversations are written; null is the "
        "tokenizer's end-of-text token. Chat templates often end answers with another one.",
    )

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.do_sample and self.num_beams > 1:
            raise ValueError(f"expected do_sample or beams, got do_sample with num_beams {self.num_beams}")
        return self

    def end_for(self, tokenizer: Any) -> int:
        """Return the id that ends an answer written with this tokenizer.

        Raises:
            ConfigError: The tokenizer has no token of this id.
        """
        if self.end is None:
            return int(tokenizer.eos_token_id)
        if tokenizer.convert_ids_to_tokens(self.end) is None:
            raise ConfigError(
                f"generation: end: expected the id of a token, got {self.end}; the tokenizer has "
                f"{len(tokenizer)}"
            )
        return self.end


class Decoder(Protocol):
    """A language model that reads a prefix of features before its words. Implementations are `nn.Module`s.

    Attributes:
        width: Numbers per token embedding, which is the width of the prefix too.
        vocabulary: Rows of the LM head, at least the tokens of the tokenizer.
        tokenizer: A fast tokenizer of transformers with pad and end-of-text ids.
        prefix_first: Whether the prefix stands before all text, and not within it (see `PlacedPrefix`).
    """

    prefix_first: ClassVar[bool]
    width: int
    vocabulary: int
    tokenizer: Any

    def embed_tokens(self, ids: Tensor) -> Tensor:
        """Map `[B, L]` int64 → `[B, L, width]`, as the decoder reads them."""
        ...

    def forward(self, prefix: Prefix | None, ids: Tensor, mask: Tensor, labels: Tensor) -> DecoderOutput:
        """Return the loss of a batch; positions count real tokens only.

        Args:
            prefix: `[B, P, width]` at the scale of `embed_tokens`, with its mask, before the text or inside
                of it; None for text alone.
            ids: `[B, L]` int64, right-padded.
            mask: `[B, L]` bool, True at real tokens.
            labels: `[B, L]` int64, the id where a token is trained, else -100. NOT shifted: a label stands at
                its own token, and is predicted from the real token before it. The first real token of a row
                without a prefix has none before it and is never trained.
        """
        ...

    def generate(
        self,
        prefix: Prefix | None,
        ids: Tensor,
        mask: Tensor,
        settings: GenerationSettings,
        on_token: OnToken | None = None,
    ) -> Generation:
        """Write answers to a batch of prompts, each the same as if it were alone.

        Args:
            prefix: As in `forward`.
            ids: `[B, L]` int64 prompts, left-padded.
            mask: `[B, L]` bool.
            settings: How words are chosen.
            on_token: Called with (row, token) as soon as a token is chosen, the end token left out; not
                with beams, which change their mind.
        """
        ...

    def supervised_logits(self, prefix: Prefix | None, ids: Tensor, mask: Tensor, labels: Tensor) -> Tensor:
        """Return logits float32 `[K, V]` that predict the K supervised tokens; arguments as of `forward`."""
        ...

    def trainable_state_dict(self) -> dict[str, Tensor]:
        """Return tensors that training changes, and any they make no sense without; no frozen parts."""
        ...

    def load_trainable_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Load what `trainable_state_dict` gave.

        Raises:
            CheckpointError: A tensor is missing, unknown or of another shape; nothing was loaded then.
        """
        ...


def join(prefix: Prefix | None, words: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Join prefix and words to one sequence.

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
    """Map labels `[B, L]` of the words → of the joined sequence `[B, P + L]`; a prefix is never trained."""
    if prefix is None:
        return labels
    places = prefix.mask.shape
    joined = torch.cat([labels.new_full(places, NOT_TRAINED), labels], dim=1)
    order = _order(prefix, mask)
    return joined if order is None else joined.gather(1, order)


def _order(prefix: Prefix, mask: Tensor) -> Tensor | None:
    """Return which of prefix + words stands at each place, int64 `[B, P + L]`; None for as they come."""
    if not isinstance(prefix, PlacedPrefix) or not mask.shape[1]:
        return None
    count = prefix.tokens.shape[1]
    start = (mask.long().argmax(dim=1) + prefix.opening)[:, None]
    place = torch.arange(count + mask.shape[1], device=mask.device)
    behind = torch.where(place < start + count, place - start, place)
    return torch.where(place < start, place + count, behind)


class DecoderKind(ABC):
    """One value of `decoder.kind`. Each module of `DECODERS` defines one as `KIND`.

    Attributes:
        pretrained: It brings a tokenizer of its own, and is not trained from scratch.
    """

    pretrained: ClassVar[bool] = False

    @abstractmethod
    def build(self, config: Any, tokenizer: Any) -> Decoder:
        """Return the decoder of an experiment as training finds it, a function of `config.seed`.

        Args:
            config: An experiment of the instruction task: its sections decoder, seed and tiny.
            tokenizer: Of transformers; None where the decoder brings its own.

        Raises:
            ConfigError: Settings that do not fit.
            AssetError: Its weights cannot be loaded.
        """

    def save(self, decoder: Decoder, folder: Path) -> None:
        """Write what `load` needs beside the tensors that training changed: the tokenizer."""
        decoder.tokenizer.save_pretrained(folder)

    def load(self, config: Any, folder: Path) -> Decoder:
        """Rebuild the decoder of a finished model; its trained tensors are loaded afterwards.

        Args:
            config: The experiment it was trained with.
            folder: That `save` wrote into.

        Raises:
            AssetError: The folder holds no tokenizer.
        """
        return self.build(config, load_tokenizer(folder))


def decoder_kind(name: str) -> DecoderKind:
    """Return the decoder of this name.

    Raises:
        ConfigError: There is none; those that there are get named.
    """
    kind: DecoderKind = DECODERS.load(name).KIND
    return kind


def check_names_and_shapes(expected: Mapping[str, Tensor], given: Mapping[str, Tensor], what: str) -> None:
    """Refuse a state that is not exactly the expected one.

    Raises:
        CheckpointError: A tensor is missing, unknown or of another shape; the first one is named.
    """
    missing, unknown = sorted(expected.keys() - given.keys()), sorted(given.keys() - expected.keys())
    if missing or unknown:
        parts = [
            f"{len(names)} {word} (such as {names[0]!r})"
            for names, word in ((missing, "missing"), (unknown, "unknown"))
            if names
        ]
        raise CheckpointError(f"{what}: tensors {' and '.join(parts)}; the checkpoint is of another model")
    for name, tensor in expected.items():
        if tensor.shape != given[name].shape:
            shapes = f"the shape {tuple(tensor.shape)}, got {tuple(given[name].shape)}"
            raise CheckpointError(f"{what}: expected {name!r} with {shapes}")
