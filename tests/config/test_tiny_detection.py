"""Toy settings of the task detection: small, consistent, and still the same experiment."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_glass.config import ExperimentConfig
from edge_glass.config.tiny import shrink

Load = Callable[..., ExperimentConfig]

LARGE = """\
name: x
task: detection
dataset: {train: a.parquet}
vlm:
  family: qwen3_vl
  source: Qwen/Qwen3-VL-8B-Instruct
  quantization: 4bit
  attention: flash
  dtype: bfloat16
  gradient_checkpointing: true
  min_pixels: 65536
  max_pixels: 4000000
  lora: {preset: aggressive, dropout: 0.1, rslora: true, llm: [attention, layers.27.mlp.down_proj]}
detection: {mask: all_tokens, collator: v2, box_format: tokens, iou_steps: 50, iou_rows: 64, iou_seconds: 90}
generation: {max_new_tokens: 2000, batch_size: 64}
evaluation: {validation_rows: 500, test_rows: 4, primary_metric: f1_75}
training: {precision: bf16, gradient_accumulation_steps: 8}
"""


def test_a_large_model(load: Load) -> None:
    config = load("", text=LARGE, tiny=True)
    vlm, lora = config.vlm, config.vlm.lora
    assert (vlm.family, vlm.source, vlm.mode) == ("qwen3_vl", None, "lora")
    assert vlm.size.model_dump() == {
        "width": 32,
        "layers": 2,
        "heads": 2,
        "vision_width": 32,
        "vision_layers": 2,
        "vision_heads": 2,
    }
    assert (vlm.quantization, vlm.attention) == ("none", "sdpa")
    assert (vlm.dtype, vlm.gradient_checkpointing) == ("bfloat16", True)
    assert (vlm.min_pixels, vlm.max_pixels) == (3136, 16 * 32 * 32)
    assert (lora.rank, lora.alpha, lora.dropout, lora.rslora) == (4, 128, 0.1, True)
    assert (lora.llm, lora.projector, lora.vision) == (["attention"], ["all-linear"], ["attention", "mlp"])
    detection = config.detection
    assert (detection.mask, detection.collator, detection.box_format) == ("all_tokens", "v2", "tokens")
    assert (detection.iou_steps, detection.iou_rows, detection.iou_seconds) == (2, 4, 10.0)
    assert (config.generation.max_new_tokens, config.generation.batch_size) == (96, 8)
    assert (config.evaluation.validation_rows, config.evaluation.test_rows) == (16, 4)
    assert config.evaluation.primary_metric == "f1_75"
    assert (config.training.precision, config.training.gradient_accumulation_steps) == ("auto", 8)


def test_a_model_from_scratch(load: Load) -> None:
    text = (
        "name: x\ntask: detection\ndataset: {train: a.parquet}\n"
        "vlm: {mode: full, components: [llm], max_pixels: 3136, size: {layers: 1, vision_heads: 1}}\n"
        "detection: {max_tokens: 300}\n"
    )
    config = load(text=text, tiny=True)
    assert (config.vlm.mode, config.vlm.components) == ("full", ["llm"])
    assert (config.vlm.size.width, config.vlm.size.layers, config.vlm.size.vision_heads) == (32, 1, 1)
    assert (config.vlm.min_pixels, config.vlm.max_pixels) == (3136, 3136)
    assert config.detection.max_tokens == 1024
    assert (config.detection.iou_steps, config.detection.iou_rows) == (None, 32)


def test_data_goes(load: Load) -> None:
    text = (
        "name: x\ntask: detection\nvlm: {source: a/b}\n"
        "dataset: {train: 'coco:a.json', val: 'coco:b.json', image_root: nowhere, categories: [cat], "
        "bad_boxes: error, val_fraction: 0.0, max_answer_length: 8, batch_size: 64}\n"
    )
    for overrides in ((), ("dataset.test=coco:c.json", "vlm.source=c/d")):
        config = load("", *overrides, text=text, tiny=True)
        dataset = config.dataset
        assert (dataset.train, dataset.val, dataset.test, dataset.image_root) == (None, None, None, None)
        assert (dataset.categories, dataset.val_fraction, dataset.bad_boxes) == (None, 0.1, "error")
        assert (dataset.max_answer_length, dataset.batch_size) == (256, 8)
        assert config.vlm.source is None


def test_overrides_win(load_boxes: Load) -> None:
    config = load_boxes("", "vlm.lora.rank=32", "generation.max_new_tokens=500", tiny=True)
    assert (config.vlm.lora.rank, config.generation.max_new_tokens) == (32, 500)


@pytest.mark.parametrize(
    ("targets", "toy"),
    [
        (["attention", "qkv"], ["attention", "qkv"]),
        (["mlp.0", "layers.1.mlp.up_proj"], ["mlp.0", "layers.1.mlp.up_proj"]),
        (["blocks.2.attn.qkv", "31.attn.qkv"], ["attention"]),
        ([], []),
    ],
)
def test_targets_of_layers_that_a_toy_lacks_go(load: Load, targets: list[str], toy: list[str]) -> None:
    text = f"name: x\ntask: detection\nvlm: {{source: a/b, lora: {{vision: {targets}}}}}\n"
    config = load("", "dataset.train=a.parquet", text=text, tiny=True)
    assert config.vlm.lora.vision == toy


@settings(max_examples=60, deadline=None)
@given(
    family=st.sampled_from(["qwen2_vl", "qwen2_5_vl", "qwen3_vl"]),
    source=st.booleans(),
    mode=st.sampled_from(["lora", "full"]),
    preset=st.sampled_from(["none", "lightweight", "aggressive"]),
    collator=st.sampled_from(["v1", "v2", "v3"]),
    heads=st.integers(1, 16),
    layers=st.integers(1, 40),
    tokens=st.integers(128, 4096),
    iou_steps=st.none() | st.integers(1, 1000),
)
def test_a_sound_config_stays_sound(
    family: str,
    source: bool,
    mode: str,
    preset: str,
    collator: str,
    heads: int,
    layers: int,
    tokens: int,
    iou_steps: int | None,
) -> None:
    mode = mode if source else "full"
    size = {"width": 8 * heads, "heads": heads, "layers": layers, "vision_width": 8 * heads}
    config = ExperimentConfig.model_validate(
        {
            "name": "x",
            "task": "detection",
            "vlm": {
                "family": family,
                "source": "a/b" if source else None,
                **({} if source else {"size": size | {"vision_heads": heads}}),
                "mode": mode,
                **({"lora": {"preset": preset}} if mode == "lora" else {}),
                "max_pixels": tokens * 1024,
            },
            "detection": {
                "collator": collator,
                "mask": "all_tokens" if collator == "v1" else "assistant_only",
                "iou_steps": iou_steps,
                **({"max_tokens": tokens} if collator == "v3" else {}),
            },
        }
    )
    assert config.problems(surroundings=False) == []
    tiny = ExperimentConfig.model_validate(shrink(config))
    assert tiny.problems(surroundings=True) == []
    assert (tiny.vlm.family, tiny.vlm.mode, tiny.detection.collator) == (family, mode, collator)
    assert ExperimentConfig.model_validate(shrink(tiny)) == tiny
