"""Checks of the task detection: each fault gives its sentence, and the sound neighbour gives none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from config_messages import Facts, check_message, messages

from edge_glass.config import ExperimentConfig, dump_config, load_config, variant_config
from edge_glass.config.sections.detection import FAMILIES, token_side
from edge_glass.config.sources import BoxSource, box_source
from edge_glass.core.errors import ConfigError
from edge_glass.detection.boxes.codec import box_codec
from edge_glass.detection.data.readers import parse_source
from edge_glass.vlm.family import build_processor

Load = Callable[..., ExperimentConfig]
ErrorOf = Callable[..., str]

SCRATCH = "vlm={source: null, mode: full}"

SOUND: list[tuple[str, ...]] = [
    ("dataset={train: 'coco:train.parquet', image_root: .}",),
    ("dataset={train: 'yolo:train.parquet#train', val: 'yolo:train.parquet#val', image_root: .}",),
    ("dataset={train: 'voc:.', box_spec: xyxy, val: train.parquet}",),
    ("dataset={train: openfoodfacts/nutrition-table-detection, box_spec: xywh}",),
    ("dataset={train: owner/name#val, test: train.parquet, val_fraction: 0.5, test_fraction: 0.9}",),
    ("dataset={categories: [cat, dog], bad_boxes: skip_box, max_answer_length: 64, too_long: error}",),
    ("dataset={shared_pictures: leave_out, max_bad_fraction: 0.5, system_prompt: Be exact., batch_size: 1}",),
    ("detection={collator: v1, mask: all_tokens}",),
    ("detection={collator: v2, box_format: tokens}",),
    ("detection={max_tokens: 2048}",),
    ("detection={iou_steps: 50, iou_rows: 8, iou_seconds: 10}",),
    ("""detection.prompt='Find all {categories} as [{"bbox_2d": [x1, y1, x2, y2], "label": ""}].'""",),
    ("detection.prompt='Find the table.'",),
    ("vlm.lora={preset: aggressive, rank: 32, dora: true}",),
    ("vlm.lora={llm: [], vision: [qkv]}",),
    ("vlm={mode: full, components: [projector, llm], dtype: bfloat16}", "optimization.lr=1e-6"),
    (SCRATCH, "vlm.size={width: 60, heads: 6, vision_width: 64, vision_heads: 16}"),
    (SCRATCH, "vlm={min_pixels: 784, max_pixels: 28224}"),
    ("vlm={min_pixels: 50176, max_pixels: 50176}",),
    ("vlm={family: qwen3_vl, max_pixels: 131072}",),
    ("vlm={dtype: bfloat16, gradient_checkpointing: true, attention: eager}", "training.precision=bf16"),
    ("generation={do_sample: true, temperature: 0.7, batch_size: 4, max_new_tokens: 64}",),
    ("training={gradient_accumulation_steps: 8, sharding: fsdp}", "evaluation.validation_rows=64"),
]


@pytest.mark.parametrize(("override", "facts"), messages("detection"))
def test_faults(boxes_error: ErrorOf, override: str, facts: Facts) -> None:
    check_message(boxes_error("", override), f"override {override}", facts)


@pytest.mark.parametrize("overrides", SOUND, ids=" ".join)
def test_sound_neighbours(load_boxes: Load, overrides: tuple[str, ...]) -> None:
    load_boxes("", *overrides)


def test_defaults_by_task(load_boxes: Load) -> None:
    config = load_boxes("ablation: {variants: {a: {optimization.lr: 1e-3}}}\n")
    assert config.evaluation.primary_metric == "mean_iou"
    assert config.ablation is not None and config.ablation.metrics == ["mean_iou", "f1_50"]


@pytest.mark.parametrize(
    ("written", "kind", "where"),
    [
        ("a.parquet", "parquet", "a.parquet"),
        ("coco:a/b.json", "coco", "a/b.json"),
        ("yolo:a/data.yaml#val", "yolo", "a/data.yaml"),
        ("voc:a", "voc", "a"),
        ("openfoodfacts/nutrition-table-detection", "hub", "openfoodfacts/nutrition-table-detection"),
        ("owner/na.me-2#val", "hub", "owner/na.me-2"),
    ],
)
def test_forms_of_sources(written: str, kind: str, where: str) -> None:
    assert box_source(written) == BoxSource(kind, where)
    assert parse_source(written)[:2] == (kind, where)  # as the readers see it


@pytest.mark.parametrize("written", ["", "coco:", "a.json", "a/b.json", "name", "a/b/c", "coco", "jpg:a"])
def test_what_is_no_source(written: str) -> None:
    assert box_source(written) is None


def test_what_exists_is_not_taken_for_a_name_on_the_hub(boxes_error: ErrorOf) -> None:
    Path("own/pictures").mkdir(parents=True)
    assert boxes_error("", "dataset.train=own/pictures").endswith("did you mean voc:own/pictures?")


def test_a_missing_file_says_where_it_was_looked_for(boxes_error: ErrorOf) -> None:
    assert boxes_error("", "dataset.train=coco:a/b.json").endswith(
        f"dataset.train: no such file: a/b.json (looked in the working directory {Path.cwd()})"
    )
    assert "no such folder: nope (looked in" in boxes_error("", "dataset.train=voc:nope")


def test_pictures_alone_exceed_a_row(load_boxes: Load, boxes_error: ErrorOf) -> None:
    pixels = "vlm.min_pixels=31361"
    assert boxes_error("", pixels, "detection.max_tokens=41").endswith(
        "detection.max_tokens: is 41, but a picture alone takes 41 (vlm.min_pixels); raise it, or lower that"
    )
    load_boxes("", pixels, "detection.max_tokens=42")


def test_sides_of_tokens() -> None:
    for family in FAMILIES.names():
        images = build_processor(family).image_processor
        assert token_side(family) == box_codec(family).factor == images.merge_size * images.patch_size


class TestGPU:
    @pytest.mark.parametrize("quantization", ["4bit", "8bit"])
    def test_quantization_needs_a_package_and_weights(
        self, load_boxes: Load, boxes_error: ErrorOf, missing: Callable[..., None], quantization: str
    ) -> None:
        chosen = f"vlm.quantization={quantization}"
        missing("bitsandbytes")
        assert boxes_error("", chosen) == (
            f"override {chosen}: vlm.quantization: is {quantization}, which needs "
            "bitsandbytes, which is not installed; pip install 'edge-glass[quantization]', or set it to none"
        )
        missing(bitsandbytes="json")
        assert load_boxes("", chosen).vlm.quantization == quantization
        assert boxes_error("", chosen, "training.device=cpu").endswith(
            f"vlm.quantization: is {quantization}, which uses a GPU where there is one, but "
            "training.device is cpu; leave training.device at auto, or set it to none"
        )
        assert boxes_error("", chosen, "vlm.mode=full").endswith(
            f"vlm.quantization: is {quantization}, but vlm.mode full trains the weights themselves; "
            "set it to none, or mode to lora"
        )
        assert (
            f"vlm.quantization: is {quantization}, but without vlm.source the weights are random; "
            "set it to none"
        ) in boxes_error("", chosen, "vlm.source=null")

    def test_flash_attention(
        self, load_boxes: Load, boxes_error: ErrorOf, missing: Callable[..., None]
    ) -> None:
        missing("flash_attn")
        assert boxes_error("", "vlm.attention=flash").endswith(
            "vlm.attention: is flash, which needs a GPU and flash-attn, which is not installed; "
            "pip install flash-attn, or use sdpa"
        )
        missing(flash_attn="json")
        load_boxes("", "vlm.attention=flash")
        assert boxes_error("", "vlm.attention=flash", "training.device=cpu").endswith(
            "vlm.attention: is flash, which needs a GPU, but training.device is cpu; use sdpa"
        )


class TestPresets:
    """What a preset fills in, and what wins over it."""

    def test_a_preset_is_written_down_as_resolved(self, load_boxes: Load) -> None:
        lora = load_boxes("", "vlm.lora.preset=aggressive").vlm.lora
        assert (lora.rank, lora.alpha, lora.llm) == (64, 128, ["attention", "mlp"])
        assert (lora.projector, lora.vision) == (["all-linear"], ["attention", "mlp"])

    def test_other_keys_beside_it_win_in_any_order(self, load_boxes: Load) -> None:
        for overrides in (
            ("vlm.lora.preset=lightweight", "vlm.lora.rank=3"),
            ("vlm.lora.rank=3", "vlm.lora.preset=lightweight"),
            ("vlm.lora={rank: 3, preset: lightweight}",),
        ):
            lora = load_boxes("", *overrides).vlm.lora
            assert (lora.rank, lora.llm) == (3, ["q_proj", "v_proj"])

    def test_it_wins_over_the_base_file(self, load_boxes: Load) -> None:
        load_boxes("  # small.yaml\n")
        base = Path("small.yaml").read_text().replace("Instruct}", "Instruct, lora: {rank: 5, dora: true}}")
        Path("base.yaml").write_text(base)
        Path("child.yaml").write_text("base: base.yaml\nvlm: {lora: {preset: lightweight}}\n")
        assert load_config("base.yaml").vlm.lora.rank == 5
        lora = load_config("child.yaml").vlm.lora
        assert (lora.rank, lora.dora) == (8, True)

    def test_it_wins_over_what_a_run_wrote_down(self, load_boxes: Load) -> None:
        written = load_boxes("", "vlm.lora={preset: aggressive, alpha: 7}")
        Path("config.yaml").write_text(dump_config(written))
        assert load_config("config.yaml") == written
        again = load_config("config.yaml", ["vlm.lora.preset=lightweight"]).vlm.lora
        assert (again.rank, again.alpha, again.vision) == (8, 16, [])
        assert load_config("config.yaml", ["vlm.lora.preset=none"]).vlm.lora.rank == 16

    def test_variants_may_choose_one(self, load_boxes: Load) -> None:
        table = (
            "ablation:\n  variants:\n    strong: {vlm.lora.preset: aggressive}\n"
            "    narrow: {vlm.lora.rank: 2, vlm.lora.preset: aggressive}\n"
        )
        ranks = {False: (64, 2), True: (4, 2)}
        for tiny, expected in ranks.items():
            config = load_boxes(table, "vlm.lora.rank=16", tiny=tiny)
            variants = [variant_config(config, name).vlm.lora for name in ("strong", "narrow")]
            assert tuple(lora.rank for lora in variants) == expected
            assert all(lora.vision == ["attention", "mlp"] for lora in variants)


def test_tiny_still_finds_what_is_not_read(boxes_error: ErrorOf) -> None:
    assert "dataset.id_column: is not an option" in boxes_error("", "dataset.id_column=x", tiny=True)
    assert "vlm.components: is not read" in boxes_error("", "vlm.components=[llm]", tiny=True)


def test_looking_at_samples_needs_no_packages_of_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenes = tmp_path / "scenes.parquet"
    scenes.touch()
    file = tmp_path / "a.yaml"
    file.write_text(
        f"name: a\ntask: detection\ndataset: {{train: {scenes}}}\n"
        "vlm: {source: Qwen/Qwen2-VL-2B-Instruct, quantization: 4bit}\n"
    )
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="bitsandbytes"):
        load_config(file)
    assert load_config(file, packages=False).vlm.quantization == "4bit"
