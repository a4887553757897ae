"""Toy settings: small, consistent, and faithful to what the config switches on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_glass.config import ExperimentConfig, dump_config, load_config
from edge_glass.config.tiny import shrink

Load = Callable[..., ExperimentConfig]

LARGE = """\
training: {epochs: 90, eval_epochs: 10, precision: fp16, report_to: [tensorboard], feature_cache: some/folder}
evaluation: {primary_metric: i2t_r5@128}
ablation: {variants: {a: {losses.mrl: 0}}, seeds: [3, 4, 5], metrics: [i2t_r1@64, i2t_r1]}
"""


def test_sizes_shrink_together(load: Load) -> None:
    config = load(LARGE, tiny=True)
    assert config.tiny
    assert config.name == "small-tiny"
    assert (config.training.epochs, config.training.eval_epochs) == (2, 1.0)
    assert (config.training.precision, config.training.report_to) == ("auto", [])
    assert config.training.feature_cache == "auto"
    assert (config.dataset.batch_size, config.dataset.num_workers) == (8, 0)
    assert config.vision_encoder.projection_dim == 32
    assert config.vision_encoder.mrl_dimensions == [16, 8]
    assert config.vision_encoder.head.hidden_dim == config.text_encoder.head.hidden_dim == 32
    assert config.evaluation.bootstrap_samples == 100
    assert config.evaluation.primary_metric == "i2t_r5@16"
    assert config.ablation is not None
    assert (config.ablation.seeds, config.ablation.metrics) == ([3], ["i2t_r1@8", "i2t_r1"])
    assert config.ablation.variants == {"a": {"losses.mrl": 0}}


def test_sounds_and_fusion_stay_and_shrink(load: Load) -> None:
    sections = (
        "audio_encoder: {pooling_type: perceiver, head: {hidden_dim: 500}}\n"
        "fusion: {kind: cross_attention, num_heads: 16, weight: 0.5}\n"
        "dataset: {train_parquet: train.parquet, extra_train_parquet: [b.parquet], group_column: speaker}\n"
    )
    config = load(text="name: x\n" + sections, tiny=True)
    audio, fusion = config.audio_encoder, config.fusion
    assert audio is not None and fusion is not None
    assert (audio.pooling_type, audio.head.hidden_dim, audio.perceiver.num_heads) == ("perceiver", 32, 2)
    assert (audio.perceiver.num_latents, audio.perceiver.depth) == (4, 1)
    assert (fusion.kind, fusion.num_heads, fusion.weight) == ("cross_attention", 2, 0.5)
    assert config.dataset.extra_train_parquet == []
    assert load("", tiny=True).audio_encoder is None and load("", tiny=True).fusion is None


def test_data_files_are_not_needed(load: Load) -> None:
    missing = "dataset={train_parquet: a.parquet, val_parquet: b.parquet, val_fraction: 0.0}"
    dataset = load("", missing, tiny=True).dataset
    assert (dataset.train_parquet, dataset.val_parquet) == (None, None)


def test_a_split_with_its_own_file_is_split_off_instead(load: Load) -> None:
    load(LARGE)  # writes small.yaml
    Path("own.yaml").write_text(Path("small.yaml").read_text() + "base: base.yaml\n")
    Path("base.yaml").write_text("dataset: {val_parquet: v.parquet, val_fraction: 0.0, test_fraction: 0.8}\n")
    dataset = load_config("own.yaml", tiny=True).dataset
    assert dataset.val_fraction > 0
    assert 0 < dataset.test_fraction < 0.5


def test_small_settings_stay(load: Load) -> None:
    config = load("training: {epochs: 1, eval_epochs: 0.5, feature_cache: off}\n", tiny=True)
    assert (config.training.epochs, config.training.eval_epochs) == (1, 0.5)
    assert config.training.feature_cache == "off"


def test_overrides_win(load: Load) -> None:
    config = load(
        LARGE,
        "name=mine",
        "training.epochs=5",
        "dataset={batch_size: 4}",
        tiny=True,
    )
    assert (config.name, config.training.epochs, config.dataset.batch_size) == ("mine", 5, 4)
    assert config.dataset.train_parquet is None


def test_overridden_dimensions_are_not_shrunk(load: Load) -> None:
    metric = "evaluation.primary_metric=mean_r1@24"
    config = load("", "vision_encoder.mrl_dimensions=[48, 24]", metric, tiny=True)
    assert config.vision_encoder.projection_dim == 256
    assert config.vision_encoder.mrl_dimensions == [48, 24]
    assert config.evaluation.primary_metric == "mean_r1@24"


def test_the_full_dimension_stays_full(load: Load) -> None:
    text = "name: x\nvision_encoder: {projection_dim: 768, mrl_dimensions: [64, 768, 64, 256]}\n"
    encoder = load(text=text, tiny=True).vision_encoder
    assert (encoder.projection_dim, encoder.mrl_dimensions) == (32, [8, 32, 8, 16])


def test_many_dimensions_stay_apart(load: Load) -> None:
    text = (
        "name: x\nvision_encoder: {projection_dim: 4096, mrl_dimensions: [4096, 2048, 1024, 512, 256, 128]}\n"
    )
    encoder = load(text=text, tiny=True).vision_encoder
    assert (encoder.projection_dim, encoder.mrl_dimensions) == (32, [32, 27, 22, 17, 12, 7])


def test_a_written_tiny_config_is_not_shrunk_again(load: Load) -> None:
    config = load(LARGE, "training.epochs=5", tiny=True)
    Path("again.yaml").write_text(dump_config(config))
    assert load_config("again.yaml") == config
    assert load_config("again.yaml", tiny=True).name == config.name


@settings(max_examples=60, deadline=None)
@given(
    width=st.integers(1, 4096),
    shares=st.lists(st.integers(1, 4096), max_size=9),
    metric=st.sampled_from(["mean_r1", "i2t_r1", "t2i_r10"]),
    pick=st.integers(0, 8),
)
def test_a_sound_config_stays_sound(width: int, shares: list[int], metric: str, pick: int) -> None:
    dimensions = [min(share, width) for share in shares]
    smaller = [dimension for dimension in dimensions if dimension < width]
    at = f"@{smaller[pick % len(smaller)]}" if smaller else ""
    config = ExperimentConfig.model_validate(
        {
            "name": "x",
            "vision_encoder": {"projection_dim": width, "mrl_dimensions": dimensions},
            "losses": {"mrl": 1.0 if dimensions else 0.0},
            "evaluation": {"primary_metric": metric + at},
        }
    )
    assert config.problems(surroundings=False) == []
    tiny = ExperimentConfig.model_validate(shrink(config))
    assert tiny.problems(surroundings=True) == []
    assert tiny.vision_encoder.projection_dim <= 32
    assert len(set(tiny.vision_encoder.mrl_dimensions)) == len(set(dimensions))


@pytest.mark.parametrize(
    "path", sorted(Path(__file__).parents[2].glob("configs/**/*.yaml")), ids=lambda path: path.name
)
def test_every_config_of_the_project_passes(path: Path) -> None:
    assert load_config(path, tiny=True).tiny
