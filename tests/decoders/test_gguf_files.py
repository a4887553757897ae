"""What is kept of an unpacked GGUF file. Reading a real one is in test_causal_lm_weights.py."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from gguf import GGUFWriter

from edge_glass.core.errors import AssetError
from edge_glass.decoders import causal_lm_loading
from edge_glass.decoders.kinds.causal_lm import QwenDecoder


def write_gguf(path: Path) -> dict[str, torch.Tensor]:
    """A toy Llama as llama.cpp would write it, with GPT-2's kind of tokenizer."""
    generator = torch.Generator().manual_seed(0)
    made = QwenDecoder.tiny(mode="frozen")
    tokens = [token for token, _ in sorted(made.tokenizer.get_vocab().items(), key=lambda item: item[1])]
    tokens.append("Ġa")
    writer = GGUFWriter(path, "llama")
    for add, value in (
        (writer.add_block_count, 1),
        (writer.add_context_length, 64),
        (writer.add_embedding_length, 32),
        (writer.add_feed_forward_length, 64),
        (writer.add_head_count, 4),
        (writer.add_head_count_kv, 2),
        (writer.add_vocab_size, len(tokens)),
        (writer.add_layer_norm_rms_eps, 1e-5),
        (writer.add_rope_freq_base, 1e4),
        (writer.add_tokenizer_model, "gpt2"),
        (writer.add_token_list, tokens),
        (writer.add_token_types, [3] * 3 + [1] * (len(tokens) - 3)),
        (writer.add_token_merges, ["Ġ a"]),
        (writer.add_bos_token_id, 1),
        (writer.add_eos_token_id, 2),
        (writer.add_pad_token_id, 0),
    ):
        add(value)  # type: ignore[operator]
    shapes = {
        "token_embd": (len(tokens), 32),
        "output_norm": (32,),
        "blk.0.attn_norm": (32,),
        "blk.0.ffn_norm": (32,),
        "blk.0.attn_q": (32, 32),
        "blk.0.attn_k": (16, 32),
        "blk.0.attn_v": (16, 32),
        "blk.0.attn_output": (32, 32),
        "blk.0.ffn_gate": (64, 32),
        "blk.0.ffn_up": (64, 32),
        "blk.0.ffn_down": (32, 64),
    }
    tensors = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    for name, tensor in tensors.items():
        writer.add_tensor(f"{name}.weight", tensor.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return tensors


def test_unpacked_once_and_equal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGE_GLASS_HOME", str(tmp_path / "home"))
    source = tmp_path / "toy"
    source.mkdir()
    tensors = write_gguf(source / "toy.gguf")
    first = QwenDecoder.load(source, mode="frozen")
    assert torch.equal(first.lm.get_input_embeddings().weight, tensors["token_embd"])
    assert not first.lm.is_quantized
    assert "quantization_config" not in first.lm.config.to_dict()
    monkeypatch.setattr(causal_lm_loading, "unpack", None)  # must not be needed again
    second = QwenDecoder.load(source / "toy.gguf", mode="frozen")
    for (name, one), other in zip(first.lm.named_parameters(), second.lm.parameters(), strict=True):
        assert torch.equal(one, other), name
    assert first.tokenizer("a fox")["input_ids"] == second.tokenizer("a fox")["input_ids"]
    assert first.tokenizer.decode(first.tokenizer("a fox")["input_ids"]) == "a fox"
    half = QwenDecoder.load(source, mode="frozen", dtype=torch.bfloat16)
    assert half.lm.dtype == torch.bfloat16
    assert "quantization_config" not in second.lm.config.to_dict()


def test_a_changed_or_broken_copy_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGE_GLASS_HOME", str(tmp_path / "home"))
    gguf = tmp_path / "toy.gguf"
    write_gguf(gguf)
    QwenDecoder.load(gguf, mode="frozen")
    folder = causal_lm_loading.unpacked_folder(gguf)
    assert causal_lm_loading.is_unpacked(folder)
    with (folder / "model.safetensors").open("r+b") as file:
        file.truncate(100)
    assert not causal_lm_loading.is_unpacked(folder)
    QwenDecoder.load(gguf, mode="frozen")
    assert causal_lm_loading.is_unpacked(folder)
    os.utime(gguf, (1, 1))
    assert causal_lm_loading.unpacked_folder(gguf) != folder


def test_without_room_it_is_only_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    home = tmp_path / "home"
    home.write_text("a file where the folder should be")
    monkeypatch.setattr(causal_lm_loading, "cache_root", lambda: home)
    write_gguf(tmp_path / "toy.gguf")
    assert QwenDecoder.load(tmp_path / "toy.gguf", mode="frozen").width == 32
    assert "not kept" in caplog.text


def test_folders_with_several_files(tmp_path: Path) -> None:
    assert causal_lm_loading.find_gguf(tmp_path) is None
    for name in ("a.gguf", "b.gguf"):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(AssetError, match="2 GGUF files"):
        causal_lm_loading.find_gguf(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    assert causal_lm_loading.find_gguf(tmp_path) is None
