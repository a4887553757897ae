"""A BPE of one's own: no text is unknown, the same texts give the same tokenizer, prompts are prefixes."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_glass.core.errors import AssetError, ConfigError, DataError
from edge_glass.decoders.tokenizers import (
    SMALLEST,
    SPECIAL_TOKENS,
    load_tokenizer,
    tiny_tokenizer,
    train_tokenizer,
)

TEXTS = [f"what {a} is the {b}?" for a in ("color", "shape") for b in ("triangle", "circle", "image")] * 2
TURNS = [
    {"role": "user", "content": "what color is the circle?"},
    {"role": "assistant", "content": "red"},
    {"role": "user", "content": " and the triangle?  "},
    {"role": "assistant", "content": "blue"},
]


@settings(max_examples=100, deadline=None)
@given(text=st.text())
def test_every_text_comes_back(text: str) -> None:
    for tokenizer in TOKENIZERS:
        for special in SPECIAL_TOKENS:
            text = text.replace(special, "")
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        assert tokenizer.decode(ids) == text
        assert all(index >= len(SPECIAL_TOKENS) for index in ids)


TOKENIZERS = (tiny_tokenizer(), train_tokenizer(TEXTS, 290))


def test_training_merges_what_is_frequent_and_keeps_to_its_size() -> None:
    assert len(train_tokenizer(TEXTS, 290)) == 290
    assert len(train_tokenizer(TEXTS, 5000)) < 400
    texts = ("what color is the triangle?", "what shape is the image?")
    lengths = [sum(len(t(text)["input_ids"]) for text in texts) for t in TOKENIZERS]
    assert lengths[1] < lengths[0] / 3
    large = train_tokenizer(TEXTS, 5000)
    assert len(large("what color is the triangle?")["input_ids"]) == 6


def test_ids_of_the_markers() -> None:
    for tokenizer in TOKENIZERS:
        assert tokenizer.convert_tokens_to_ids(list(SPECIAL_TOKENS)) == [0, 1, 2, 3, 4]
        assert (tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id) == (0, 1, 2)
        assert tokenizer("red")["input_ids"] == tokenizer("red", add_special_tokens=False)["input_ids"]


def test_the_same_whatever_the_order_and_the_process() -> None:
    """Many pairs of letters are equally frequent here."""
    letters = random.Random(0)
    texts = [" ".join("".join(letters.choices("abcdef", k=4)) for _ in range(6)) for _ in range(300)]
    mixed = letters.sample(texts, len(texts))
    expected = train_tokenizer(texts, 600).backend_tokenizer.to_str()
    assert train_tokenizer(iter(mixed), 600).backend_tokenizer.to_str() == expected
    code = (
        "import sys; from edge_glass.decoders.tokenizers import train_tokenizer;"
        f"sys.stdout.write(train_tokenizer({mixed!r}, 600).backend_tokenizer.to_str())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.stdout == expected, done.stderr


def test_the_chat_template() -> None:
    for tokenizer in TOKENIZERS:
        text = tokenizer.apply_chat_template(TURNS, tokenize=False)
        assert text == (
            "<|begin|><|user|>what color is the circle?<|assistant|>red<|end|>"
            "<|user|> and the triangle?  <|assistant|>blue<|end|>"
        )
        whole = tokenizer.apply_chat_template(TURNS)["input_ids"]
        for turns in (1, 3):
            prompt = tokenizer.apply_chat_template(TURNS[:turns], add_generation_prompt=True)["input_ids"]
            assert whole[: len(prompt)] == prompt
        encoded = tokenizer.apply_chat_template(TURNS, return_dict=True, return_assistant_tokens_mask=True)
        trained = [i for i, on in zip(whole, encoded["assistant_masks"], strict=True) if on]
        assert tokenizer.decode(trained) == "red<|end|>blue<|end|>"
        with pytest.raises(Exception, match="expected the role system, user or assistant, got tool"):
            tokenizer.apply_chat_template([{"role": "tool", "content": "x"}])


def test_saved_and_loaded(tmp_path: Path) -> None:
    tokenizer = TOKENIZERS[1]
    tokenizer.save_pretrained(tmp_path)
    again = load_tokenizer(tmp_path)
    assert again.apply_chat_template(TURNS) == tokenizer.apply_chat_template(TURNS)
    assert again.backend_tokenizer.to_str() == tokenizer.backend_tokenizer.to_str()
    assert (again.pad_token_id, again.eos_token_id, len(again)) == (0, 2, 290)


def test_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"vocabulary: expected {SMALLEST} or more, got 100"):
        train_tokenizer(TEXTS, 100)
    with pytest.raises(DataError, match="there is no text"):
        train_tokenizer(["", ""])
    with pytest.raises(AssetError, match=r"tokenizer.json is missing"):
        load_tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(AssetError, match="cannot be read"):
        load_tokenizer(tmp_path)
