from __future__ import annotations

import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers_in_code import byte_tokenizer

from edge_glass.core.errors import ConfigError, DataError
from edge_glass.data.conversations import BadConversation, Turn
from edge_glass.data.labels import (
    NOT_TRAINED,
    ConversationTokenizer,
    TooLong,
    check_labels,
    tokenize_conversation,
)

ASK = (Turn("user", "what color is the shape?"), Turn("assistant", "it is blue."))
MORE = (*ASK, Turn("user", "is there a red circle?"), Turn("assistant", "no"))


@pytest.fixture(scope="module")
def chat() -> ConversationTokenizer:
    return ConversationTokenizer(byte_tokenizer())


@pytest.fixture(scope="module")
def plain() -> ConversationTokenizer:
    return ConversationTokenizer(byte_tokenizer(None, eos_token="<eos>", pad_token="<pad>"))


def stretches(tokens) -> list[list[int]]:
    """The labels that stand together."""
    found, before = [], NOT_TRAINED
    for label in tokens.labels.tolist():
        if label != NOT_TRAINED:
            found += [[]] if before == NOT_TRAINED else []
            found[-1].append(label)
        before = label
    return found


def test_the_answer_and_its_end_are_trained_and_nothing_else(chat):
    tokens = chat(ASK)
    decode = chat.tokenizer.decode
    assert [decode(part) for part in stretches(tokens)] == ["it is blue.<|im_end|>"]
    assert decode(tokens.ids[: tokens.prompt]) == (
        "<|im_start|>system\nYou help.<|im_end|>\n<|im_start|>user\nwhat color is the shape?<|im_end|>\n"
        "<|im_start|>assistant\n"
    )
    assert chat.end == chat.tokenizer.pad_token_id  # and is trained all the same


def test_pictures_stand_where_the_user_first_speaks(chat, plain):
    """Behind the system prompt and the marker of the turn; the first token stays what it was in training."""
    decode = chat.tokenizer.decode
    for turns in (ASK, MORE):
        tokens = chat(turns)
        before, behind = decode(tokens.ids[: tokens.opening]), decode(tokens.ids[tokens.opening :])
        assert before.endswith("<|im_start|>user\n") and behind.startswith("what color is the shape?")
        assert chat.opening(turns[:-1]) == tokens.opening > 0
    assert plain(ASK).opening == 0


def test_a_template_that_drops_what_the_user_says(chat):
    deaf = ConversationTokenizer(
        chat.tokenizer,
        lambda turns, assistant_next: "".join(
            f"{turn.text}<|im_end|>" for turn in turns if turn.role == "assistant"
        ),
    )
    with pytest.raises(ConfigError, match="does not write what the user says"):
        deaf.opening(ASK)


def test_every_answer_of_a_conversation_is_trained(chat):
    tokens = chat(MORE)
    parts = [chat.tokenizer.decode(part) for part in stretches(tokens)]
    assert parts == ["it is blue.<|im_end|>", "no<|im_end|>"]
    whole = chat.tokenizer.apply_chat_template([{"role": r, "content": t} for r, t in MORE], tokenize=False)
    assert chat.tokenizer.decode(tokens.ids) == whole.removesuffix("\n")
    assert tokens.answer == len(chat.tokenizer("it is blue.")["input_ids"]) + 1
    assert tokens.question == len(chat.tokenizer("what color is the shape?")["input_ids"])


words = st.text(st.sampled_from("abc \n.?é日"), min_size=1, max_size=12).map(str.strip).filter(bool)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(words, words), min_size=1, max_size=3), st.booleans())
def test_the_prompt_of_training_is_the_prompt_of_generation(chat, plain, exchanges, use_chat):
    tokenizer = chat if use_chat else plain
    turns = [
        Turn(role, text) for pair in exchanges for role, text in zip(("user", "assistant"), pair, strict=True)
    ]
    tokens = tokenizer(turns)
    assert torch.equal(tokens.ids[: tokens.prompt], tokenizer.prompt(turns[:-1]))
    batch = {
        "input_ids": tokens.ids[None],
        "labels": tokens.labels[None],
        "attention_mask": torch.ones(1, len(tokens.ids)) > 0,
    }
    check_labels(batch, tokenizer.end, tokenizer.special)
    said = [tokenizer.tokenizer.decode(part[:-1]).strip() for part in stretches(tokens)]
    assert said == [answer for _, answer in exchanges]


def test_without_a_chat_template_a_plain_one_is_used(plain):
    tokens = plain(ASK)
    assert plain.tokenizer.decode(tokens.ids) == "User: what color is the shape?\nAssistant: it is blue.<eos>"
    assert plain.tokenizer.decode(stretches(tokens)[0]) == " it is blue.<eos>"
    assert plain.end == plain.tokenizer.eos_token_id


def test_a_template_without_an_end_token_gets_one():
    template = "{% for m in messages %}{{ m['role'] + ':' + m['content'] + '\n' }}{% endfor %}"
    template += "{% if add_generation_prompt %}{{ 'assistant:' }}{% endif %}"
    tokenizer = ConversationTokenizer(byte_tokenizer(template))
    tokens = tokenizer(MORE)
    assert [part[-1] for part in stretches(tokens)] == [tokenizer.tokenizer.eos_token_id] * 2


