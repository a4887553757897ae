"""LoRA: targets by name, strict adapters, merging."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel

from edge_glass.core.errors import CheckpointError, ConfigError
from edge_glass.decoders.causal_lm_loading import tiny_causal_lm, tiny_tokenizer
from edge_glass.decoders.kinds.causal_lm import QwenDecoder
from edge_glass.decoders.lora import LoraSettings, _by_kind, read_manifest, read_settings, resolve_targets


def trained(settings: LoraSettings | None = None, seed: int = 0) -> QwenDecoder:
    """A decoder whose adapters are no longer zero."""
    made = QwenDecoder.tiny(seed, lora=settings).eval()
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in made.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return made


def logits(made: QwenDecoder) -> Tensor:
    """Logits of some words."""
    ids = made.tokenizer(["a fox and a hound"], return_tensors="pt")["input_ids"]
    with torch.no_grad():
        return made.lm(input_ids=ids).logits


def test_targets_by_group_end_and_full_name() -> None:
    model, _ = tiny_causal_lm(0)
    attention = [f"model.layers.{i}.self_attn.{x}_proj" for i in range(2) for x in "qkvo"]
    mlp = [f"model.layers.{i}.mlp.{x}_proj" for i in range(2) for x in ("gate", "up", "down")]
    assert resolve_targets(model, ["attention"]) == attention
    assert resolve_targets(model, ["mlp"]) == mlp
    assert set(resolve_targets(model, ["all-linear"])) == {*attention, *mlp}
    assert resolve_targets(model, ["v_proj", "q_proj"]) == [attention[i] for i in (0, 2, 4, 6)]
    assert resolve_targets(model, ["layers.1.mlp.up_proj"]) == [mlp[4]]
    assert set(resolve_targets(model, ["attention", "q_proj", "mlp"])) == {*attention, *mlp}


def test_a_layer_number_is_matched_whole() -> None:
    model, _ = tiny_causal_lm(0, layers=12)
    assert resolve_targets(model, ["1.mlp.up_proj"]) == ["model.layers.1.mlp.up_proj"]
    made = QwenDecoder(model, tiny_tokenizer(), lora=LoraSettings(targets=["layers.1.mlp.up_proj"]))
    assert made.adapter is not None and made.adapter.targets == ["model.layers.1.mlp.up_proj"]
    assert len(made.trainable_state_dict()) == 2


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("qproj", "such as q_proj, .*got 'qproj', which Qwen2ForCausalLM has not"),
        ("attentoin", "such as attention, got"),
        ("layers.2.mlp.up_proj", "up_proj"),
        ("xyz", "attention, mlp, all-linear, down_proj"),
        ("lm_head", "'lm_head' is no linear layer that can be adapted"),
        ("embed_tokens", "'embed_tokens' is no linear layer"),
    ],
)
def test_targets_that_match_nothing(target: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        QwenDecoder.tiny(lora=LoraSettings(targets=["attention", target]))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rank": 0}, "lora: rank: expected a whole number of at least 1, got 0"),
        ({"alpha": -1.0}, "alpha: expected a number above 0, got -1.0"),
        ({"dropout": 1.0}, "dropout: expected a number of at least 0 and below 1, got 1.0"),
        ({"targets": []}, "targets: expected a non-empty list"),
    ],
)
def test_wrong_settings(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        LoraSettings(**settings)  # type: ignore[arg-type]


def test_new_adapters_change_nothing_and_stand_where_they_should(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        made = QwenDecoder.tiny(lora=LoraSettings(rank=4, targets=["q_proj"])).eval()
    assert "LoRA of rank 4 on 2 layers: model.layers.[0-1].self_attn.q_proj" in caplog.text
    assert torch.equal(logits(made), logits(QwenDecoder.tiny(mode="frozen")))
    shapes = {name: tuple(tensor.shape) for name, tensor in made.trainable_state_dict().items()}
    assert len(shapes) == 4
    assert all("q_proj.lora_" in name and 4 in shape for name, shape in shapes.items())
    assert type(made.lm).__name__ == "Qwen2ForCausalLM"
    with pytest.raises(ConfigError, match="mode is full, but lora settings"):
        QwenDecoder.tiny(mode="full", lora=LoraSettings())


def test_every_adapted_layer_is_said_in_few_words() -> None:
    names = [f"model.layers.{n}.mlp.{end}" for n in (0, 1, 2, 5) for end in ("up_proj", "down_proj")]
    said = _by_kind([*names, "visual.merger.mlp.0", "visual.blocks.3.attn.10.qkv", "lm.proj"])
    assert said == (
        "model.layers.[0-2,5].mlp.up_proj, model.layers.[0-2,5].mlp.down_proj, visual.merger.mlp.0, "
        "visual.blocks.[3].attn.10.qkv, lm.proj"
    )


def test_the_adapters_are_a_function_of_the_seed() -> None:
    states = [QwenDecoder.tiny(0).trainable_state_dict() for _ in range(2)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert any(tensor.any() for tensor in states[0].values())


@pytest.mark.parametrize(
    "settings", [LoraSettings(rank=4), LoraSettings(rslora=True), LoraSettings(dora=True)]
)
def test_adapters_go_round(settings: LoraSettings, tmp_path: Path) -> None:
    made = trained(settings)
    made.save_adapter(tmp_path)
    assert made.adapter is not None
    assert read_manifest(tmp_path)["targets"] == made.adapter.targets
    assert read_settings(tmp_path) == settings
    fresh = QwenDecoder.tiny(0, lora=read_settings(tmp_path)).eval()
    assert not torch.allclose(logits(fresh), logits(made), atol=1e-3)
    fresh.load_adapter(tmp_path)
    assert torch.equal(logits(fresh), logits(made))


def test_peft_reads_the_same_folder(tmp_path: Path) -> None:
    from peft import PeftModel

    made = trained()
    made.save_adapter(tmp_path)
    model = PeftModel.from_pretrained(tiny_causal_lm(0)[0], tmp_path).eval()
    ids = made.tokenizer(["a fox and a hound"], return_tensors="pt")["input_ids"]
    with torch.no_grad():
        torch.testing.assert_close(model(input_ids=ids).logits, logits(made))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (LoraSettings(rank=8), r"with the shape \(8, 32\), got \(16, 32\)"),
        (LoraSettings(targets=["attention"]), "12 unknown"),
        (LoraSettings(targets=["all-linear"], dora=True), "missing"),
        (LoraSettings(alpha=8.0), "expected alpha 8.0, got 32.0"),
        (LoraSettings(rslora=True), "expected rslora True, got False"),
    ],
)
def test_adapters_of_other_settings_are_refused(settings: LoraSettings, message: str, tmp_path: Path) -> None:
    trained().save_adapter(tmp_path)
    other = QwenDecoder.tiny(0, lora=settings).eval()
    before = logits(other)
    with pytest.raises(CheckpointError, match=message):
        other.load_adapter(tmp_path)
    assert torch.equal(logits(other), before)


def test_adapters_of_another_base_are_refused(tmp_path: Path) -> None:
    trained().save_adapter(tmp_path)
    wide, tokenizer = tiny_causal_lm(0, width=48)
    with pytest.raises(CheckpointError, match=r"\(16, 48\), got \(16, 32\)"):
        QwenDecoder(wide, tokenizer).load_adapter(tmp_path)
    deep, tokenizer = tiny_causal_lm(0, layers=3)
    with pytest.raises(CheckpointError, match="14 missing"):
        QwenDecoder(deep, tokenizer).load_adapter(tmp_path)


def test_adapters_of_another_base_of_the_same_shapes_are_refused(tmp_path: Path) -> None:
    made = trained(seed=0)
    made.save_adapter(tmp_path)
    other = QwenDecoder.tiny(1).eval()
    before = logits(other)
    with pytest.raises(CheckpointError, match="trained on another model of the same shapes"):
        other.load_adapter(tmp_path)
    assert torch.equal(logits(other), before)
    half = QwenDecoder(tiny_causal_lm(0)[0].bfloat16(), tiny_tokenizer())
    half.load_adapter(tmp_path)  # the same base, rounded
    for name, tensor in made.trainable_state_dict().items():
        assert torch.equal(tensor, half.trainable_state_dict()[name])


def test_broken_adapter_folders(tmp_path: Path) -> None:
    made = trained()
    with pytest.raises(CheckpointError, match="is no manifest"):
        made.load_adapter(tmp_path)
    made.save_adapter(tmp_path)
    manifest = json.loads((tmp_path / "adapter_manifest.json").read_text())
    manifest["tensors"].popitem()
    (tmp_path / "adapter_manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(CheckpointError, match="other tensors than"):
        made.load_adapter(tmp_path)
    (tmp_path / "adapter_model.safetensors").write_bytes(b"\0" * 20)
    with pytest.raises(CheckpointError, match="cannot be read"):
        made.load_adapter(tmp_path)
    with pytest.raises(CheckpointError, match=r"got none: decoder\.mode is frozen"):
        QwenDecoder.tiny(mode="frozen").load_adapter(tmp_path)


@pytest.mark.parametrize("settings", [LoraSettings(), LoraSettings(dora=True, rslora=True)])
def test_merged_is_as_unmerged_and_a_plain_folder(settings: LoraSettings, tmp_path: Path) -> None:
    made = trained(settings)
    before = logits(made)
    untouched = logits(QwenDecoder.tiny(0, mode="frozen"))
    assert (before - untouched).abs().max() > 1e-3
    with pytest.raises(CheckpointError, match="merge it first"):
        made.save(tmp_path)
    difference = made.merge()
    assert 0 <= difference < 1e-5
    torch.testing.assert_close(logits(made), before, rtol=1e-5, atol=1e-6)
    assert made.mode == "frozen"
    assert not made.trainable_state_dict()
    assert not any("lora" in name or "base_layer" in name for name in made.state_dict())
    made.save(tmp_path)
    plain = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    ids = made.tokenizer(["a fox and a hound"], return_tensors="pt")["input_ids"]
    with torch.no_grad():
        torch.testing.assert_close(plain(input_ids=ids).logits, before, rtol=1e-5, atol=1e-6)


def test_merging_is_refused_beyond_the_bound() -> None:
    made = trained()
    before = logits(made)
    with pytest.raises(CheckpointError, match="differ from the unmerged"):
        made.merge(bound=0.0)
    assert made.mode == "lora"
    assert not any(getattr(module, "merged", False) for module in made.lm.modules())  # can be trained on
    torch.testing.assert_close(logits(made), before, rtol=1e-4, atol=1e-5)
    made.merge()


def test_short_weights_are_summed_in_float32_and_rounded_once() -> None:
    made = trained()
    assert made.adapter is not None
    with torch.no_grad():
        for parameter in made.parameters():
            if not parameter.requires_grad:
                parameter.data = parameter.data.to(torch.bfloat16)
    name = made.adapter.targets[0]
    layer = made.lm.get_submodule(name)
    added = layer.get_delta_weight("default")  # type: ignore[operator]
    assert added.dtype == torch.float32
    weight = layer.base_layer.weight.data  # type: ignore[union-attr]
    expected = (weight.float() + added).to(torch.bfloat16)
    assert not torch.equal(expected, weight + added.to(torch.bfloat16))  # rounded twice
    refused = pytest.raises(CheckpointError, match="differ from the unmerged")
    with refused:
        made.merge(bound=1e-6)
    assert {parameter.dtype for parameter in made.parameters()} == {torch.bfloat16, torch.float32}
    torch.testing.assert_close(layer.base_layer.weight.data, weight, rtol=2**-6, atol=1e-3)  # type: ignore[union-attr]
    layer.base_layer.weight.data = weight  # type: ignore[union-attr]
    assert 0 < made.merge(bound=0.02) < 0.02
    assert torch.equal(made.lm.get_submodule(name).weight, expected)  # type: ignore[arg-type]
    assert {parameter.dtype for parameter in made.parameters()} == {torch.bfloat16}


def test_gpt2_is_adapted_too() -> None:
    tokenizer = tiny_tokenizer()
    end = tokenizer.eos_token_id
    small = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}
    config = GPT2Config(vocab_size=len(tokenizer), **small, bos_token_id=end, eos_token_id=end)
    made = QwenDecoder(GPT2LMHeadModel(config).double().eval(), tokenizer, lora=LoraSettings(rank=2)).eval()
    made.double()  # an exact sum, whose order of adding does not show
    assert made.adapter is not None
    assert made.adapter.targets[0] == "transformer.h.0.attn.c_attn"
    with torch.no_grad():
        for parameter in made.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1)
    before = logits(made)
    made.merge()
    torch.testing.assert_close(logits(made), before, rtol=1e-10, atol=1e-10)
