"""The experiment file of the task detection: a vision-language model that finds things in pictures."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Final, Literal

from pydantic import Field

from edge_glass.config.metrics import DETECTION_METRICS, Metric
from edge_glass.config.schema import ExperimentConfig
from edge_glass.config.sections.base import Problem
from edge_glass.config.sections.data import ScenesConfig
from edge_glass.config.sections.detection import (
    BoxesConfig,
    VlmConfig,
    VlmLoraConfig,
    VlmSizeConfig,
    token_side,
)
from edge_glass.config.sections.large_models import (
    GenerationConfig,
    generation_settings,
    large_model_packages,
    large_model_settings,
)
from edge_glass.config.sections.training import BoxEvaluationConfig, TrainingConfig
from edge_glass.config.sources import box_sources, missing_files, source_problems
from edge_glass.config.tiny import (
    TOY_BOXES,
    TOY_BOXES_WRITTEN,
    TOY_HEADS,
    TOY_IOU_ROWS,
    TOY_IOU_SECONDS,
    TOY_IOU_STEPS,
    TOY_LAYERS,
    TOY_PICTURE,
    TOY_RANK,
    TOY_ROW,
    TOY_WIDTH,
    toy_generation,
    toy_rows,
)

# Tokens a picture may take at most, at least. The demo scripts of Qwen's fine-tuning guide set 50,176 pixels,
# 64 tokens, at which small things are gone before the model looks.
FEWEST_TOKENS: Final = 128

_PLACEHOLDER: Final = re.compile(r"\{(\w*)\}")
_LAYER: Final = re.compile(r"(?:^|(?:layers|blocks)\.)(\d+)\.")


class DetectionConfig(ExperimentConfig):
    """Train a vision-language model to write where things are."""

    task: Literal["detection"] = Field("detection", description="What is trained.")
    dataset: ScenesConfig = ScenesConfig()
    vlm: VlmConfig = VlmConfig()
    detection: BoxesConfig = BoxesConfig()
    generation: GenerationConfig = GenerationConfig()
    training: TrainingConfig = TrainingConfig()
    evaluation: BoxEvaluationConfig = BoxEvaluationConfig()

    ablation_metrics: ClassVar[tuple[str, ...]] = ("mean_iou", "f1_50")
    data_paths: ClassVar[tuple[str, ...]] = ("train", "val", "test", "image_root")
    instead: ClassVar[Mapping[str, str]] = {
        "dataset.train_parquet": "use dataset.train",
        "dataset.val_parquet": "use dataset.val",
        "dataset.test_parquet": "use dataset.test",
        "dataset.extra_train_parquet": "use dataset.train",
        "dataset.image_folder": "use dataset.train=voc:FOLDER, coco:FILE.json or yolo:data.yaml",
        "dataset.metadata_file": "use dataset.train=coco:FILE.json",
        "dataset.caption_question": "use detection.prompt",
        "vision_encoder": "use vlm",
        "decoder": "use vlm",
    }

    @classmethod
    def metrics(cls) -> tuple[Metric, ...]:
        """See `ExperimentConfig`."""
        return DETECTION_METRICS

    def setting_problems(self) -> Iterator[Problem]:
        """See `ExperimentConfig`."""
        yield from super().setting_problems()
        yield from self._collator()
        yield from self._prompt()
        yield from self._categories()
        yield from self._trained_part()
        yield from self._pixel_budget()
        yield from self._model_sizes()
        yield from self._numbers()
        yield from generation_settings(self.generation)

    def file_problems(self) -> Iterator[Problem]:
        """See `ExperimentConfig`."""
        yield from source_problems(self.dataset)
        yield from missing_files(self.dataset, ("image_root",))

    def package_problems(self) -> Iterator[Problem]:
        """See `ExperimentConfig`."""
        yield from super().package_problems()
        yield from large_model_packages("vlm", self.vlm)

    def _collator(self) -> Iterator[Problem]:
        """Refuse the basic collator where it has to tell prompt from answer."""
        if self.detection.collator == "v1" and self.detection.mask == "assistant_only":
            yield Problem(
                ("detection", "collator"),
                "is v1, which trains on all words, but detection.mask is assistant_only; use v2 or v3, "
                "or set detection.mask to all_tokens",
            )

    def _prompt(self) -> Iterator[Problem]:
        """Check that the prompt has no placeholder but {categories}; other braces, as in JSON, are text."""
        for name in _PLACEHOLDER.findall(self.detection.prompt):
            if name != "categories":
                yield Problem(
                    ("detection", "prompt"),
                    f"has {{{name}}}, which nothing is put in for; expected {{categories}}",
                )

    def _categories(self) -> Iterator[Problem]:
        """Check that each category is looked for once."""
        names = [name.casefold() for name in self.dataset.categories or []]
        for index, name in enumerate(names):
            if name in names[:index]:
                yield Problem(("dataset", "categories", index), f"{name} stands twice; keep one")
            elif not name.strip():
                yield Problem(("dataset", "categories", index), "is empty; expected the name of a category")

    def _trained_part(self) -> Iterator[Problem]:
        """Check that something is trained, and that frozen parts are pretrained."""
        vlm = self.vlm
        lora = vlm.lora
        if vlm.mode == "frozen":
            yield Problem(("vlm", "mode"), "is frozen: nothing would be trained; set it to lora or full")
        elif vlm.mode == "lora" and not (lora.llm or lora.projector or lora.vision):
            yield Problem(
                ("vlm", "lora", "llm"),
                "is empty, and so are projector and vision: nothing would be trained; give attention or mlp",
            )
        elif vlm.mode == "lora" and vlm.source is None and not self.tiny:
            yield Problem(
                ("vlm", "mode"),
                "is lora, but without vlm.source the weights are random, and most of them would stay so; "
                "set it to full, or give vlm.source",
            )

    def _pixel_budget(self) -> Iterator[Problem]:
        """Check that pictures keep enough pixels to find something in them."""
        vlm = self.vlm
        token = token_side(vlm.family) ** 2
        tokens, path = vlm.max_pixels // token, ("vlm", "max_pixels")
        if vlm.min_pixels > vlm.max_pixels:
            yield Problem(
                ("vlm", "min_pixels"), f"is {vlm.min_pixels}, above vlm.max_pixels ({vlm.max_pixels})"
            )
        elif tokens == 0:
            yield Problem(path, f"is {vlm.max_pixels}, less than one token of {vlm.family} ({token} pixels)")
        elif tokens < FEWEST_TOKENS and vlm.source is not None and vlm.min_pixels < vlm.max_pixels:
            yield Problem(
                path,
                f"is {vlm.max_pixels}, at most {tokens} tokens a picture, too coarse to find small things; "
                f"give {FEWEST_TOKENS * token} ({FEWEST_TOKENS} tokens) or more, or insist by setting "
                "vlm.min_pixels to the same",
            )
        most = self.detection.max_tokens
        fewest = -(-vlm.min_pixels // token)
        if most is not None and most <= fewest:
            yield Problem(
                ("detection", "max_tokens"),
                f"is {most}, but a picture alone takes {fewest} (vlm.min_pixels); raise it, or lower that",
            )

    def _model_sizes(self) -> Iterator[Problem]:
        """Check that attention heads divide a random model's widths, for rotary positions too."""
        if self.vlm.source is not None:
            return
        size = self.vlm.size
        for part, width, heads, multiple in (
            ("", size.width, size.heads, 2),
            ("vision_", size.vision_width, size.vision_heads, 4),  # positions of two axes
        ):
            if width % heads == 0 and width // heads % multiple == 0:
                continue
            wrong = f"does not divide vlm.size.{part}width ({width})"
            if width % heads == 0:
                needed = "even" if multiple == 2 else f"a multiple of {multiple}"
                wrong = f"makes heads of {width // heads} numbers, which must be {needed} (rotary positions)"
            yield Problem(("vlm", "size", f"{part}heads"), f"is {heads}, which {wrong}")

    def _numbers(self) -> Iterator[Problem]:
        """Refuse fp16, too small for the activations, and quantised weights of an untrained model."""
        if self.training.precision == "fp16" and self.training.device != "cpu":
            yield Problem(
                ("training", "precision"), "is fp16, in which Qwen's activations overflow; use bf16 or auto"
            )
        vlm = self.vlm
        yield from large_model_settings("vlm", vlm, self.training)
        if vlm.quantization != "none" and vlm.mode != "full" and vlm.source is None:
            yield Problem(
                ("vlm", "quantization"),
                f"is {vlm.quantization}, but without vlm.source the weights are random; set it to none",
            )

    def unread_by_other_options(self) -> Iterator[tuple[str, tuple[str, ...], str]]:
        """See `ExperimentConfig`."""
        vlm, detection = self.vlm, self.detection
        kinds = {source.kind for source in box_sources(self.dataset)}
        if kinds and not kinds & {"parquet", "hub"}:
            yield (
                "dataset",
                ("box_spec",),
                "without a parquet file or a hub id: the others have their own ways",
            )
        if not kinds & {"coco", "yolo", "voc"}:
            yield "dataset", ("image_root",), "without coco:, yolo: or voc:"
        if vlm.source is not None:
            yield "vlm", ("size",), "with vlm.source"
        if vlm.mode != "lora":
            yield "vlm", ("lora",), f"with vlm.mode {vlm.mode}"
        if vlm.mode != "full":
            yield "vlm", ("components",), f"with vlm.mode {vlm.mode}"
        elif len(set(vlm.components)) == 3:
            yield "vlm", ("dtype",), "with vlm.mode full: trained weights are float32"
        if detection.collator != "v3":
            yield "detection", ("max_tokens",), f"with detection.collator {detection.collator}"
        if detection.iou_steps is None:
            yield "detection", ("iou_rows", "iou_seconds"), "without detection.iou_steps"
        if not self.generation.do_sample:
            yield "generation", ("temperature", "top_p"), "without generation.do_sample"

    def toy_settings(self, family: Sequence[Any], kept: set[str]) -> dict[str, Any]:
        """See `ExperimentConfig`. The class of the model stays, and what of it is trained."""
        return {
            "dataset": {"max_answer_length": TOY_BOXES, "categories": None},
            "vlm": _toy_vlm(self.vlm),
            "detection": _toy_boxes(self.detection),
            "generation": toy_generation(self.generation, TOY_BOXES_WRITTEN, TOY_BOXES_WRITTEN),
            "evaluation": toy_rows(self.evaluation),
        }


