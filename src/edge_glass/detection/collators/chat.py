"""What the chat template writes, as text and as tokens, and which tokens stand for pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from edge_glass.core.errors import ConfigError
from edge_glass.detection.data.conversations import Conversation
from edge_glass.vlm.family import family_of

_KEPT: Final = 4096  # tokenised prompts that are kept


def picture_tokens(processor: Any) -> Tensor:
    """Return the ids, int64 `[n]`, of what stands for pictures and around them; no model writes them."""
    return torch.tensor(_ids_of(processor, family_of(processor).picture_tokens))


def end_of_turn(processor: Any) -> int:
    """Id of the token that ends an answer; generation stops at it."""
    return _ids_of(processor, (family_of(processor).end_of_turn,))[0]


def process_conversations(
    processor: Any, conversations: Sequence[Conversation], prompts: bool = False
) -> dict[str, Tensor]:
    """The plain way from conversations with pictures to a batch: the processor does everything.

    It writes the text with the chat template, resizes the pictures and cuts them into patches, puts as many
    `<|image_pad|>` into the text as the model makes of each, tokenises, and pads: to the right to train, to
    the left for prompts, so that what is generated follows directly. Nothing is ever truncated: a cut within
    the picture's tokens would leave pixels without a place.

    Returns: `input_ids`, `attention_mask`, `mm_token_type_ids` int64 `[B, L]`, `pixel_values` float
        `[patches, D]` and `image_grid_thw` int64 `[B, 3]`.
    """
    batch = processor.apply_chat_template(
        conversations,
        add_generation_prompt=prompts,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
        processor_kwargs={
            "padding": True,
            "padding_side": "left" if prompts else "right",
            "truncation": False,
            "add_special_tokens": False,
        },
        **family_of(processor).template_options,
    )
    return dict(batch)


class Prompt(NamedTuple):
    """What stands before an answer, up to where the model would begin to write.

    Attributes:
        text: As the chat template writes it.
        ids: Its tokens, with one `<|image_pad|>` where the picture's tokens belong.
        picture: Where in `ids` that is.
    """

    text: str
    ids: list[int]
    picture: int

    def length(self, picture_tokens: int) -> int:
        """Tokens of the prompt once the picture has its own."""
        return len(self.ids) - 1 + picture_tokens


def read_prompt(processor: Any, conversation: Conversation) -> Prompt:
    """The prompt of a conversation, with or without its answer; rendered and tokenised once per distinct
    text.

    Raises:
        ConfigError: The chat template writes no place, or several, for the one picture.
    """
    asked = conversation[:-1] if conversation[-1]["role"] == "assistant" else conversation
    key = (processor.chat_template, *((t["role"], *(p.get("text") for p in t["content"])) for t in asked))
    known = _PROMPTS.setdefault(processor, {})
    if key not in known:
        if len(known) >= _KEPT:
            known.clear()
        known[key] = _read_prompt(processor, asked)
    return known[key]


_PROMPTS: WeakKeyDictionary[Any, dict[tuple[Any, ...], Prompt]] = WeakKeyDictionary()


def _read_prompt(processor: Any, asked: Conversation) -> Prompt:
    text = render(processor, asked, add_generation_prompt=True)
    ids = tokenize(processor, [text])[0]
    if ids.count(processor.image_token_id) != 1:
        raise ConfigError(
            f"the chat template writes {ids.count(processor.image_token_id)} places for the one picture of a "
            f"conversation: {text[:200]!r}"
        )
    return Prompt(text, ids, ids.index(processor.image_token_id))


def render(processor: Any, conversation: Conversation, **options: Any) -> str:
    """Return a conversation as the chat template writes it, with one token in place of each picture's."""
    options = {**family_of(processor).template_options, **options}
    return str(processor.apply_chat_template(conversation, tokenize=False, **options))


def tokenize(processor: Any, texts: Sequence[str]) -> list[list[int]]:
    """Ids of each text, whole and without additions."""
    if not texts:
        return []
    return processor.tokenizer(list(texts), add_special_tokens=False, truncation=False)["input_ids"]


def _ids_of(processor: Any, names: Sequence[str]) -> list[int]:
    tokenizer = processor.tokenizer
    ids = tokenizer.convert_tokens_to_ids(list(names))
    if missing := [
        name for name, number in zip(names, ids, strict=True) if number in (None, tokenizer.unk_token_id)
    ]:
        raise ConfigError(f"the tokenizer has no {', '.join(missing)}; it belongs to another processor")
    return ids
