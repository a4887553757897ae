"""`QwenDecoder.load` and `tiny`: what goes round, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from causal_decoders import TEXTS, decoder, prefix, tokenize
from transformers import Gemma2Config, Gemma2ForCausalLM

from edge_glass.core.errors import AssetError, ConfigError
from edge_glass.decoders.causal_lm_loading import tiny_causal_lm, tiny_tokenizer
from edge_glass.decoders.kinds.causal_lm import QwenDecoder


def test_saved_folders_load_again(tmp_path: Path) -> None:
    made = decoder(mode="full")
    made.save(tmp_path)
    loaded = QwenDecoder.load(tmp_path, mode="frozen", attention="eager")
    assert loaded.lm.config._attn_implementation == "eager"
    ids, mask = tokenize(made, TEXTS)
    torch.testing.assert_close(
        loaded(prefix(), ids, mask, ids).loss_sum, made(prefix(), ids, mask, ids).loss_sum
    )
    assert loaded.tokenizer.chat_template == made.tokenizer.chat_template


def test_missing_weights_are_refused(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    decoder(mode="full").save(tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    state.pop("model.layers.1.mlp.up_proj.weight")
    save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(AssetError, match=r"1 missing.*layers\.1\.mlp\.up_proj"):
        QwenDecoder.load(tmp_path)


def test_a_tokenizer_larger_than_the_model(tmp_path: Path) -> None:
    made = decoder(mode="full")
    made.tokenizer.add_tokens([f"<extra_{number}>" for number in range(20)])
    made.save(tmp_path)
    with pytest.raises(AssetError, match=r"expected ids below 272.*'<extra_19>' is 278"):
        QwenDecoder.load(tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "qlora"}, "one of frozen, lora, full, got 'qlora'"),
        ({"attention": "fast"}, "one of sdpa, flash, eager, got 'fast'"),
        ({"quantization": "2bit"}, "expected none, 8bit or 4bit, got '2bit'"),
        ({"quantization": "8bit", "mode": "full"}, "mode is full, but quantised weights cannot be trained"),
    ],
)
def test_wrong_settings(options: dict[str, str], message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        QwenDecoder.load(tmp_path, **options)  # type: ignore[arg-type]


@pytest.mark.skipif(torch.cuda.is_available(), reason="the errors are those of machines without a GPU")
def test_what_needs_a_gpu_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="attention flash needs an NVIDIA GPU"):
        QwenDecoder.load(tmp_path, attention="flash")


def test_sources_that_are_no_language_model(tmp_path: Path) -> None:
    with pytest.raises(AssetError, match="expected a folder, asset:NAME or a hub id"):
        QwenDecoder.load(tmp_path / "nothing")
    with pytest.raises(AssetError, match="cannot be loaded"):
        QwenDecoder.load(tmp_path)
    for name in ("a.gguf", "b.gguf"):
        (tmp_path / name).write_bytes(b"GGUF")
    with pytest.raises(AssetError, match=r"2 GGUF files; name one.*a\.gguf"):
        QwenDecoder.load(tmp_path)
    with pytest.raises(AssetError, match="cannot be loaded"):
        QwenDecoder.load(tmp_path / "a.gguf")


def test_a_head_with_a_soft_cap_is_refused() -> None:
    tokenizer = tiny_tokenizer()
    config = Gemma2Config(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        final_logit_softcapping=0.01,
    )
    with pytest.raises(ConfigError, match="soft cap"):
        QwenDecoder(Gemma2ForCausalLM(config).eval(), tokenizer)


def test_tiny_parts_do_not_touch_the_random_state() -> None:
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    tiny_causal_lm(3)
    QwenDecoder.tiny(3)
    assert torch.equal(torch.rand(1), expected)


def test_tiny_is_a_function_of_its_seed() -> None:
    ids, mask = tokenize(decoder(), TEXTS)
    losses = [QwenDecoder.tiny(seed)(None, ids, mask, ids).loss_sum.item() for seed in (1, 1, 2)]
    assert losses[0] == losses[1] != losses[2]
