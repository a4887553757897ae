"""Where the rows come from, and how they are batched."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from edge_glass.config.sections.base import Section


class DatasetConfig(Section):
    """What the rows of every task have in common: how they are split, checked and batched."""

    val_fraction: float = Field(0.1, ge=0.0, lt=1.0, description="Share split off when no val file is given.")
    test_fraction: float = Field(
        0.1, ge=0.0, lt=1.0, description="Share split off when no test file is given."
    )
    shared_pictures: Literal["error", "leave_out"] = Field(
        "error",
        description="Training rows whose picture is also in val or test.",
    )
    max_bad_fraction: float = Field(
        0.01, ge=0.0, le=1.0, description="More bad rows than this share of a split is an error."
    )
    batch_size: int = Field(
        64,
        ge=1,
        description="Rows per step (of one accumulated part). Alignment: each sees batch_size - 1 negatives.",
    )
    num_workers: int = Field(0, ge=0, description="Processes that read and decode pictures.")

    def own_file(self, split: str) -> bool:
        """Say whether the split `val` or `test` has a file of its own, under any name."""
        names = (split, f"{split}_parquet", f"{split}_conversations")
        return any(getattr(self, name, None) for name in names)


class TablesConfig(DatasetConfig):
    """Rows of pictures, words and sounds: parquet files, or a folder of pictures with a file of captions."""

    train_parquet: str | None = Field(None, description="Parquet file with picture bytes, for training.")
    val_parquet: str | None = Field(None, description="Parquet file that chooses the best epoch.")
    test_parquet: str | None = Field(None, description="Parquet file for the final numbers.")
    extra_train_parquet: list[str] = Field(
        default=[],
        description="Further files to train on; with an audio encoder their rows may lack a modality.",
    )
    image_folder: str | None = Field(None, description="Folder of pictures, instead of parquet files.")
    metadata_file: str | None = Field(
        None, description="JSON, JSONL or CSV beside image_folder: columns file_name and the text column."
    )
    image_column: str = Field("image_bytes", description="Column of picture bytes (or {bytes, path}).")
    text_column: str = Field("caption", description="Column with the caption.")
    audio_column: str = Field(
        "audio", description="Column of sound bytes, or of lists of them (takes); read with an audio encoder."
    )
    max_audio_seconds: float = Field(600.0, gt=0.0, description="Longer sounds are bad rows.")
    id_column: str | None = Field(
        None, description="Column that names a row in messages; default: row number."
    )
    group_column: str | None = Field(
        None, description="Column whose equal values stay on one side of a split, such as client_id."
    )
    augmentation: Literal["none", "flip", "crop_flip"] = Field(
        "none", description="Random transform of training pictures; anything but none turns the cache off."
    )
    audio_augmentation: Literal["none", "spec_augment"] = Field(
        "none", description="Masks in training sounds' spectrograms; spec_augment turns the cache off."
    )


class CaptionsConfig(TablesConfig):
    """Alignment: the rows to compare with each other."""

    extra_captions_column: str | None = Field(
        None, description="Column with a list of further captions; training draws one of all of them."
    )
    text_dropout_prob: float = Field(
        0.0, ge=0.0, lt=1.0, description="Training only: chance that a caption is replaced by an empty one."
    )
    max_text_length: int = Field(512, ge=2, description="Caption tokens; longer captions are cut.")


class AnswerRowsConfig(DatasetConfig):
    """Rows that end with a written answer."""

    image_root: str | None = Field(
        None,
        description="Folder of the pictures that conversations or annotations name; default: that of their "
        "file.",
    )
    system_prompt: str | None = Field(
        None,
        description="Said before each conversation that has no system turn of its own; default: what the "
        "chat template writes.",
    )
    max_answer_length: int = Field(
        256, ge=1, description="Most tokens of an answer, its end counted; none is ever cut."
    )
    too_long: Literal["leave_out", "error"] = Field(
        "leave_out", description="What becomes of rows beyond the limits in tokens."
    )


class QuestionsConfig(TablesConfig, AnswerRowsConfig):
    """Instruction: questions about pictures and sounds, with answers."""

    train_conversations: str | None = Field(
        None, description="JSON or JSONL in LLaVA's, ShareGPT's or the messages form, for training."
    )
    val_conversations: str | None = Field(None, description="Such a file, to choose the best epoch.")
    test_conversations: str | None = Field(None, description="Such a file, for the final numbers.")
    question_column: str = Field("question", description="Column with the question.")
    answer_column: str = Field("answer", description="Column with the answer.")
    caption_question: str | None = Field(
        None,
        description="Ask every row this, and take text_column as the answer, instead of columns with "
        "questions and answers.",
    )
    source_column: str | None = Field(
        None, description="Column that says where a row comes from; default: source, if there is one."
    )
    answer_type_column: str | None = Field(
        None, description="Column with the kind of answer; default: answer_type, if there is one."
    )
    max_question_length: int = Field(128, ge=1, description="Most tokens of a question.")


class ScenesConfig(AnswerRowsConfig):
    """Detection: pictures with boxes."""

    train: str | None = Field(
        None,
        description="FILE.parquet or a hub id in OpenFoodFacts' form, coco:FILE.json, yolo:data.yaml or "
        "voc:FOLDER, for training.",
    )
    val: str | None = Field(None, description="Such a source, to choose the best epoch.")
    test: str | None = Field(None, description="Such a source, for the final numbers.")
    box_spec: Literal[
        "yxyx_relative", "xyxy_relative", "xyxy", "xywh", "xywh_relative", "cxcywh_relative"
    ] = Field(
        "yxyx_relative",
        description="How parquet files write boxes; COCO, YOLO and VOC have their own ways.",
    )
    categories: list[str] | None = Field(
        None, min_length=1, description="What is looked for; default: all of the training rows."
    )
    bad_boxes: Literal["skip_row", "skip_box", "error"] = Field(
        "skip_row",
        description="Boxes that are inverted, empty, NaN, outside of their picture, or of no known category.",
    )
