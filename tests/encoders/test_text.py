"""`TextEncoder` over toy models of the real classes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import (
    BertConfig,
    BertModel,
    CLIPTextConfig,
    CLIPTextModel,
    RobertaConfig,
    RobertaModel,
    SiglipTextConfig,
    SiglipTextModel,
)

from edge_glass.core.errors import AssetError, ConfigError
from edge_glass.encoders.text import TextEncoder

TEXTS = ["a red fox jumps", "", "dog", "the quick brown fox jumps over it", "snow"]


def save_text_model(kind: str, folder: Path) -> torch.nn.Module:
    """Save a random model with the toy tokenizer in Hugging Face layout."""
    tokenizer = TextEncoder.tiny().tokenizer
    small = {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_position_embeddings": 24,
        "pad_token_id": 0,
    }
    torch.manual_seed(0)
    model = {
        "bert": lambda: BertModel(BertConfig(**small)),
        "roberta": lambda: RobertaModel(RobertaConfig(**small)),
        "clip": lambda: CLIPTextModel(CLIPTextConfig(**small, bos_token_id=2, eos_token_id=3)),
        "siglip": lambda: SiglipTextModel(SiglipTextConfig(**small, bos_token_id=2, eos_token_id=3)),
    }[kind]()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return model.eval()


def test_tokenize_pads_to_the_longest_and_caps() -> None:
    encoder = TextEncoder.tiny()
    tokenized = encoder.tokenize(["ab", ""])
    assert tokenized["input_ids"].dtype == torch.long
    assert tokenized["attention_mask"].tolist() == [[1, 1, 1, 1], [1, 1, 0, 0]]
    assert encoder.tokenize(["x" * 500])["input_ids"].shape == (1, encoder.max_length)
    assert encoder.tokenize([])["input_ids"].shape == (0, 1)


def test_empty_texts_without_special_tokens() -> None:
    from tokenizers import processors

    encoder = TextEncoder.tiny()
    encoder.tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="$A", special_tokens=[]
    )
    features = encoder.frozen_forward(["", ""])
    assert features.tokens.shape == (2, 1, encoder.width)
    assert not features.mask.any()
    assert torch.isfinite(features.tokens).all()


@pytest.mark.parametrize("kind", ["bert", "roberta", "clip", "siglip"])
def test_text_models(kind: str, tmp_path: Path) -> None:
    model = save_text_model(kind, tmp_path)
    encoder = TextEncoder.load(tmp_path)
    limit = 23 if kind == "roberta" else 24  # RoBERTa's positions start after the padding id
    assert (encoder.width, encoder.max_length) == (32, limit)
    tokenized = encoder.tokenize([*TEXTS, "z" * 99])
    features = encoder(tokenized)
    with torch.inference_mode():
        expected = model(**tokenized).last_hidden_state
    torch.testing.assert_close(features.tokens[features.mask], expected[features.mask])
    assert features.mask.all() == (kind == "siglip")  # which was trained without a mask
    assert encoder.has_cls_token == (kind in ("bert", "roberta"))
    encoder.save(tmp_path / "saved")
    loaded = TextEncoder.load(tmp_path / "saved")
    assert loaded.fingerprint == encoder.fingerprint
    assert torch.equal(loaded(tokenized).tokens, features.tokens)


@pytest.mark.parametrize("path", ["", "0_Transformer"])
def test_sentence_transformers_layout(path: str, tmp_path: Path) -> None:
    save_text_model("bert", tmp_path / path)
    modules = [{"idx": 0, "name": "0", "path": path, "type": "sentence_transformers.models.Transformer"}]
    (tmp_path / "modules.json").write_text(json.dumps(modules))
    settings = {"max_seq_length": 12, "do_lower_case": True}
    (tmp_path / path / "sentence_bert_config.json").write_text(json.dumps(settings))
    encoder = TextEncoder.load(tmp_path)
    assert encoder.max_length == 12
    assert encoder.lowercase
    assert TextEncoder.load(tmp_path, max_length=512).max_length == 12
    assert TextEncoder.load(tmp_path, max_length=5).max_length == 5
    encoder.save(tmp_path / "saved")
    assert TextEncoder.load(tmp_path / "saved").fingerprint == encoder.fingerprint


@pytest.mark.parametrize("micro_batch", [1, 2, 100])
def test_frozen_forward_sorts_and_restores(micro_batch: int) -> None:
    encoder = TextEncoder.tiny()
    features = encoder.frozen_forward(TEXTS, micro_batch=micro_batch)
    for row, text in enumerate(TEXTS):
        alone = encoder(encoder.tokenize([text])).tokens[0]
        assert int(features.mask[row].sum()) == len(alone)
        torch.testing.assert_close(features.tokens[row, : len(alone)], alone, rtol=1e-5, atol=1e-6)
        assert not features.tokens[row, len(alone) :].any()


def test_frozen_forward_takes_tokenised_texts_and_bfloat16() -> None:
    encoder = TextEncoder.tiny()
    expected = encoder.frozen_forward(TEXTS).tokens
    assert torch.equal(encoder.frozen_forward(encoder.tokenize(TEXTS)).tokens, expected)
    rough = encoder.frozen_forward(TEXTS, dtype=torch.bfloat16).tokens
    assert rough.dtype == torch.float32
    assert not torch.equal(rough, expected)
    torch.testing.assert_close(rough, expected, rtol=0.1, atol=0.1)
    assert encoder.frozen_forward([]).tokens.shape == (0, 1, encoder.width)


def test_tiny_is_a_function_of_the_seed() -> None:
    first, second, other = (TextEncoder.tiny(seed) for seed in (1, 1, 2))
    assert first.fingerprint == second.fingerprint != other.fingerprint
    assert first.transform_id == other.transform_id


def test_fingerprint_ignores_how_the_tokenizer_was_last_called() -> None:
    used, fresh = TextEncoder.tiny(), TextEncoder.tiny()
    used.tokenize(TEXTS)
    assert used.fingerprint == fresh.fingerprint
    rebuilt = TextEncoder(used.model, used.tokenizer, used.max_length)
    assert rebuilt.fingerprint == fresh.fingerprint
    shorter = TextEncoder(used.model, used.tokenizer, max_length=9)
    assert shorter.fingerprint != fresh.fingerprint


def test_says_plainly_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(AssetError, match=r"transformers reads .*got no config.json"):
        TextEncoder.load(tmp_path)
    with pytest.raises(ConfigError, match="max_length of at least 2; got 1"):
        TextEncoder.load(tmp_path, max_length=1)
    save_text_model("bert", tmp_path / "bert")
    settings = json.loads((tmp_path / "bert" / "tokenizer_config.json").read_text())
    (tmp_path / "bert" / "tokenizer_config.json").write_text(json.dumps({**settings, "pad_token": None}))
    with pytest.raises(AssetError, match="no padding token"):
        TextEncoder.load(tmp_path / "bert")
