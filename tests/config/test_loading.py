"""load_config: merging, overrides, messages."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from config_messages import Facts, check_message, messages

from edge_glass.config import ConfigError, ExperimentConfig, check_files, how_to_build, load_config

Load = Callable[..., ExperimentConfig]
ErrorOf = Callable[..., str]


def test_a_file_overrides_defaults_only_where_it_speaks(load: Load) -> None:
    config = load("optimization: {lr: 3e-4}\n")
    assert config.name == "small"
    assert config.optimization.lr == 3e-4
    assert config.optimization.schedule == type(config.optimization)().schedule
    assert config.vision_encoder.mrl_dimensions == [128, 64]


def test_off_stays_text(load: Load) -> None:
    assert load("training: {feature_cache: off}\n").training.feature_cache == "off"


def test_no_torch() -> None:
    code = (
        "import sys, edge_glass.config as c; c.json_schema(); "
        "heavy = {'torch', 'timm', 'transformers', 'numpy', 'pandas'} & set(sys.modules); "
        "sys.exit(f'imported: {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


class TestBase:
    def test_mappings_merge_and_lists_are_replaced(self, load: Load) -> None:
        folder = Path("shared")
        folder.mkdir()
        (folder / "base.yaml").write_text(
            "name: base\ntraining: {epochs: 7, max_steps: 9}\n"
            "vision_encoder: {mrl_dimensions: [128, 64, 32]}\noptimization: {lr: 1e-3}\n"
        )
        config = load("base: shared/base.yaml\ntraining: {max_steps: 5}\n")
        assert config.name == "small"
        assert (config.training.epochs, config.training.max_steps) == (7, 5)
        assert config.vision_encoder.mrl_dimensions == [128, 64]
        assert config.optimization.lr == 1e-3

    def test_base_is_relative_to_the_file(self, load: Load) -> None:
        Path("sub").mkdir()
        Path("sub/base.yaml").write_text("training: {epochs: 7}\n")
        load()
        Path("sub/child.yaml").write_text(Path("small.yaml").read_text() + "base: base.yaml\n")
        assert load_config("sub/child.yaml").training.epochs == 7

    def test_null_drops_what_the_base_set(self, load: Load) -> None:
        Path("base.yaml").write_text("ablation: {variants: {a: {losses.mrl: 0}}}\ntraining: {max_steps: 3}\n")
        config = load("base: base.yaml\nablation: null\ntraining: {max_steps: null}\n")
        assert config.ablation is None
        assert config.training.max_steps is None

    def test_an_error_names_the_file_it_stands_in(self, load: Load, error_of: ErrorOf) -> None:
        Path("base.yaml").write_text("training:\n  epochs: 0\n  max_steps: 0\n")
        assert error_of("base: base.yaml\ntraining:\n  max_steps: -1\n") == (
            "base.yaml line 2: training.epochs: expected a whole number of at least 1, got 0\n"
            "small.yaml line 11: training.max_steps: expected a whole number of at least 1, or null, got -1"
        )

    def test_only_one_level(self, load: Load, error_of: ErrorOf) -> None:
        Path("base.yaml").write_text("base: other.yaml\n")
        assert error_of("base: base.yaml\n") == (
            "small.yaml line 9: base: base.yaml has a base itself; only one level is allowed"
        )
        assert error_of("base: small.yaml\n").endswith("has a base itself; only one level is allowed")

    def test_missing_and_wrong_bases(self, load: Load, error_of: ErrorOf) -> None:
        assert error_of("base: nope.yaml\n") == (
            "small.yaml line 9: base: no such file: nope.yaml (the path is relative to small.yaml)"
        )
        assert error_of("base: [a, b]\n") == (
            "small.yaml line 9: base: expected the path of a YAML file, got the list ['a', 'b']"
        )
        assert error_of("training: {base: x}\n").startswith("small.yaml line 9: training.base: unknown key")


class TestOverrides:
    def test_values_follow_the_yaml_rules(self, load: Load) -> None:
        config = load(
            "",
            "optimization.lr=2e-4",
            "training.feature_cache=off",
            "training.max_steps=null",
            "vision_encoder.mrl_dimensions=[64, 32]",
            "training={epochs: 4, early_stopping_patience: 2}",
        )
        assert config.optimization.lr == 2e-4
        assert config.training.feature_cache == "off"
        assert config.vision_encoder.mrl_dimensions == [64, 32]
        assert (config.training.epochs, config.training.early_stopping_patience) == (4, 2)

    def test_the_first_equals_sign_parts_key_and_value(self, load: Load) -> None:
        assert load("", "output_dir=out=3").output_dir == "out=3"

    def test_later_ones_win(self, load: Load) -> None:
        assert load("training: {epochs: 9}\n", "training.epochs=2", "training.epochs=3").training.epochs == 3

    def test_data_paths_are_relative_to_the_working_directory(self, load: Load) -> None:
        Path("my.parquet").touch()
        assert load("", "dataset.train_parquet=my.parquet").dataset.train_parquet == "my.parquet"

    def test_a_key_of_a_variant(self, load: Load) -> None:
        config = load("", "ablation.variants.no-mrl.losses.mrl=0")
        assert config.ablation is not None
        assert config.ablation.variants == {"no-mrl": {"losses.mrl": 0}}

    @pytest.mark.parametrize("text", ["training.epochs", "=3", "a..b=3", ".a=3", "training. epochs=3", ""])
    def test_a_bad_form_shows_the_right_one(self, error_of: ErrorOf, text: str) -> None:
        assert error_of("", text) == (
            f"override {text}: not of the right form; write KEY=VALUE, such as training.epochs=3 "
            "or 'vision_encoder.mrl_dimensions=[256, 64]'"
        )

    @pytest.mark.parametrize(
        ("text", "facts"),
        messages("override"),
    )
    def test_errors_name_the_override(self, error_of: ErrorOf, text: str, facts: Facts) -> None:
        check_message(error_of("", text), f"override {text}", facts)

    def test_bad_yaml_in_a_value(self, error_of: ErrorOf) -> None:
        assert error_of("", "vision_encoder.mrl_dimensions=[64").startswith(
            "override vision_encoder.mrl_dimensions=[64: not valid YAML: expected ',' or ']'"
        )

    def test_an_override_of_a_section_is_not_blamed_for_its_other_keys(self, error_of: ErrorOf) -> None:
        message = error_of("training:\n  max_steps: 0\n", "training={epochs: 3}")
        assert message.startswith("small.yaml line 10: training.max_steps: ")


class TestMessages:
    @pytest.mark.parametrize(
        ("extra", "facts"),
        messages("file"),
    )
    def test_the_message(self, error_of: ErrorOf, extra: str, facts: Facts) -> None:
        check_message(error_of(extra + "\n"), "small.yaml line 9", facts)

    def test_a_missing_name(self, error_of: ErrorOf) -> None:
        text = "vision_encoder: {mrl_dimensions: [64]}\n"
        assert error_of(text=text, tiny=True) == (
            "small.yaml: name: missing; expected text of letters, digits, '.', '_' and '-', "
            "starting with a letter or digit"
        )
        assert error_of(text="", tiny=True).startswith("small.yaml: name: missing")

    def test_a_bad_name(self, error_of: ErrorOf) -> None:
        assert error_of("", "name=a/b").endswith("starting with a letter or digit, got the text 'a/b'")

    def test_all_problems_at_once_unknown_keys_first(self, error_of: ErrorOf) -> None:
        message = error_of("training: {epochs: 0, max_steps: 0, keep_checkpoints: 0, nope: 1, epochz: 1}\n")
        keys = [line.split(": ")[1].removeprefix("training.") for line in message.splitlines()]
        assert keys == ["nope", "epochz", "epochs", "max_steps", "keep_checkpoints"]

    def test_fifty_problems_then_a_count(self, error_of: ErrorOf) -> None:
        lines = error_of("".join(f"wrong{number}: 1\n" for number in range(53))).splitlines()
        assert len(lines) == 51
        assert lines[-1] == "and 3 more"

    def test_long_values_are_cut(self, error_of: ErrorOf) -> None:
        assert len(error_of(f"training: {{epochs: {'x' * 500}}}\n")) < 200

    def test_the_top_must_be_a_mapping(self, error_of: ErrorOf) -> None:
        assert error_of(text="- a\n") == (
            "small.yaml: expected keys and values such as name: my-run, got the list ['a']"
        )

    def test_a_missing_file_names_the_nearest(self, load: Load) -> None:
        load()
        with pytest.raises(ConfigError, match=r"^smal\.yaml: no such file; did you mean small\.yaml\?$"):
            load_config("smal.yaml")
        with pytest.raises(ConfigError, match=r"^small: no such file; did you mean small\.yaml\?$"):
            load_config("small")
        with pytest.raises(ConfigError, match=r"^nowhere/x\.yaml: no such file$"):
            load_config("nowhere/x.yaml")
        with pytest.raises(ConfigError, match=r"^\.: is a folder; expected a YAML file$"):
            load_config(".")

    def test_the_exit_code(self) -> None:
        assert ConfigError("x").exit_code == 2


def test_check_files_goes_through_folders_and_collects(load: Load) -> None:
    load()
    Path("bad.yaml").write_text("name: 3\n")
    Path("empty").mkdir()
    results = check_files([".", "small.yaml", "empty"])
    assert [(str(one.file), one.error is None) for one in results] == [
        ("bad.yaml", False),
        ("small.yaml", True),
        ("small.yaml", True),
        ("empty", False),
    ]


def test_check_files_names_missing_data_which_is_no_error(load: Load) -> None:
    load()
    Path("train.parquet").unlink()
    (checked,) = check_files(["small.yaml"], ["dataset.val_parquet=data/emoji/val.parquet"])
    assert checked.error is None
    assert set(checked.missing) == {Path("train.parquet"), Path("data/emoji/val.parquet")}
    line = how_to_build(checked.missing)
    assert "`edge-glass data build emoji`" in line and "train.parquet" in line and "\n" not in line
    assert check_files(["small.yaml"], tiny=True)[0].missing == ()
    (checked,) = check_files(["small.yaml"], ["dataset.batch_size=1"])
    assert "dataset.batch_size" in str(checked.error) and "no such file" not in str(checked.error)


def test_how_to_build_names_each_data_set_once() -> None:
    files = [Path("data/emoji", name) for name in ("train.parquet", "val.parquet", "spoken_words.parquet")]
    line = how_to_build([*files, *files, Path("data/easy-vqa/test.parquet")])
    assert line.count("data build") == 2
    assert "`edge-glass data build emoji --speech`" in line and "`edge-glass data build easy-vqa`" in line


class TestOriginalProject:
    """Keys of the two projects that this one continues are answered with today's."""

    @pytest.mark.parametrize(
        ("wrote", "today"),
        [
            ("audio_encoder: {model_name: x}", "audio_encoder.source"),
            ("use_attention_pooling: true", "vision_encoder.use_attention_pooling"),
            ("projection_dim: 512", "vision_encoder.projection_dim"),
            ("text_encoder: {projection_dim: 512}", "vision_encoder.projection_dim"),
            ("fusion: {strategy: gated}", "fusion.kind"),
            ("num_epochs: 3", "training.epochs"),
        ],
    )
    def test_today_s_key(self, error_of: ErrorOf, wrote: str, today: str) -> None:
        (line,) = error_of(f"{wrote}\n").splitlines()
        assert line.startswith("small.yaml line 9: ") and "unknown key" in line and today in line

    @pytest.mark.parametrize(
        ("wrote", "today"),
        [
            ("decoder: {model_name: x}", "decoder.source"),
            ("decoder: {load_in_4bit: true}", "decoder.quantization: 4bit"),
            ("decoder: {load_in_8bit: true}", "decoder.quantization: 8bit"),
            ("decoder: {lora_r: 32}", "decoder.lora.rank"),
            ("decoder: {lora_alpha: 64}", "decoder.lora.alpha"),
            ("decoder: {lora_target_modules: [q_proj]}", "decoder.lora.targets"),
            ("vision_encoder: {use_perceiver: true}", "vision_encoder"),
        ],
    )
    def test_today_s_key_of_a_decoder(self, answers_error: ErrorOf, wrote: str, today: str) -> None:
        (line,) = answers_error(f"{wrote}\n").splitlines()
        assert "unknown key" in line and today in line

    def test_a_key_of_another_task(self, error_of: ErrorOf) -> None:
        assert "decoder.quantization: 4bit in the task instruction" in error_of("load_in_4bit: true\n")
