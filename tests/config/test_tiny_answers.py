"""Toy settings of the task instruction: small, consistent, and still the same experiment."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_glass.config import ExperimentConfig, dump_config, load_config, variant_config
from edge_glass.config.sections.answers import RecursionConfig, SmallDecoderConfig
from edge_glass.config.tiny import shrink

Load = Callable[..., ExperimentConfig]

CONFIGS = sorted(Path(__file__).parents[2].glob("configs/**/*.yaml"))


def test_a_recursive_model(load_answers: Load) -> None:
    config = load_answers(
        "decoder:\n  kind: trm\n  tokenizer: Qwen/Qwen2.5-7B-Instruct\n"
        "  size: {width: 768, heads: 12, layers: 6, hidden: 900}\n"
        "  recursion: {refinements: 6, cycles: 3, supervision_steps: 16, halting: true}\n"
        "prefix: {projector: linear, perceiver: {num_latents: 64, depth: 6, num_heads: 12, "
        "positions: fourier}}\n"
        "evaluation: {compare_with: [blind, same_compute], primary_metric: token_f1}\n",
        tiny=True,
    )
    decoder, perceiver = config.decoder, config.prefix.perceiver
    assert (decoder.kind, decoder.tokenizer, decoder.vocabulary) == ("trm", None, 300)
    assert decoder.size.model_dump() == {"width": 32, "heads": 2, "layers": 2, "hidden": 32}
    recursion = decoder.recursion
    assert (recursion.refinements, recursion.cycles, recursion.supervision_steps) == (2, 2, 2)
    assert recursion.halting
    assert perceiver is not None
    assert (perceiver.num_latents, perceiver.depth, perceiver.num_heads) == (4, 1, 2)
    assert (perceiver.positions, config.prefix.projector) == ("fourier", "linear")
    assert config.evaluation.compare_with == ["blind", "same_compute"]
    assert config.evaluation.primary_metric == "token_f1"


def test_a_language_model(load_answers: Load) -> None:
    config = load_answers(
        "decoder:\n  source: Qwen/Qwen2.5-7B-Instruct\n  quantization: 4bit\n  attention: flash\n"
        "  lora: {rank: 64, alpha: 128, targets: [q_proj, c_attn], dora: true}\n"
        "  gradient_checkpointing: true\n  dtype: bfloat16\n"
        "generation: {max_new_tokens: 200, num_beams: 5, batch_size: 128}\n"
        "training: {precision: fp16, gradient_accumulation_steps: 4}\n",
        tiny=True,
    )
    decoder, lora = config.decoder, config.decoder.lora
    assert (decoder.source, decoder.mode) == ("Qwen/Qwen2.5-7B-Instruct", "lora")  # a name; nothing is loaded
    assert (decoder.quantization, decoder.attention) == ("none", "sdpa")
    assert (decoder.gradient_checkpointing, decoder.dtype) == (True, "bfloat16")
    assert (lora.rank, lora.alpha, lora.targets, lora.dora) == (4, 128, ["q_proj"], True)
    generation = config.generation
    assert (generation.max_new_tokens, generation.num_beams, generation.batch_size) == (16, 2, 8)
    assert (config.training.precision, config.training.gradient_accumulation_steps) == ("auto", 4)


def test_targets_that_a_toy_lacks_become_the_usual_ones(load_answers: Load) -> None:
    config = load_answers("decoder: {lora: {targets: [c_attn, c_proj]}}\n", tiny=True)
    assert config.decoder.lora.targets == ["attention", "mlp"]


def test_rows(load_answers: Load) -> None:
    config = load_answers(
        "evaluation: {validation_rows: 1000, test_rows: 4}\n"
        "vision_encoder: {pooling_type: grid, grid_size: 7}\n",
        "dataset={max_question_length: 4096, max_answer_length: 2, batch_size: 512}",
        tiny=True,
    )
    assert (config.evaluation.validation_rows, config.evaluation.test_rows) == (16, 4)
    assert config.vision_encoder.grid_size == 2
    assert config.generation.max_new_tokens == 2
    shrunk = load_answers(tiny=True)
    assert (shrunk.dataset.max_question_length, shrunk.dataset.max_answer_length) == (256, 64)
    assert (shrunk.dataset.batch_size, shrunk.evaluation.test_rows) == (8, None)


def test_files_of_conversations_go(load: Load) -> None:
    text = (
        "name: x\ntask: instruction\ndataset: {train_conversations: a.json, val_conversations: b.json, "
        "image_root: nowhere, val_fraction: 0.0}\n"
    )
    dataset = load(text=text, tiny=True).dataset
    assert (dataset.train_conversations, dataset.val_conversations, dataset.image_root) == (None, None, None)
    assert dataset.val_fraction == 0.1


def test_a_question_for_all_pictures_stays(load: Load) -> None:
    text = (
        "name: x\ntask: instruction\ndataset: {train_parquet: a.parquet, caption_question: 'What is it?', "
        "text_column: name, group_column: owner}\n"
    )
    dataset = load(text=text, tiny=True).dataset
    assert (dataset.caption_question, dataset.text_column) == ("What is it?", "name")


def test_variants(load_answers: Load) -> None:
    config = load_answers(
        "decoder: {kind: trm, recursion: {cycles: 1}}\n"
        "ablation:\n  variants:\n"
        "    deep: {decoder.recursion.cycles: 9, decoder.size: {width: 512, heads: 16}}\n"
        "    plain: {decoder.kind: plain}\n"
        "    words: {decoder: {kind: causal_lm, lora: {rank: 64}}}\n",
        tiny=True,
    )
    deep, plain, words = (variant_config(config, name).decoder for name in ("deep", "plain", "words"))
    assert (deep.recursion.cycles, deep.size.width, deep.size.heads) == (2, 32, 2)
    assert (plain.size.width, plain.recursion) == (32, RecursionConfig())
    assert (words.lora.rank, words.size) == (4, SmallDecoderConfig())


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_a_written_tiny_config_reads_back(path: Path, tmp_path: Path) -> None:
    config = load_config(path, tiny=True)
    (tmp_path / "config.yaml").write_text(dump_config(config), encoding="utf-8")
    assert load_config(tmp_path / "config.yaml") == config
    assert load_config(tmp_path / "config.yaml", tiny=True) == config


HEADS = st.sampled_from([1, 2, 3, 5, 8, 16])


@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from(["trm", "plain", "causal_lm"]),
    heads=HEADS,
    times=st.integers(1, 40),
    layers=st.integers(1, 40),
    latents=st.none() | st.integers(1, 100),
    fusion=st.none() | st.sampled_from(["concat", "cross_attention", "gated"]),
    pooling=st.sampled_from([None, "none", "mean", "grid"]),
    mode=st.sampled_from(["frozen", "lora", "full"]),
    quantization=st.sampled_from(["none", "8bit"]),
)
def test_a_sound_config_stays_sound(
    kind: str,
    heads: int,
    times: int,
    layers: int,
    latents: int | None,
    fusion: str | None,
    pooling: str | None,
    mode: str,
    quantization: str,
) -> None:
    size = {"width": 2 * heads * times, "heads": heads, "layers": layers}
    of_kind = {
        "trm": {"size": size, "recursion": {"cycles": layers}},
        "plain": {"size": size},
        "causal_lm": {"mode": mode, "quantization": "none" if mode == "full" else quantization},
    }
    config = ExperimentConfig.model_validate(
        {
            "name": "x",
            "task": "instruction",
            "vision_encoder": {"pooling_type": pooling},
            "audio_encoder": {"pooling_type": "none"} if fusion else None,
            "fusion": fusion and {"kind": fusion, "num_heads": heads},
            "prefix": {"perceiver": latents and {"num_latents": latents, "num_heads": heads}},
            "decoder": {"kind": kind, **of_kind[kind]},
        }
    )
    assert config.problems(surroundings=False) == []
    tiny = ExperimentConfig.model_validate(shrink(config))
    assert tiny.problems(surroundings=True) == []
    assert tiny.decoder.kind == kind and (tiny.fusion is None) == (fusion is None)
    again = ExperimentConfig.model_validate(shrink(tiny))
    assert again == tiny
