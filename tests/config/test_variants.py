"""Ablation variants are whole experiments, checked when the file is loaded."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from config_messages import Facts, check_message, messages

from edge_glass.config import ConfigError, ExperimentConfig, dump_config, variant_config
from edge_glass.config.sections.answers import DecoderConfig, RecursionConfig

Load = Callable[..., ExperimentConfig]
ErrorOf = Callable[..., str]


def ablation(variant: str) -> str:
    return f"ablation:\n  variants:\n    good: {{losses.mrl: 0}}\n    odd: {{{variant}}}\n"


@pytest.mark.parametrize(
    ("variant", "facts"),
    messages("variant"),
)
def test_a_bad_variant_is_named(error_of: ErrorOf, variant: str, facts: Facts) -> None:
    key, *others = facts
    check_message(error_of(ablation(variant)), "small.yaml line 12", [f"ablation.variants.{key}", *others])


def test_a_missing_file_of_a_variant(error_of: ErrorOf) -> None:
    message = error_of(ablation("dataset.train_parquet: other.parquet"))
    assert message.startswith(
        "small.yaml line 12: ablation.variants.odd.dataset.train_parquet: no such file: other.parquet"
    )


def test_a_fault_of_the_experiment_is_reported_once(error_of: ErrorOf) -> None:
    assert (
        len(
            error_of(ablation("losses.contrastive: 1"), "training.gradient_accumulation_steps=2").splitlines()
        )
        == 1
    )


def test_names_and_emptiness(error_of: ErrorOf) -> None:
    assert "ablation.variants.a b: becomes part of a folder's name; expected text of letters" in error_of(
        "ablation: {variants: {a b: {}}}\n"
    )
    assert "ablation.variants: is empty; give at least one variant" in error_of("ablation: {variants: {}}\n")


def test_variant_config_applies_names_and_seeds(load: Load) -> None:
    config = load(ablation("vision_encoder: {pooling_type: cls}, training.epochs: 3"))
    variant = variant_config(config, "odd", seed=7)
    assert (variant.name, variant.seed, variant.ablation) == ("small-odd-seed7", 7, None)
    assert (variant.vision_encoder.pooling_type, variant.training.epochs) == ("cls", 3)
    assert variant.vision_encoder.mrl_dimensions == config.vision_encoder.mrl_dimensions
    assert variant_config(config, "good").name == "small-good"
    assert config.ablation is not None  # unchanged


def test_unknown_variant(load: Load) -> None:
    with pytest.raises(ConfigError, match=r"^ablation.variants has no 'x'; it has good, odd$"):
        variant_config(load(ablation("")), "x")
    with pytest.raises(ConfigError, match="it has no variants"):
        variant_config(load(), "x")


def test_number_like_variant_names(load: Load) -> None:
    config = load("ablation: {variants: {64: {vision_encoder.mrl_dimensions: [64]}}}\n")
    assert variant_config(config, "64").vision_encoder.mrl_dimensions == [64]


def test_a_column_that_a_variant_does_not_measure(error_of: ErrorOf) -> None:
    extra = ablation("vision_encoder.mrl_dimensions: [128]") + "  metrics: [i2t_r1, i2t_r1@64]\n"
    assert error_of(extra) == (
        "small.yaml line 12: ablation.variants.odd.vision_encoder.mrl_dimensions: "
        "i2t_r1@64: expected a dimension of vision_encoder.mrl_dimensions below the full one (128), got 64"
    )


class TestAnswers:
    """Variants of the task instruction, whose kinds of decoder read different options."""

    TRM = (
        "decoder: {kind: trm, vocabulary: 300, size: {width: 64}, recursion: {cycles: 4, halting: true}}\n"
        "vision_encoder: {pooling_type: grid, grid_size: 2}\n"
    )

    def variant(self, load: Load, overrides: str) -> ExperimentConfig:
        return variant_config(load(self.TRM + ablation(overrides).replace("losses.mrl: 0", "")), "odd")

    def test_what_a_variant_leaves_unread_goes_back_to_its_default(self, load_answers: Load) -> None:
        plain = self.variant(load_answers, "decoder.kind: plain")
        assert (plain.decoder.vocabulary, plain.decoder.size.width) == (300, 64)
        assert plain.decoder.recursion == RecursionConfig()
        words = self.variant(load_answers, "decoder: {kind: causal_lm, lora: {rank: 4}}").decoder
        assert words == DecoderConfig.model_validate({"lora": {"rank": 4}})
        one = self.variant(load_answers, "vision_encoder.pooling_type: mean").vision_encoder
        assert (one.pooling_type, one.grid_size) == ("mean", 3)

    def test_what_it_sets_itself_does_not(self, load_answers: Load) -> None:
        with pytest.raises(ConfigError) as caught:
            self.variant(load_answers, "decoder.kind: plain, decoder.recursion.cycles: 4")
        assert str(caught.value).endswith(
            "variants.odd.decoder.recursion.cycles: is not read with decoder.kind plain; leave it out"
        )

    def test_a_variant_can_be_read_back(self, load_answers: Load, load: Load) -> None:
        variant = self.variant(load_answers, "decoder.kind: plain")
        assert load(text=dump_config(variant)) == variant


class TestTiny:
    def test_what_a_variant_sets_is_shrunk(self, load: Load) -> None:
        extra = ablation("training: {epochs: 500}, vision_encoder.mrl_dimensions: [128, 100], losses.mrl: 2")
        config = load(extra, tiny=True)
        assert config.vision_encoder.mrl_dimensions == [16, 4]  # of 256 > 128 > 100 > 64
        assert config.ablation is not None
        assert config.ablation.variants["odd"] == {
            "training.epochs": 2,
            "vision_encoder.mrl_dimensions": [16, 8],
            "losses.mrl": 2,
        }
        variant = variant_config(config, "odd", seed=1)
        assert variant.tiny
        assert variant.name == "small-tiny-odd-seed1"
        assert variant.vision_encoder.mrl_dimensions == [16, 8]

    def test_what_the_user_set_beside_tiny_stays(self, load: Load) -> None:
        config = load(ablation("losses.mrl: 2"), "training.epochs=5", tiny=True)
        assert variant_config(config, "odd").training.epochs == 5

    def test_a_variant_may_widen_the_embedding(self, load: Load) -> None:
        extra = ablation("vision_encoder.projection_dim: 512, evaluation.primary_metric: mean_r1@64")
        config = load(extra, tiny=True)
        assert config.vision_encoder.projection_dim == 16
        variant = variant_config(config, "odd")
        assert variant.vision_encoder.projection_dim == 32
        assert variant.evaluation.primary_metric == "mean_r1@4"

    def test_data_files_of_variants_go_too(self, load: Load) -> None:
        config = load(ablation("dataset.train_parquet: other.parquet"), tiny=True)
        assert variant_config(config, "odd").dataset.train_parquet is None
