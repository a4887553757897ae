"""Three towers, and rows that lack modalities: each pair's loss is that of the rows that have both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from edge_glass.alignment.model.alignment import (
    PAIRS,
    MultimodalAlignmentModel,
    build_alignment_model,
    fused_queries,
)
from edge_glass.alignment.model.folder import load_model, save_model
from edge_glass.config.schema import ExperimentConfig
from edge_glass.core.errors import AssetError, CheckpointError
from edge_glass.encoders.audio import AudioEncoder
from edge_glass.encoders.mrl import truncate_and_normalize
from edge_glass.encoders.text import TextEncoder
from edge_glass.encoders.vision import VisionEncoder

MODALITIES = ("vision", "audio", "text")
WORDS = ["red", "a green bar", "blue", "", "ring in black", "cross"]
LEARNED = ["simple", "multihead", "perceiver"]


def experiment(pooling: str = "mean", **changes: Any) -> ExperimentConfig:
    section = {"pooling_type": pooling, "perceiver": {"num_latents": 2, "depth": 1, "num_heads": 2}}
    vision = {"projection_dim": 32, "mrl_dimensions": [8, 16], **section}
    sections = {"vision_encoder": vision, "text_encoder": section, "audio_encoder": section}
    return ExperimentConfig.model_validate({"name": "toy", **sections, **changes}, strict=True)


def build(config: ExperimentConfig, frozen: bool = True) -> MultimodalAlignmentModel:
    encoders = (
        VisionEncoder.tiny(frozen=frozen),
        TextEncoder.tiny(frozen=frozen),
        AudioEncoder.tiny(frozen=frozen),
    )
    return build_alignment_model(config, *encoders)


def batch_for(model: MultimodalAlignmentModel, rows: dict[str, list[int]], step: int = 0) -> dict[str, Any]:
    """A batch of six rows that have these modalities; a row's input does not depend on what others have."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randn(6, 3, 64, 64, generator=generator)
    mels = [torch.randn(20, 30 + 10 * n, generator=generator) for n in range(6)]
    towers = model.towers
    return {
        "vision": {"pixels": pixels[rows["vision"]]},
        "audio": towers["audio"].encoder.collate([mels[row] for row in rows["audio"]]),
        "text": towers["text"].encoder.tokenize([WORDS[row] for row in rows["text"]]),
        "rows": {name: torch.tensor(rows[name], dtype=torch.int64) for name in MODALITIES},
        # Rows 0 and 1 show the same picture, rows 2 and 4 are the same words.
        "groups": {
            "vision": torch.tensor([0, 0, 2, 3, 4, 5])[rows["vision"]],
            "audio": torch.tensor([0, 1, 2, 3, 2, 5])[rows["audio"]],
            "text": torch.tensor([1, 2, 3, 0, 3, 5])[rows["text"]],
        },
        "step": step,
    }


FULL = {name: list(range(6)) for name in MODALITIES}
SOME = {"vision": [0, 1, 2, 4, 5], "audio": [0, 1, 2, 3, 4], "text": [0, 2, 3, 4, 5]}
NO_AUDIO = {**FULL, "audio": []}
NO_PICTURES = {**FULL, "vision": []}
NOTHING: dict[str, list[int]] = {name: [] for name in MODALITIES}


def by_hand(x: Tensor, y: Tensor, x_group: Tensor, y_group: Tensor, temperature: float) -> Tensor:
    """Symmetric InfoNCE, row by row from its definition."""
    logits = (x @ y.T).double() / temperature
    losses = []
    for row in range(len(x)):
        same = (x_group == x_group[row]) | (y_group == y_group[row])
        same[row] = False
        for line in (logits[row], logits[:, row]):
            losses.append(line[~same].logsumexp(0) - line[row])
    return torch.stack(losses).mean()


