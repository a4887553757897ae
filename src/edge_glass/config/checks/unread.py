"""Options that are set, and that nothing would read: they promise what does not happen."""

from __future__ import annotations

from collections.abc import Iterator

from edge_glass.config.checks.detection_data import box_sources
from edge_glass.config.problems import Problem
from edge_glass.config.schema import DatasetConfig, DecoderConfig, ExperimentConfig, Section
from edge_glass.config.yaml_loader import KeyPath

_OF_DETECTION = {
    "dataset.train": "use dataset.train_parquet",
    "dataset.val": "use dataset.val_parquet",
    "dataset.test": "use dataset.test_parquet",
    "dataset.box_spec": "",
    "dataset.categories": "",
    "dataset.bad_boxes": "",
    "vlm": "",
    "detection": "",
}
# Task → options and sections that it does not read → what to do, where it is not to leave them out.
_OF_OTHER_TASKS: dict[str, dict[str, str]] = {
    "alignment": _OF_DETECTION
    | dict.fromkeys(
        (
            *("dataset.train_conversations", "dataset.val_conversations", "dataset.test_conversations"),
            *("dataset.image_root", "dataset.question_column", "dataset.answer_column"),
            *("dataset.caption_question", "dataset.source_column", "dataset.answer_type_column"),
            "dataset.system_prompt",
            *("dataset.max_question_length", "dataset.max_answer_length", "dataset.too_long"),
            "vision_encoder.grid_size",
            *("prefix", "decoder", "generation"),
            *("evaluation.validation_rows", "evaluation.test_rows", "evaluation.compare_with"),
        ),
        "",
    ),
    "instruction": {
        **_OF_DETECTION,
        "dataset.extra_captions_column": "",
        "dataset.text_dropout_prob": "",
        "dataset.max_text_length": "use dataset.max_question_length and dataset.max_answer_length",
        "vision_encoder.perceiver": "use prefix.perceiver",
        "vision_encoder.use_attention_pooling": "use prefix.perceiver",
        "vision_encoder.projection_dim": "a prefix is as wide as the decoder",
        "vision_encoder.mrl_dimensions": "a prefix is as wide as the decoder",
        "vision_encoder.head": "use prefix.projector",
        "text_encoder": "the decoder reads the words",
        "audio_encoder.perceiver": "use prefix.perceiver",
        "audio_encoder.head": "use prefix.projector",
        "fusion.weight": "",
        "losses": "",
        "training.warm_start": "",
        "evaluation.closed_form_baseline": "",
        "evaluation.closed_form_regularization": "",
        "evaluation.closed_form_audio_regularization": "",
    },
    "detection": {
        "dataset.train_parquet": "use dataset.train",
        "dataset.val_parquet": "use dataset.val",
        "dataset.test_parquet": "use dataset.test",
        "dataset.extra_train_parquet": "use dataset.train",
        "dataset.image_folder": "use dataset.train=voc:FOLDER, coco:FILE.json or yolo:data.yaml",
        "dataset.metadata_file": "use dataset.train=coco:FILE.json",
        **dict.fromkeys(
            (
                *("dataset.train_conversations", "dataset.val_conversations", "dataset.test_conversations"),
                *("dataset.image_column", "dataset.text_column", "dataset.question_column"),
                *("dataset.answer_column", "dataset.source_column", "dataset.answer_type_column"),
                *("dataset.extra_captions_column", "dataset.audio_column", "dataset.max_audio_seconds"),
                *("dataset.id_column", "dataset.group_column"),
                *("dataset.text_dropout_prob", "dataset.max_text_length", "dataset.max_question_length"),
                *("dataset.augmentation", "dataset.audio_augmentation"),
                *("text_encoder", "audio_encoder", "fusion", "losses", "prefix"),
                *("training.warm_start", "training.feature_cache", "evaluation.compare_with"),
                *("evaluation.closed_form_baseline", "evaluation.closed_form_regularization"),
                "evaluation.closed_form_audio_regularization",
            ),
            "",
        ),
        "dataset.caption_question": "use detection.prompt",
        "vision_encoder": "use vlm",
        "decoder": "use vlm",
    },
}
_CAUSAL_LM = ("source", "mode", "lora", "quantization", "attention", "gradient_checkpointing", "dtype")
_COLUMNS = (
    *("image_column", "text_column", "question_column", "answer_column", "source_column"),
    *("answer_type_column", "audio_column", "id_column", "caption_question"),
)


