"""Checks across fields: each fault gives its sentence, and the sound neighbour gives none."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import pytest
from config_messages import Facts, check_message, messages

from edge_glass.config import ExperimentConfig

Load = Callable[..., ExperimentConfig]
ErrorOf = Callable[..., str]

SOUND = [
    "vision_encoder.mrl_dimensions=[256, 128]",
    "losses.contrastive=0",
    "training.gradient_accumulation_steps=1",
    "vision_encoder={use_attention_pooling: true, pooling_type: multihead}",
    "evaluation.primary_metric=t2i_r10",
    "evaluation.primary_metric=mean_r5@64",
    "dataset={val_fraction: 0.5, test_fraction: 0.49}",
    "dataset={val_fraction: 0.9, test_fraction: 0.9, val_parquet: train.parquet}",
    "training={device: cpu, precision: bf16}",
]


@pytest.mark.parametrize(("override", "facts"), messages("check"))
def test_faults(error_of: ErrorOf, override: str, facts: Facts) -> None:
    check_message(error_of("", override), f"override {override}", facts)


@pytest.mark.parametrize("override", SOUND)
def test_sound_neighbours(load: Load, override: str) -> None:
    load("", override)


def test_matryoshka_without_dimensions(error_of: ErrorOf, load: Load) -> None:
    text = (
        "name: x\nvision_encoder: {projection_dim: 64, mrl_dimensions: []}\n"
        "losses: {mrl: 1, sample_single_mrl_dim: true}\n"
    )
    assert error_of(text=text, tiny=True) == (
        "small.yaml line 3: losses.mrl: is 1, but vision_encoder.mrl_dimensions is empty; "
        "give dimensions such as [32, 16, 8], or set losses.mrl to 0\n"
        "small.yaml line 3: losses.sample_single_mrl_dim: there is nothing to draw from: "
        "vision_encoder.mrl_dimensions is empty; give dimensions such as [32, 16, 8], or set it to false"
    )
    load(text=text.replace("mrl: 1", "mrl: 0").replace("true", "false"), tiny=True)


def test_siglip_does_not_accumulate_either(error_of: ErrorOf) -> None:
    message = error_of("", "losses.kind=siglip", "training.gradient_accumulation_steps=2")
    assert "losses.kind siglip takes its negatives from within one batch" in message


def test_a_missing_file_says_where_it_was_looked_for(error_of: ErrorOf, tmp_path: Path) -> None:
    message = error_of("", "dataset.val_parquet=nope.parquet")
    assert message.endswith(f"no such file: nope.parquet (looked in the working directory {Path.cwd()})")
    message = error_of("", f"dataset.val_parquet={tmp_path}/nope.parquet")
    assert message.endswith(f"dataset.val_parquet: no such file: {tmp_path}/nope.parquet")


def test_a_folder_of_pictures(load: Load, error_of: ErrorOf) -> None:
    Path("pictures").mkdir()
    Path("captions.csv").touch()
    whole = "dataset={train_parquet: null, image_folder: pictures, metadata_file: captions.csv}"
    assert load("", whole).dataset.image_folder == "pictures"
    assert "expected a folder, got captions.csv" in error_of("", whole, "dataset.image_folder=captions.csv")
    assert "no such folder: pictues (looked" in error_of("", whole, "dataset.image_folder=pictues")


def test_wandb_has_to_be_installed(error_of: ErrorOf, load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    installed = {"wandb": None}
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name: installed[name] if name in installed else find(name),
    )
    assert error_of("", "training.report_to=[wandb]") == (
        "override training.report_to=[wandb]: training.report_to: asks for wandb, which is not installed; "
        "pip install 'edge-glass[wandb]', or leave wandb out"
    )
    installed["wandb"] = find("json")
    assert load("", "training.report_to=[wandb]").training.report_to == ["wandb"]


def test_tiny_still_finds_mistakes_of_the_full_size(error_of: ErrorOf) -> None:
    assert "512 is larger than" in error_of("", "vision_encoder.mrl_dimensions=[512]", tiny=True)


def test_metrics_of_the_ablation_table(error_of: ErrorOf, load: Load) -> None:
    message = error_of("ablation: {variants: {a: {losses.mrl: 0}}, metrics: [i2t_r1, i2t_r3]}\n")
    assert (
        message.startswith("small.yaml line 9: ablation.metrics[1]: expected a metric")
        and "'i2t_r3'" in message
    )
    sound = "ablation: {variants: {a: {losses.mrl: 0}}, metrics: [i2t_r1, mean_medr@64]}\n"
    assert load(sound).ablation is not None


SOUNDS = "audio_encoder={}"


def test_three_modalities(load: Load) -> None:
    config = load("", SOUNDS, "fusion={}", "evaluation.primary_metric=a2v_r5@64")
    assert config.audio_encoder is not None and config.audio_encoder.source == "asset:whisper-tiny-en"
    assert load("", "audio_encoder.pooling_type=perceiver").audio_encoder.perceiver.num_latents == 16
    assert load("", "audio_encoder=null").audio_encoder is None


def test_pairs_that_are_left_out(load: Load, error_of: ErrorOf) -> None:
    load("", SOUNDS, "losses.pairs={vision_audio: 0}")
    load("", SOUNDS, "losses.pairs={vision_text: 0}")  # pictures and words meet through sounds
    load("", "losses.pairs={audio_text: 0, vision_audio: 0}")  # there are none anyway
    message = error_of("", SOUNDS, "losses.pairs={audio_text: 0, vision_audio: 0}")
    assert message.endswith(
        "losses.pairs.audio_text: is 0, which leaves audio_encoder without a partner; "
        "give one of its pairs a weight above 0"
    )
    message = error_of("", SOUNDS, "losses.pairs={vision_text: 0, audio_text: 0}")
    assert "which leaves text_encoder without a partner" in message and "vision_encoder" not in message
    assert error_of("", "losses.pairs={vision_text: 0}").count("\n") == 0  # one cause, one sentence


def test_a_metric_of_a_pair_that_is_left_out(load: Load, error_of: ErrorOf) -> None:
    left_out = "losses.pairs={vision_audio: 0}"
    load("", SOUNDS, left_out, "evaluation.primary_metric=t2a_r1")
    assert error_of("", SOUNDS, left_out, "evaluation.primary_metric=v2a_r1").endswith(
        "'v2a_r1' needs the pair vision_audio, whose weight losses.pairs.vision_audio is 0"
    )


@pytest.mark.parametrize("metric", ["at2v_r1", "vt2a_r5@64", "va2t_r10"])
def test_a_metric_of_fused_queries_needs_a_fusion(load: Load, error_of: ErrorOf, metric: str) -> None:
    chosen = f"evaluation.primary_metric={metric}"
    load("", SOUNDS, "fusion={}", chosen)
    assert error_of("", SOUNDS, chosen).endswith(
        f"evaluation.primary_metric: '{metric}' is of fused queries, but there is no fusion"
    )
    table = f"ablation={{variants: {{a: {{losses.mrl: 0.5}}}}, metrics: [{metric.partition('_')[0]}_medr]}}"
    assert load("", SOUNDS, "fusion={}", table).ablation is not None
    assert "ablation.metrics[0]: " in error_of("", SOUNDS, table)


def test_a_folder_of_pictures_has_no_sounds(load: Load, error_of: ErrorOf) -> None:
    Path("captions.csv").touch()
    folder = "dataset={train_parquet: null, image_folder: ., metadata_file: captions.csv}"
    load("", folder)
    assert error_of("", folder, SOUNDS).endswith(
        "audio_encoder: needs sounds, which are read from parquet files only, not from image_folder"
    )


def test_a_warm_start_needs_frozen_sounds_too(load: Load, error_of: ErrorOf) -> None:
    warm = "training.warm_start=closed_form"
    load("", SOUNDS, warm)
    for audio in ("{frozen: false}", "{pooling_type: multihead}", "{head: {kind: mlp}}"):
        assert "but audio_encoder " in error_of("", f"audio_encoder={audio}", warm)