@pytest.mark.parametrize(
    "rows", [FULL, SOME, NO_AUDIO, NO_PICTURES], ids=["all", "some", "no sound", "no picture"]
)
@torch.no_grad()
def test_the_loss_is_that_of_the_shared_rows_by_hand(rows):
    weights = {"vision_text": 1.0, "audio_text": 0.5, "vision_audio": 0.25}
    model = build(experiment(losses={"pairs": weights, "temperature": 0.2, "contrastive": 0.3})).eval()
    batch = batch_for(model, rows)
    loss, report = model(batch)
    total, clips = torch.zeros((), dtype=torch.float64), {}
    for pair, sides in PAIRS.items():
        shared = sorted(set(rows[sides[0]]) & set(rows[sides[1]]))
        if not shared:
            continue
        x, y = (model.towers[side](batch[side])[[rows[side].index(row) for row in shared]] for side in sides)
        groups = [batch["groups"][side][[rows[side].index(row) for row in shared]] for side in sides]
        parts = [
            by_hand(truncate_and_normalize(x, dim), truncate_and_normalize(y, dim), *groups, 0.2)
            for dim in (32, 16, 8)
        ]
        clips[pair] = parts[0]
        total += weights[pair] * (0.3 * parts[0] + torch.stack(parts).mean())
    torch.testing.assert_close(loss.double(), total, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(report["loss_clip"].double(), torch.stack(list(clips.values())).mean())
    assert {name for name in report if name.startswith("loss_clip_")} == {
        f"loss_clip_{pair}" for pair in clips
    }
    for pair, value in clips.items():
        torch.testing.assert_close(report[f"loss_clip_{pair}"].double(), value, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_rows_that_lack_something_leave_the_other_pairs_as_they_were():
    model = build(experiment()).eval()
    full, partial = (model(batch_for(model, rows))[1] for rows in (FULL, NO_AUDIO))
    assert partial["loss_clip"] == pytest.approx(float(full["loss_clip_vision_text"]), abs=1e-5)
    assert partial["loss_mrl"] == pytest.approx(float(full["loss_mrl_vision_text"]), abs=1e-5)


@torch.no_grad()
def test_each_pair_has_a_temperature_of_its_own():
    model = build(experiment()).eval()
    before = model(batch_for(model, FULL))[1]
    model.losses["audio_text"].logit_scale += 1.0
    after = model(batch_for(model, FULL))[1]
    assert after["loss_clip_audio_text"] != before["loss_clip_audio_text"]
    for pair in ("vision_text", "vision_audio"):
        assert torch.equal(after[f"loss_clip_{pair}"], before[f"loss_clip_{pair}"])


def without_gradient(model: MultimodalAlignmentModel) -> list[str]:
    return [name for name, found in model.named_parameters() if found.requires_grad and found.grad is None]


@pytest.mark.parametrize("rows", [NOTHING, NO_AUDIO, NO_PICTURES], ids=["nothing", "no sound", "no picture"])
@pytest.mark.parametrize("pooling", ["mean", *LEARNED])
def test_every_parameter_has_a_gradient_whatever_a_batch_lacks(pooling, rows):
    """Processes of a distributed run wait for each other's gradients of all parameters."""
    model = build(experiment(pooling, fusion={"kind": "gated"})).train()
    loss, _ = model(batch_for(model, rows))
    assert torch.isfinite(loss) and (rows is not NOTHING or float(loss.detach()) == 0.0)
    loss.backward()
    assert without_gradient(model) == []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert torch.isfinite(parameter.grad).all(), name
            if rows is NOTHING:
                assert not parameter.grad.any(), name
    if rows is NO_AUDIO:
        assert model.towers["vision"].projection.net[1].weight.grad.any()
        assert not model.towers["audio"].projection.net[1].weight.grad.any()


@pytest.mark.parametrize("kind", ["gated", "cross_attention", "concat"])
@pytest.mark.parametrize("step", [0, 1, 2])
def test_every_parameter_of_a_fusion_has_a_gradient_in_every_step(kind, step):
    model = build(experiment(fusion={"kind": kind})).train()
    model(batch_for(model, SOME, step))[0].backward()
    assert without_gradient(model) == []


@pytest.mark.parametrize("rows", [NOTHING, NO_AUDIO, NO_PICTURES], ids=["nothing", "no sound", "no picture"])
def test_encoders_that_are_trained_have_gradients_whatever_a_batch_lacks(rows):
    model = build(experiment(), frozen=False).train()
    before = {name: value.clone() for name, value in model.named_buffers()}
    model(batch_for(model, rows))[0].backward()
    assert without_gradient(model) == []
    if not rows["vision"]:  # running means of no pictures
        means = [name for name in before if "running_" in name]
        assert means and all(torch.equal(model.get_buffer(name), before[name]) for name in means)


def test_what_a_fused_query_looks_for_takes_turns():
    assert fused_queries(("vision", "text")) == {}
    assert fused_queries(MODALITIES) == {
        "vision": ("audio", "text"),
        "audio": ("vision", "text"),
        "text": ("vision", "audio"),
    }
    model = build(experiment(fusion={"weight": 2.0})).eval()
    complete = [0, 2, 4]  # what SOME has of everything
    with torch.no_grad():
        embedded = {
            name: model.towers[name](batch_for(model, SOME)[name])[
                [SOME[name].index(row) for row in complete]
            ]
            for name in MODALITIES
        }
        for step, (wanted, asked) in enumerate(fused_queries(MODALITIES).items()):
            batch = batch_for(model, SOME, step)
            loss, report = model(batch)
            query = truncate_and_normalize(model.fuse({name: embedded[name] for name in asked}))
            groups = [
                batch["groups"][side][[SOME[side].index(row) for row in complete]]
                for side in (asked[0], wanted)
            ]
            expected = by_hand(query, truncate_and_normalize(embedded[wanted]), *groups, 0.07)
            torch.testing.assert_close(report["loss_clip_fused"].double(), expected, rtol=1e-4, atol=1e-4)
            parts = [report[f"{part}_{pair}"] for pair in PAIRS for part in ("loss_clip", "loss_mrl")]
            pairs = 0.25 * sum(parts[::2]) + sum(parts[1::2])
            fused = 0.25 * report["loss_clip_fused"] + report["loss_mrl_fused"]
            torch.testing.assert_close(loss, pairs + 2.0 * fused)


@pytest.mark.parametrize("kind", [None, "gated", "cross_attention", "concat"])
@torch.no_grad()
def test_an_untrained_fusion_is_the_mean_of_directions(kind):
    model = build(experiment(fusion=None if kind is None else {"kind": kind})).eval()
    generator = torch.Generator().manual_seed(1)
    vectors = {
        name: torch.randn(5, 32, generator=generator) * scale
        for name, scale in (("vision", 1), ("audio", 9), ("text", 0.1))
    }
    for asked in (MODALITIES, ("audio", "text"), ("vision",)):
        unit = torch.stack([truncate_and_normalize(vectors[name]) for name in asked]).mean(0)
        torch.testing.assert_close(model.fuse({name: vectors[name] for name in asked}), unit)


def test_a_pair_of_weight_zero_has_no_loss_and_leaves_the_rest_alone():
    model = build(experiment(losses={"pairs": {"vision_audio": 0.0}}))
    assert list(model.losses) == ["vision_text", "audio_text"]
    assert model.pairs == [("vision", "text"), ("audio", "text")]
    full = build(experiment())
    assert {name: value.tolist() for name, value in model.state_dict().items()}.items() <= {
        name: value.tolist() for name, value in full.state_dict().items()
    }.items()
    assert full.no_weight_decay() == {f"losses.{pair}.logit_scale" for pair in PAIRS}


def test_components_are_counted():
    model = build(experiment("simple", fusion={}))
    rows = {row.component: row for row in model.parameter_counts()}
    assert [name for name in rows if name.startswith("audio")] == [
        "audio encoder",
        "audio pooling",
        "audio projection",
    ]
    assert rows["audio encoder"].trained == 0 < rows["audio projection"].trained
    assert rows["fusion"].trained == 3 * 32 * 3 + 3 and rows["temperature"].trained == 4
    assert sum(row.total for row in rows.values()) == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("frozen", [True, False])
def test_a_saved_model_is_the_same_model(tmp_path: Path, frozen: bool) -> None:
    sections = {
        name: {"frozen": frozen, "pooling_type": "simple"} for name in ("text_encoder", "audio_encoder")
    }
    vision = {"frozen": frozen, "projection_dim": 32, "mrl_dimensions": [8, 16]}
    config = ExperimentConfig.model_validate(
        {"name": "toy", "seed": 3, "vision_encoder": vision, **sections, "fusion": {"kind": "concat"}}
    )
    model = build(config, frozen).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(5))
    save_model(model, config, tmp_path / "model")
    again = load_model(tmp_path / "model")
    assert again.modalities == MODALITIES and not again.training and again.fusion is not None
    assert all(tower.encoder.frozen is frozen for tower in again.towers.values())
    batch = batch_for(model, FULL)
    with torch.no_grad():
        for name, tower in model.towers.items():
            assert tower.encoder.fingerprint == again.towers[name].encoder.fingerprint
            torch.testing.assert_close(tower(batch[name]), again.towers[name](batch[name]))
        torch.testing.assert_close(model(batch)[0], again(batch)[0])
        vectors = {name: model.towers[name](batch[name]) for name in ("vision", "audio")}
        torch.testing.assert_close(model.fuse(vectors), again.fuse(vectors))
    (tmp_path / "model" / "audio_encoder" / "model.safetensors").unlink()
    with pytest.raises(AssetError, match=r"model/audio_encoder' cannot be loaded"):
        load_model(tmp_path / "model")


def test_weights_of_a_model_without_sounds_do_not_fit():
    two = build_alignment_model(
        ExperimentConfig.model_validate(
            {"name": "toy", "vision_encoder": {"projection_dim": 32, "mrl_dimensions": [8, 16]}}
        ),
        VisionEncoder.tiny(),
        TextEncoder.tiny(),
    )
    with pytest.raises(CheckpointError, match=r"4 missing \['audio_tower"):
        build(experiment()).load_trainable_state_dict(two.trainable_state_dict())
