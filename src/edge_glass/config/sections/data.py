"""Where the rows come from, and how they are batched."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from edge_glass.config.sections.base import Section


class DatasetConfig(Section):
    """Where the rows of pictures, words and sounds come from and how they are batched."""

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
    train_conversations: str | None = Field(
        None,
        description="Instruction: JSON or JSONL in LLaVA's, ShareGPT's or the messages form, for training.",
    )
    val_conversations: str | None = Field(None, description="Such a file that chooses the best epoch.")
    test_conversations: str | None = Field(None, description="Such a file for the final numbers.")
    train: str | None = Field(
        None,
        description="Detection: FILE.parquet or a hub id in OpenFoodFacts' form, coco:FILE.json, "
        "yolo:data.yaml or voc:FOLDER, for training.",
    )
    val: str | None = Field(None, description="Detection: the same, chooses the best epoch.")
    test: str | None = Field(None, description="Detection: the same, for the final numbers.")
    box_spec: Literal[
        "yxyx_relative", "xyxy_relative", "xyxy", "xywh", "xywh_relative", "cxcywh_relative"
    ] = Field(
        "yxyx_relative",
        description="Detection: how parquet files write boxes; COCO, YOLO and VOC have their own ways.",
    )
    categories: list[str] | None = Field(
        None, min_length=1, description="Detection: what is looked for; default: all of the training rows."
    )
    bad_boxes: Literal["skip_row", "skip_box", "error"] = Field(
        "skip_row",
        description="Detection: boxes that are inverted, empty, NaN, outside of their picture or of an "
        "unknown category.",
    )
    image_root: str | None = Field(
        None,
        description="Folder of the pictures that conversations or annotations name; default: that of their "
        "file.",
    )
    image_column: str = Field("image_bytes", description="Column of picture bytes (or {bytes, path}).")
    text_column: str = Field("caption", description="Column with the caption.")
    question_column: str = Field("question", description="Instruction: column with the question.")
    answer_column: str = Field("answer", description="Instruction: column with the answer.")
    caption_question: str | None = Field(
        None,
        description="Instruction: ask every row this, and take text_column as the answer, instead of columns "
        "with questions and answers.",
    )
    source_column: str | None = Field(
        None, description="Instruction: where a row comes from; default: source, if there is such a column."
    )
    answer_type_column: str | None = Field(
        None, description="Instruction: kind of answer; default: answer_type, if there is such a column."
    )
    extra_captions_column: str | None = Field(
        None, description="Column with a list of further captions; training draws one of all of them."
    )
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
    text_dropout_prob: float = Field(
        0.0, ge=0.0, lt=1.0, description="Training only: chance that a caption is replaced by an empty one."
    )
    max_text_length: int = Field(512, ge=2, description="Caption tokens; longer captions are cut.")
    system_prompt: str | None = Field(
        None,
        description="Instruction, detection: said before each conversation that has no system turn of its "
        "own; default: what the chat template writes.",
    )
    max_question_length: int = Field(128, ge=1, description="Instruction: most tokens of a question.")
    max_answer_length: int = Field(
        256,
        ge=1,
        description="Instruction, detection: most tokens of an answer, its end counted; none is ever cut.",
    )
    too_long: Literal["leave_out", "error"] = Field(
        "leave_out", description="Instruction, detection: what becomes of rows beyond these limits."
    )
    augmentation: Literal["none", "flip", "crop_flip"] = Field(
        "none", description="Random transform of training pictures; anything but none turns the cache off."
    )
    audio_augmentation: Literal["none", "spec_augment"] = Field(
        "none", description="Masks in training sounds' spectrograms; spec_augment turns the cache off."
    )
