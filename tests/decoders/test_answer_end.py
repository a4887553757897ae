"""The token that ends an answer: that of the conversation, which need not be the tokenizer's end of text."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from edge_glass.core.errors import ConfigError, DataError
from edge_glass.data.conversations import ASSISTANT, USER, Turn
from edge_glass.data.labels import ConversationTokenizer
from edge_glass.decoders import GenerationSettings, PlainDecoder, QwenDecoder, TRMConfig, TRMDecoder
from edge_glass.decoders.causal_lm_loading import tiny_causal_lm, tiny_tokenizer
from edge_glass.decoders.kinds.plain import PlainConfig
from edge_glass.encoders.features import TokenFeatures

KINDS = ["causal_lm", "trm", "plain"]
QUESTION = [Turn(USER, "what?")]


def qwen_like_tokenizer() -> Any:
    """As Qwen's base models: the template ends answers with <|im_end|>, the end of text is another token."""
    tokenizer = tiny_tokenizer()
    tokenizer.eos_token = "<|endoftext|>"
    return tokenizer


def answering(kind: str) -> tuple[Any, ConversationTokenizer]:
    """A decoder that always says "ok" and ends the answer as its conversations do."""
    tokenizer = qwen_like_tokenizer()
    torch.manual_seed(0)
    if kind == "causal_lm":
        decoder: Any = QwenDecoder(tiny_causal_lm(0)[0], tokenizer, mode="full")
        decoder.lm.generation_config.eos_token_id = tokenizer.eos_token_id
    elif kind == "trm":
        decoder = TRMDecoder(tokenizer, TRMConfig(width=32, heads=2))
    else:
        decoder = PlainDecoder(tokenizer, PlainConfig(width=32, heads=2))
    conversations = ConversationTokenizer(tokenizer)
    tokens = conversations([*QUESTION, Turn(ASSISTANT, "ok")])
    optimizer = torch.optim.AdamW(decoder.parameters(), lr=1e-2)
    for _ in range(30):
        ids, labels = tokens.ids[None], tokens.labels[None]
        decoder(None, ids, torch.ones_like(ids).bool(), labels).loss_sum.backward()
        optimizer.step()
        optimizer.zero_grad()
    return decoder.eval(), conversations


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("beams", [1, 2])
def test_answers_end_as_conversations_do(kind: str, beams: int) -> None:
    decoder, conversations = answering(kind)
    assert conversations.end != decoder.tokenizer.eos_token_id
    ids = conversations.prompt(QUESTION)[None].repeat(2, 1)
    mask = torch.ones_like(ids).bool()
    settings = GenerationSettings(max_new_tokens=6, num_beams=beams, end=conversations.end)
    heard: list[int] = []
    answers = decoder.generate(None, ids, mask, settings, lambda row, token: heard.append(token))
    assert [decoder.tokenizer.decode(tokens) for tokens in answers.tokens] == ["ok", "ok"]
    assert answers.ended == [True, True]
    assert conversations.end not in heard
    unaware = decoder.generate(None, ids, mask, GenerationSettings(max_new_tokens=6, num_beams=beams))
    assert conversations.end in unaware.tokens[0]  # which is why it must be said


def test_a_language_model_stops_at_its_other_ends_too() -> None:
    decoder, conversations = answering("causal_lm")
    ids = conversations.prompt(QUESTION)[None]
    o, k = decoder.tokenizer("ok")["input_ids"]
    settings = GenerationSettings(max_new_tokens=6, end=conversations.end)
    decoder.lm.generation_config.eos_token_id = [k]
    answers = decoder.generate(None, ids, ids >= 0, settings)
    assert (answers.tokens, answers.ended) == ([[o]], [True])
    decoder.tokenizer.eos_token = decoder.tokenizer.convert_ids_to_tokens(o)
    answers = decoder.generate(None, ids, ids >= 0, settings)
    assert (answers.tokens, answers.ended) == ([[]], [True])


@pytest.mark.parametrize("kind", KINDS)
def test_an_end_that_is_no_token(kind: str) -> None:
    decoder, _ = answering(kind)
    ids = torch.tensor([[5]])
    with pytest.raises(ConfigError, match=r"expected the id of a token, got 5000; the tokenizer has 259"):
        decoder.generate(None, ids, ids >= 0, GenerationSettings(end=5000))
    with pytest.raises(ConfigError, match=r"end: expected a whole number of at least 0, or null, got -1"):
        GenerationSettings(end=-1)


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_of_nothing(kind: str) -> None:
    decoder, _ = answering(kind)
    ids = torch.tensor([[5, 6], [5, 6], [5, 6]])
    mask = torch.tensor([[True, True], [False, True], [False, False]])
    prefix = TokenFeatures(torch.zeros(3, 2, 32), torch.zeros(3, 2, dtype=torch.bool))
    with pytest.raises(DataError, match="row 2 has neither a prefix nor a prompt to answer"):
        decoder.generate(prefix, ids, mask, GenerationSettings())
    prefix.mask[2, 1] = True
    assert len(decoder.generate(prefix, ids, mask, GenerationSettings(max_new_tokens=1)).tokens) == 3