def unread_options(config: ExperimentConfig) -> Iterator[Problem]:
    """Options that are not at their default, although this task, or another option, leaves them unread."""
    problems: dict[KeyPath, Problem] = {}
    for key, instead in _OF_OTHER_TASKS[config.task].items():
        for path in changed(config, key):
            text = f"is not read by the task {config.task}; {instead or 'leave it out'}"
            problems.setdefault(path, Problem(path, text))
    for section, names, reason in _by_other_options(config) if config.task != "alignment" else ():
        for path in (path for name in names for path in changed(config, f"{section}.{name}")):
            problems.setdefault(path, Problem(path, f"is not read {reason}; leave it out"))
    yield from problems.values()


def changed(section: Section, key: str) -> Iterator[KeyPath]:
    """The options at a dotted key, or below it, that are not at their default."""
    name, _, below = key.partition(".")
    value, default = getattr(section, name), type(section).model_fields[name].default
    if value == default:
        return
    if isinstance(value, Section) and (below or isinstance(default, Section)):
        for inner in [below] if below else type(value).model_fields:
            yield from ((name, *path) for path in changed(value, inner))
    else:
        yield (name,)


def _by_other_options(config: ExperimentConfig) -> Iterator[tuple[str, tuple[str, ...], str]]:
    """Section, its options that are not read, and why."""
    if config.task == "detection":
        yield from _by_options_of_detection(config)
    else:
        yield from (("dataset", *part) for part in _of_dataset(config.dataset))
        yield from (("decoder", *part) for part in _of_decoder(config.decoder))
        if config.vision_encoder.pooling_type != "grid":
            yield "vision_encoder", ("grid_size",), "without vision_encoder.pooling_type grid"
    if not config.generation.do_sample:
        yield "generation", ("temperature", "top_p"), "without generation.do_sample"


def _of_dataset(dataset: DatasetConfig) -> Iterator[tuple[tuple[str, ...], str]]:
    if dataset.train_conversations is not None:
        yield _COLUMNS, "with dataset.train_conversations, which name everything themselves"
    else:
        yield ("image_root",), "without dataset.train_conversations"
    if dataset.caption_question is None:
        yield ("text_column", "group_column"), "without dataset.caption_question"
    else:
        columns = ("question_column", "answer_column", "source_column", "answer_type_column")
        yield columns, "with dataset.caption_question"


def _of_decoder(decoder: DecoderConfig) -> Iterator[tuple[tuple[str, ...], str]]:
    kind = f"with decoder.kind {decoder.kind}"
    if decoder.kind != "causal_lm":
        yield _CAUSAL_LM, kind
        yield from [(("recursion",), kind)] if decoder.kind == "plain" else []
        if decoder.tokenizer is not None:
            yield ("vocabulary",), "with decoder.tokenizer"
        if not decoder.recursion.halting:
            yield ("recursion.halting_weight",), "without decoder.recursion.halting"
        return
    yield ("tokenizer", "vocabulary", "size", "recursion"), kind
    if decoder.mode != "lora":
        yield ("lora",), f"with decoder.mode {decoder.mode}"
    if decoder.mode == "full":
        yield ("dtype",), "with decoder.mode full: trained weights are float32"


def _by_options_of_detection(config: ExperimentConfig) -> Iterator[tuple[str, tuple[str, ...], str]]:
    vlm, detection = config.vlm, config.detection
    kinds = {source.kind for source in box_sources(config.dataset)}
    if kinds and not kinds & {"parquet", "hub"}:
        yield "dataset", ("box_spec",), "without a parquet file or a hub id: the others have their own ways"
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