def test_what_cannot_end_is_refused():
    with pytest.raises(ConfigError, match="neither a chat template nor an eos_token"):
        ConversationTokenizer(byte_tokenizer(None, pad_token="<pad>"))
    template = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
    with pytest.raises(ConfigError, match="nothing ends an answer"):
        ConversationTokenizer(byte_tokenizer(template, pad_token="<pad>"))


def test_a_template_that_writes_earlier_turns_anew_is_refused():
    template = (
        "{% for m in messages %}{{ m['role'] }}{% if loop.last %} last{% endif %}:"
        "{{ m['content'] }}<|im_end|>{% endfor %}"
        "{% if add_generation_prompt %}{{ 'assistant last:' }}{% endif %}"
    )
    with pytest.raises(ConfigError, match="before answer 1 in another way"):
        ConversationTokenizer(byte_tokenizer(template))(ASK)


THINKING = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' }}"
    "{% if m['role'] == 'assistant' and loop.last %}{{ '<think>\n\n</think>\n\n' }}{% endif %}"
    "{{ m['content'] + '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|im_start|>assistant\n' }}"
    "{% if not enable_thinking %}{{ '<think>\n\n</think>\n\n' }}{% endif %}{% endif %}"
)


def test_empty_thoughts_of_a_template_belong_to_the_prompt():
    """As Qwen3 has it: they stand before the last answer only, so further answers cannot be trained."""
    tokenizer = ConversationTokenizer(byte_tokenizer(THINKING))
    tokens = tokenizer(ASK)
    assert tokenizer.tokenizer.decode(stretches(tokens)[0]) == "it is blue.<|im_end|>"
    assert tokenizer.tokenizer.decode(tokens.ids[: tokens.prompt]).endswith("<think>\n\n</think>\n\n")
    with pytest.raises(ConfigError, match="before answer 2 in another way"):
        tokenizer(MORE)


def test_a_template_with_an_error_says_so():
    with pytest.raises(ConfigError, match=r"chat template cannot be used .*no such luck"):
        ConversationTokenizer(byte_tokenizer("{{ raise_exception('no such luck') }}"))


def test_special_tokens_within_the_words_are_refused(chat):
    with pytest.raises(BadConversation, match=r"what the user says holds the special token '<\|im_end\|>'"):
        chat((Turn("user", "why <|im_end|>?"), ASK[1]))
    with pytest.raises(BadConversation, match="what the user says holds"):
        chat.prompt([Turn("user", "<|im_start|>system")])


def test_nothing_is_cut(chat):
    tokens = chat(ASK)
    fits = tokenize_conversation(chat, ASK, tokens.question, tokens.answer)
    assert torch.equal(fits.ids, tokens.ids)
    with pytest.raises(
        TooLong, match=f"the answer has {tokens.answer} tokens; {tokens.answer - 1} are allowed"
    ):
        tokenize_conversation(chat, ASK, 999, tokens.answer - 1)
    with pytest.raises(TooLong, match="the question has"):
        tokenize_conversation(chat.tokenizer, ASK, tokens.question - 1, 999)


def test_it_travels_to_other_processes(chat):
    assert torch.equal(pickle.loads(pickle.dumps(chat))(ASK).ids, chat(ASK).ids)


IDS = torch.tensor([[5, 6, 7, 2, 0], [5, 8, 2, 0, 0]])


def batch(labels: list[list[int]]) -> dict[str, torch.Tensor]:
    lengths = torch.tensor([[4], [3]])
    return {
        "input_ids": IDS,
        "labels": torch.tensor(labels),
        "attention_mask": torch.arange(5)[None] < lengths,
    }


def test_right_labels_pass():
    check_labels(batch([[-100, -100, 7, 2, -100], [-100, 8, 2, -100, -100]]), end=2, special=(0, 2, 5))


@pytest.mark.parametrize(
    ("second", "fault"),
    [
        ([-100, -100, -100, -100, -100], "has nothing to learn"),
        ([-100, 8, 2, 0, -100], "has labels on padding"),
        ([-100, 7, 2, -100, -100], "has labels that are not the ids"),
        ([5, 8, 2, -100, -100], "has labels on special tokens"),
        ([-100, 8, -100, -100, -100], "has an answer whose end token has no label"),
    ],
)
def test_wrong_labels_are_named(second, fault):
    wrong = batch([[-100, -100, 7, 2, -100], second])
    with pytest.raises(DataError, match=f"row b of the batch {fault}"):
        check_labels(wrong, end=2, special=(0, 2, 5), names=["a", "b"])


@pytest.mark.weights
def test_smollm2_learns_to_stop():
    from transformers import AutoTokenizer

    from edge_glass import assets

    folder = assets.fetch("smollm2-135m-instruct")
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file="SmolLM2-135M-Instruct.Q4_1.gguf")
    tokens = ConversationTokenizer(tokenizer)(MORE)
    parts = [tokenizer.decode(part) for part in stretches(tokens)]
    assert parts == ["it is blue.<|im_end|>", "no<|im_end|>"]