def _toy_vlm(vlm: VlmConfig) -> dict[str, Any]:
    """Return settings for random weights and small pictures."""
    most = TOY_PICTURE * token_side(vlm.family) ** 2
    return {
        "source": None,
        "size": _toy_size(vlm.size),
        "quantization": "none",
        "attention": "sdpa",
        "min_pixels": min(vlm.min_pixels, VlmConfig.model_fields["min_pixels"].default),
        "max_pixels": min(vlm.max_pixels, most),
        **({"lora": _toy_lora(vlm.lora)} if vlm.mode == "lora" else {}),
    }


def _toy_size(size: VlmSizeConfig) -> dict[str, int]:
    return {
        "width": TOY_WIDTH,
        "layers": min(size.layers, TOY_LAYERS),
        "heads": min(size.heads, TOY_HEADS),
        "vision_width": TOY_WIDTH,
        "vision_layers": min(size.vision_layers, TOY_LAYERS),
        "vision_heads": min(size.vision_heads, TOY_HEADS),
    }


def _toy_lora(lora: VlmLoraConfig) -> dict[str, Any]:
    """Return adapters in the same components; a toy has the same names, but fewer layers."""
    toy: dict[str, Any] = {"rank": min(lora.rank, TOY_RANK)}
    for component in ("llm", "projector", "vision"):
        targets = getattr(lora, component)
        kept = [target for target in targets if not _is_of_higher_layer(target)]
        toy[component] = kept or (["attention"] if targets else [])
    return toy


def _is_of_higher_layer(target: str) -> bool:
    """Say whether a name such as layers.27.mlp.down_proj is of a layer that a toy does not have."""
    return any(int(number) >= TOY_LAYERS for number in _LAYER.findall(target))


def _toy_boxes(detection: BoxesConfig) -> dict[str, Any]:
    """Return limits that toy rows, whose words are spelled in bytes, keep; only what is read."""
    toy: dict[str, Any] = {"max_tokens": detection.max_tokens and TOY_ROW}
    if detection.iou_steps is not None:
        toy |= {
            "iou_steps": min(detection.iou_steps, TOY_IOU_STEPS),
            "iou_rows": min(detection.iou_rows, TOY_IOU_ROWS),
            "iou_seconds": min(detection.iou_seconds, TOY_IOU_SECONDS),
        }
    return toy
