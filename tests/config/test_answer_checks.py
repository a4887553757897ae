"""Checks of the task instruction: each fault gives its sentence, and the sound neighbour gives none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from config_messages import Facts, check_message, messages

from edge_glass.config import ExperimentConfig
from edge_glass.config.alignment import AlignmentConfig
from edge_glass.config.fields import known_keys, walk
from edge_glass.config.instruction import InstructionConfig
from edge_glass.config.metrics import answer_metrics
from edge_glass.config.schema import TASKS, changed, config_class

Load = Callable[..., ExperimentConfig]
ErrorOf = Callable[..., str]

FOLDER = (
    "dataset={train_parquet: null, image_folder: ., metadata_file: train.parquet, caption_question: what}"
)
TALK = "dataset={train_parquet: null, train_conversations: train.parquet, image_root: .}"
TRM = "decoder.kind=trm"

SOUND: list[tuple[str, ...]] = [
    (FOLDER,),
    (FOLDER, "dataset.text_column=name"),
    (TALK,),
    (TALK, "dataset={val_conversations: train.parquet, val_fraction: 0.9, test_fraction: 0.9}"),
    ("dataset={caption_question: what, text_column: name, group_column: owner}",),
    ("dataset={question_column: asked, source_column: from, extra_train_parquet: [train.parquet]}",),
    ("dataset.batch_size=1", "training.gradient_accumulation_steps=8"),
    ("vision_encoder={pooling_type: grid, grid_size: 2}",),
    ("vision_encoder={pooling_type: mean, feature_layers: [blocks.0]}",),
    ("audio_encoder={pooling_type: none}", "fusion={kind: gated}", "prefix.perceiver={num_latents: 8}"),
    ("decoder={mode: full}",),
    ("decoder={mode: frozen, dtype: bfloat16}",),
    ("decoder={lora: {rank: 8, rslora: true}, gradient_checkpointing: true}",),
    (TRM, "decoder.recursion={halting: true, halting_weight: 1.0}"),
    (TRM, "decoder={tokenizer: 'asset:smollm2-135m-instruct'}"),
    (TRM, "evaluation.compare_with=[blind, same_size, same_compute]"),
    ("decoder={kind: plain, vocabulary: 300, size: {width: 60, heads: 6}}",),
    ("evaluation.compare_with=[blind]",),
    ("prefix.blind=true",),
    ("generation={do_sample: true, temperature: 0.7, top_p: 0.9}",),
    ("generation.num_beams=4",),
    ("training.precision=fast",),
    *((f"evaluation.primary_metric={one.name}",) for one in answer_metrics()),
]


@pytest.mark.parametrize(("override", "facts"), messages("answers"))
def test_faults(answers_error: ErrorOf, override: str, facts: Facts) -> None:
    check_message(answers_error("", override), f"override {override}", facts)


@pytest.mark.parametrize("overrides", SOUND, ids=" ".join)
def test_sound_neighbours(load_answers: Load, overrides: tuple[str, ...]) -> None:
    load_answers("", *overrides)


def test_defaults_by_task(load: Load, load_answers: Load) -> None:
    table = "ablation: {variants: {a: {optimization.lr: 1e-3}}}\n"
    answers, search = load_answers(table), load(table)
    assert (answers.evaluation.primary_metric, search.evaluation.primary_metric) == (
        "vqa_accuracy",
        "mean_r1",
    )
    assert answers.ablation is not None and search.ablation is not None
    assert answers.ablation.metrics == ["exact_match", "vqa_accuracy"]
    assert search.ablation.metrics == ["i2t_r1", "t2i_r1"]


class TestMetrics:
    def test_columns_of_the_ablation_table(self, load_answers: Load, answers_error: ErrorOf) -> None:
        table = "ablation: {{variants: {{a: {{optimization.lr: 1e-3}}}}, metrics: [bleu, {}]}}\n"
        for name in ("never_ended", "exact_match/type/color", "token_f1/source/easy-vqa"):
            assert load_answers(table.format(name)).ablation is not None
        assert answers_error(table.format("bleu/type/color")) == (
            "small.yaml line 5: ablation.metrics[1]: expected exact_match, vqa_accuracy, token_f1, then "
            "/type/NAME or /source/NAME; got 'bleu/type/color'"
        )
        assert "then /type/NAME or /source/" in answers_error(table.format("exact_match/color"))
        assert "did you mean never_ended?" in answers_error(table.format("never_end"))

    @pytest.mark.parametrize(
        ("name", "package", "extra"),
        [(one.name, one.package, one.extra) for one in answer_metrics() if one.package],
    )
    def test_their_packages_are_installed(
        self, answers_error: ErrorOf, missing: Callable[..., None], name: str, package: str, extra: str
    ) -> None:
        missing(package)
        assert answers_error("", f"evaluation.primary_metric={name}", tiny=True) == (
            f"override evaluation.primary_metric={name}: evaluation.primary_metric: {name} needs {package}, "
            f"which is not installed; pip install 'edge-glass[{extra}]', or choose another metric"
        )


class TestGPU:
    @pytest.mark.parametrize("quantization", ["4bit", "8bit"])
    def test_quantization_needs_a_package(
        self,
        load_answers: Load,
        answers_error: ErrorOf,
        missing: Callable[..., None],
        quantization: str,
    ) -> None:
        chosen = f"decoder.quantization={quantization}"
        missing("bitsandbytes")
        assert answers_error("", chosen) == (
            f"override {chosen}: decoder.quantization: is {quantization}, which needs "
            "bitsandbytes, which is not installed; pip install 'edge-glass[quantization]', or set it to none"
        )
        assert load_answers("", "decoder.quantization=none").decoder.quantization == "none"
        missing(bitsandbytes="json")
        assert load_answers("", chosen).decoder.quantization == quantization
        assert answers_error("", chosen, "training.device=cpu").endswith(
            f"decoder.quantization: is {quantization}, which uses a GPU where there is one, but "
            "training.device is cpu; leave training.device at auto, or set it to none"
        )
        assert answers_error("", chosen, "decoder.mode=full").endswith(
            f"decoder.quantization: is {quantization}, but decoder.mode full trains the weights themselves; "
            "set it to none, or mode to lora"
        )

    def test_flash_attention(
        self, load_answers: Load, answers_error: ErrorOf, missing: Callable[..., None]
    ) -> None:
        missing("flash_attn")
        assert answers_error("", "decoder.attention=flash").endswith(
            "decoder.attention: is flash, which needs a GPU and flash-attn, which is not installed; "
            "pip install flash-attn, or use sdpa"
        )
        missing(flash_attn="json")
        load_answers("", "decoder.attention=flash")
        assert answers_error("", "decoder.attention=flash", "training.device=cpu").endswith(
            "decoder.attention: is flash, which needs a GPU, but training.device is cpu; use sdpa"
        )


def test_blind_and_frozen_leaves_nothing_to_train(answers_error: ErrorOf) -> None:
    assert answers_error("", "decoder.mode=frozen", "prefix.blind=true") == (
        "override prefix.blind=true: prefix.blind: is true and decoder.mode is frozen, "
        "so nothing would be trained; set decoder.mode to lora"
    )
    assert answers_error("", "decoder.mode=frozen", "evaluation.compare_with=[blind]").endswith(
        "evaluation.compare_with: has blind, a run without the prefix, but with decoder.mode frozen only the "
        "prefix is trained; leave blind out"
    )
    assert answers_error("", "prefix.blind=true", "evaluation.compare_with=[blind]").endswith(
        "evaluation.compare_with[0]: blind is what this run is (prefix.blind); leave it out"
    )


def test_heads_of_perceiver_and_fusion_divide_a_small_decoder(
    load_answers: Load, answers_error: ErrorOf
) -> None:
    sizes = (TRM, "decoder.size={width: 36, heads: 6}", "audio_encoder={}")
    load_answers("", *sizes, "prefix.perceiver.num_heads=9", "fusion={kind: gated, num_heads: 8}")
    assert answers_error("", *sizes, "prefix.perceiver.num_heads=8").endswith(
        "prefix.perceiver.num_heads: is 8, which does not divide the decoder's width, 36"
    )
    assert answers_error("", *sizes, "fusion={kind: cross_attention, num_heads: 8}").endswith(
        "fusion.num_heads: is 8, which does not divide the decoder's width, 36"
    )
    load_answers("", "prefix.perceiver.num_heads=7")  # the width of a language model is not known yet


def test_sounds_come_from_parquet_files_only(load_answers: Load, answers_error: ErrorOf) -> None:
    load_answers("", "audio_encoder={}")
    for source, name in ((FOLDER, "image_folder"), (TALK, "train_conversations")):
        assert answers_error("", source, "audio_encoder={}").endswith(
            f"audio_encoder: needs sounds, which are read from parquet files only, not from {name}"
        )


def test_columns_mean_nothing_to_conversations(answers_error: ErrorOf) -> None:
    for column in ("image_column", "question_column", "id_column", "text_column"):
        assert answers_error("", TALK, f"dataset.{column}=x") == (
            f"override dataset.{column}=x: dataset.{column}: is not read with dataset.train_conversations, "
            "which name everything themselves; leave it out"
        )


def test_weight_of_the_fused_loss(answers_error: ErrorOf) -> None:
    assert answers_error("", "audio_encoder={}", "fusion.weight=0.5").endswith(
        "fusion.weight: is not an option of task instruction; it belongs to alignment"
    )
    assert answers_error("", "audio_encoder.head.kind=mlp").endswith("use prefix.projector")


def test_something_to_train_on(answers_error: ErrorOf) -> None:
    assert answers_error("", "dataset={train_parquet: null, val_conversations: train.parquet}").endswith(
        "dataset.train_conversations: missing: val_conversations is given, but nothing to train on"
    )


def test_a_folder_without_its_file(answers_error: ErrorOf) -> None:
    Path("pictures").mkdir()
    assert answers_error("", "dataset={train_parquet: null, image_folder: pictures}").endswith(
        "dataset.image_folder: needs dataset.metadata_file: JSON, JSONL or CSV with the columns file_name "
        "and caption (dataset.text_column)"
    )


def test_tiny_still_finds_what_is_not_read(answers_error: ErrorOf) -> None:
    assert "losses: is not an option of task instruction" in answers_error("losses: {mrl: 0.5}\n", tiny=True)
    assert "is not read with decoder.kind trm" in answers_error("", TRM, "decoder.dtype=bfloat16", tiny=True)


class TestChanged:
    def test_nothing_of_the_defaults(self) -> None:
        config = AlignmentConfig(name="x")
        assert [
            path for key, _ in walk(AlignmentConfig) if key != "name" for path in changed(config, key)
        ] == []

    @pytest.mark.parametrize(
        ("override", "key", "paths"),
        [
            ("optimization.lr=1", "optimization", [("optimization", "lr")]),
            ("optimization.lr=1", "optimization.lr", [("optimization", "lr")]),
            ("optimization.lr=1", "optimization.schedule", []),
            (
                "vision_encoder.head.dropout=0.5",
                "vision_encoder.head",
                [("vision_encoder", "head", "dropout")],
            ),
            ("audio_encoder.head.dropout=0.5", "audio_encoder.head", [("audio_encoder", "head", "dropout")]),
            ("audio_encoder.head.dropout=0.5", "audio_encoder.perceiver", []),
            ("audio_encoder.head.dropout=0.5", "audio_encoder", [("audio_encoder",)]),
        ],
    )
    def test_what_differs(self, load: Load, override: str, key: str, paths: list[tuple[str, ...]]) -> None:
        assert list(changed(load("", override), key)) == paths


def test_options_that_other_options_leave_unread_exist() -> None:
    keys = set(known_keys(InstructionConfig))
    for changes in (
        {},
        {"decoder": {"kind": "plain"}},
        {"decoder": {"kind": "trm"}},
        {"dataset": {"train_conversations": "x"}},
    ):
        config = InstructionConfig.model_validate({"name": "x", **changes})
        for section, names, _ in config.unread_by_other_options():
            assert {f"{section}.{name}" for name in names} <= keys


def test_what_to_use_instead_is_of_options_that_other_tasks_have() -> None:
    classes = {task: config_class(task) for task in TASKS.names()}
    for task, schema in classes.items():
        others = {key for other in classes.values() if other is not schema for key in known_keys(other)}
        assert set(schema.instead) <= others - set(known_keys(schema)), task
