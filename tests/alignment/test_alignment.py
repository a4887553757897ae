"""The alignment model over toy encoders."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from edge_glass.alignment.model.alignment import MultimodalAlignmentModel, build_alignment_model
from edge_glass.config.schema import ExperimentConfig, HeadConfig, PerceiverConfig
from edge_glass.core.errors import CheckpointError, ConfigError
from edge_glass.encoders.features import TokenFeatures
from edge_glass.encoders.text import TextEncoder
from edge_glass.encoders.tower import build_tower
from edge_glass.encoders.vision import VisionEncoder

TEXTS = ["a cat", "", "dogs and cats", "snow"]


def experiment(**changes: Any) -> ExperimentConfig:
    vision = {"projection_dim": 32, "mrl_dimensions": [8, 16], **changes.pop("vision", {})}
    text = changes.pop("text", {})
    return ExperimentConfig.model_validate(
        {"name": "toy", "vision_encoder": vision, "text_encoder": text, **changes}, strict=True
    )


def build(
    frozen: bool = True, architecture: str = "test_efficientnet", **changes: Any
) -> MultimodalAlignmentModel:
    vision = VisionEncoder.tiny(architecture=architecture, frozen=frozen)
    text = TextEncoder.tiny(frozen=frozen)
    return build_alignment_model(experiment(**changes), vision, text)


def batch_for(model: MultimodalAlignmentModel) -> dict[str, Any]:
    pixels = torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    tokenized = model.text_tower.encoder.tokenize(TEXTS)  # type: ignore[operator]
    every = {"vision": torch.arange(4), "text": torch.arange(4)}
    return {"vision": {"pixels": pixels}, "text": tokenized, "rows": every, "groups": every, "step": 3}


@pytest.mark.parametrize("pooling", ["mean", "simple", "multihead"])
def test_features_and_raw_input_give_the_same_loss(pooling: str) -> None:
    model = build(vision={"pooling_type": pooling}, text={"pooling_type": pooling})
    raw = batch_for(model)
    cached = dict(raw)
    for name, tower in (("vision", model.vision_tower), ("text", model.text_tower)):
        features = tower.features(raw[name])
        assert features.tokens.shape[1] == (
            1 if pooling == "mean" else {"vision": 4}.get(name, features.mask.shape[1])
        )
        cached[name] = features._asdict()
    loss, report = model(raw)
    again, _ = model(cached, with_diagnostics=True)
    torch.testing.assert_close(again, loss)
    assert {"loss_clip", "loss_mrl", "ln_batch", "off_diagonal_cosine", "temperature"} == set(report)


def test_learned_parts_alone_receive_gradients() -> None:
    model = build(vision={"use_attention_pooling": True}, text={"pooling_type": "multihead"}).train()
    model(batch_for(model))[0].backward()
    with_gradient = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert with_gradient == set(dict(model.named_parameters())) - {
        f"{tower}.encoder.{name}"
        for tower in ("vision_tower", "text_tower")
        for name, _ in model.get_submodule(f"{tower}.encoder").named_parameters()
    }
    assert "vision_tower.pooling.query" in with_gradient
    assert "losses.vision_text.logit_scale" in with_gradient


def test_unfrozen_encoders_are_trained() -> None:
    model = build(frozen=False).train()
    model(batch_for(model))[0].backward()
    assert model.vision_tower.encoder.backbone.model.conv_stem.weight.grad.abs().sum() > 0
    assert model.text_tower.encoder.model.embeddings.word_embeddings.weight.grad.abs().sum() > 0


def test_first_weights_are_a_function_of_the_seed_alone() -> None:
    torch.manual_seed(1)
    first = build(seed=5, text={"pooling_type": "multihead"}).trainable_state_dict()
    torch.manual_seed(2)
    state = torch.get_rng_state()
    second = build(seed=5, text={"pooling_type": "multihead"}).trainable_state_dict()
    assert torch.equal(torch.get_rng_state(), state)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    other = build(seed=6).trainable_state_dict()
    assert not torch.equal(
        first["text_tower.projection.net.1.weight"], other["text_tower.projection.net.1.weight"]
    )
    plain = build(seed=5).trainable_state_dict()  # another pooling leaves the projection as it was
    name = "vision_tower.projection.net.1.weight"
    assert torch.equal(first[name], plain[name])


@pytest.mark.parametrize("dim", [None, 16, 8])
def test_embeddings_for_search(dim: int | None) -> None:
    model = build(vision={"head": {"kind": "mlp", "hidden_dim": 16, "dropout": 0.5}}).train()
    batch = batch_for(model)
    pixels = batch["vision"]["pixels"]
    images, texts = model.encode_images(pixels, dim), model.encode_text(TEXTS, dim)
    assert images.shape == texts.shape == (4, dim or 32)
    torch.testing.assert_close(images.norm(dim=1), torch.ones(4))
    assert torch.equal(images, model.encode_images(pixels, dim))  # no dropout, whatever the mode
    features = model.vision_tower.features({"pixels": pixels})
    torch.testing.assert_close(model.encode_images(features, dim), images)
    torch.testing.assert_close(model.encode_text(batch["text"], dim), texts)
    assert model.training
    assert not images.requires_grad


def test_every_head_normalises_prefixes() -> None:
    for kind in ("linear", "mlp"):
        model = build(text={"head": {"kind": kind}}, vision={"head": {"kind": kind}})
        full = model.encode_text(TEXTS)
        for dim in model.dimensions:
            cut = full[:, :dim] / full[:, :dim].norm(dim=1, keepdim=True)
            torch.testing.assert_close(model.encode_text(TEXTS, dim), cut)


def test_trainable_state_leaves_out_frozen_encoders_only() -> None:
    frozen = build(vision={"pooling_type": "simple"})
    assert set(frozen.trainable_state_dict()) == {
        "vision_tower.pooling.query",
        *(
            f"{tower}_tower.projection.net.1.{name}"
            for tower in ("vision", "text")
            for name in ("weight", "bias")
        ),
        "losses.vision_text.logit_scale",
    }
    trained = build(frozen=False)
    assert trained.trainable_state_dict().keys() == trained.state_dict().keys()
    assert any("running_mean" in name for name in trained.trainable_state_dict())


@pytest.mark.parametrize("frozen", [True, False])
def test_trainable_state_round_trip(frozen: bool, tmp_path: Path) -> None:
    model, other = build(frozen=frozen, seed=1), build(frozen=frozen, seed=2)
    batch = batch_for(model)
    expected = model.eval()(batch)[0]
    save_file(model.trainable_state_dict(), tmp_path / "model.safetensors")
    other.load_trainable_state_dict(load_file(tmp_path / "model.safetensors"))
    assert torch.equal(other.eval()(batch)[0], expected)


def test_loading_is_strict() -> None:
    model = build()
    state = model.trainable_state_dict()
    before = {name: value.clone() for name, value in state.items()}
    short = {name: value for name, value in state.items() if name != "losses.vision_text.logit_scale"}
    with pytest.raises(CheckpointError, match=r"1 missing \['losses.vision_text.logit_scale'\]"):
        model.load_trainable_state_dict(short)
    with pytest.raises(CheckpointError, match="1 unexpected"):
        model.load_trainable_state_dict({**state, "more": torch.zeros(1)})
    name = "text_tower.projection.net.1.bias"
    wrong = {key: value + 1 for key, value in state.items()} | {name: torch.zeros(3)}
    with pytest.raises(CheckpointError, match=r"is \(3,\), the model has \(32,\)"):
        model.load_trainable_state_dict(wrong)
    assert all(torch.equal(value, before[key]) for key, value in model.trainable_state_dict().items())


def test_parameter_counts(caplog: pytest.LogCaptureFixture) -> None:
    model = build(vision={"pooling_type": "simple"})
    with caplog.at_level(logging.INFO, logger="edge_glass"):
        table = model.print_parameter_counts()
    assert table in caplog.text
    rows = {row.component: row for row in model.parameter_counts()}
    assert list(rows) == [
        "vision encoder",
        "vision pooling",
        "vision projection",
        "text encoder",
        "text pooling",
        "text projection",
        "temperature",
    ]
    assert rows["vision encoder"].trained == rows["text encoder"].trained == 0
    assert rows["vision projection"].trained == 256 * 32 + 32
    assert rows["vision pooling"].trained == 256
    assert sum(row.total for row in rows.values()) == sum(p.numel() for p in model.parameters())


def test_a_tower_gives_one_vector() -> None:
    with pytest.raises(ConfigError, match=r"pooling_type: expected one that gives one vector.* got grid"):
        build_tower("vision_encoder", VisionEncoder.tiny(), "grid", PerceiverConfig(), HeadConfig(), [16], 0)


def test_class_token_pooling_needs_a_class_token() -> None:
    with pytest.raises(ConfigError, match=r"vision_encoder\.pooling_type: expected .*got cls"):
        build(vision={"pooling_type": "cls"})
    vit = build(architecture="test_vit", vision={"pooling_type": "cls"})
    pixels = torch.randn(2, 3, 64, 64)
    tower = vit.vision_tower
    token = tower.features({"pixels": pixels}).tokens
    expected = tower.encoder.frozen_forward(pixels, dtype=tower.frozen_dtype).tokens
    assert torch.equal(token[:, 0], expected[:, 0])


def test_no_weight_decay_names_parameters() -> None:
    model = build(losses={"kind": "siglip"})
    assert model.no_weight_decay() == {"losses.vision_text.logit_scale", "losses.vision_text.logit_bias"}
    assert model.no_weight_decay() <= set(dict(model.named_parameters()))


def test_text_without_real_tokens_is_finite() -> None:
    model = build()
    nothing = TokenFeatures(torch.full((1, 3, 32), float("nan")), torch.zeros(1, 3, dtype=torch.bool))
    assert torch.isfinite(model.encode_text(nothing)).all()


def test_a_few_steps_learn() -> None:
    model = build(vision={"pooling_type": "simple"}, losses={"contrastive": 1.0}).train()
    batch = batch_for(model)
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.01)
    first = model(batch)[0].item()
    for _ in range(30):
        optimiser.zero_grad()
        loss, _ = model(batch)
        loss.backward()
        optimiser.step()
    assert loss.item() < first / 3
