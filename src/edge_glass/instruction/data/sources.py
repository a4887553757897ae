"""Where an experiment's questions and answers come from: its files, or what is generated for `--tiny`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from edge_glass.config.instruction import InstructionConfig
from edge_glass.config.sections.data import QuestionsConfig
from edge_glass.data.conversations import ASSISTANT, USER, Turn
from edge_glass.data.datasets import complete_splits
from edge_glass.data.folder import read_folder
from edge_glass.data.generated import generated_splits
from edge_glass.data.samples import SampleTable, check_rejected
from edge_glass.instruction.data.readers import read_conversations, read_question_parquet
from edge_glass.instruction.data.table import (
    InstructionTable,
    captions_as_answers,
    join_instructions,
    split_conversations,
    with_system_prompt,
)
from edge_glass.tasks.sources import read_captions


def load_conversations(config: InstructionConfig) -> dict[str, InstructionTable]:
    """Train, val and test of an experiment, with no picture on two sides.

    Raises:
        DataError: See `complete_splits`, `check_rejected` and the readers.
    """
    dataset, sounds = config.dataset, config.audio_encoder is not None
    tables = generated_conversations(sounds) if config.tiny else _read_tables(dataset, sounds)
    for table in tables.values():
        check_rejected(table, dataset.max_bad_fraction)
    if dataset.system_prompt is not None:
        tables = {name: with_system_prompt(table, dataset.system_prompt) for name, table in tables.items()}
    return complete_splits(
        tables, dataset.val_fraction, dataset.test_fraction, dataset.shared_pictures, split_conversations
    )


def texts_of(table: InstructionTable) -> Iterable[str]:
    """Yield everything that is said: what a tokenizer is learned from."""
    return (turn.text for turns in table.turns for turn in turns)


def _read_tables(dataset: QuestionsConfig, sounds: bool) -> dict[str, InstructionTable]:
    if dataset.image_folder is not None and dataset.metadata_file is not None:
        pictures = read_folder(
            dataset.image_folder, dataset.metadata_file, dataset.text_column, dataset.id_column
        )
        return {"train": captions_as_answers(pictures, dataset.caption_question or "")}
    conversations = {
        "train": dataset.train_conversations,
        "val": dataset.val_conversations,
        "test": dataset.test_conversations,
    }
    if conversations["train"] is not None:
        return {
            name: read_conversations(path, dataset.image_root)
            for name, path in conversations.items()
            if path is not None
        }
    files = {"train": dataset.train_parquet, "val": dataset.val_parquet, "test": dataset.test_parquet}
    further = {"train": dataset.extra_train_parquet}
    return {
        name: join_instructions(
            [_read_parquet(dataset, one, sounds) for one in (path, *further.get(name, []))]
        )
        for name, path in files.items()
        if path is not None
    }


def _read_parquet(dataset: QuestionsConfig, path: str, sounds: bool) -> InstructionTable:
    if dataset.caption_question is not None:
        return captions_as_answers(read_captions(dataset, path, sounds), dataset.caption_question)
    return read_question_parquet(
        path,
        dataset.image_column,
        dataset.question_column,
        dataset.answer_column,
        dataset.source_column,
        dataset.answer_type_column,
        dataset.id_column,
        dataset.audio_column if sounds else None,
        dataset.max_audio_seconds,
    )


def generated_conversations(sounds: bool = False) -> dict[str, InstructionTable]:
    """Return questions about the pictures of `generated_splits`: what colour, what shape, what it is."""
    return {split: _asked(table) for split, table in generated_splits(sounds).items()}


def _asked(table: SampleTable) -> InstructionTable:
    """Ask three questions a row; rows without a picture or sound are asked about what they have."""
    parts = []
    for question, kind in (
        ("what colour is it?", "colour"),
        ("what shape is it?", "shape"),
        ("what is it?", ""),
    ):
        asked = captions_as_answers(table, question, source="generated")
        words = [name.split("-") for name in asked.ids]
        if kind:
            answers = [colour if kind == "colour" else shape for colour, shape in words]
            turns = [(Turn(USER, question), Turn(ASSISTANT, answer)) for answer in answers]
            asked = replace(asked, turns=turns)
        names = [f"{name}-{kind or 'name'}" for name in asked.ids]
        parts.append(replace(asked, ids=names, answer_types=[kind or "name"] * len(names)))
    return join_instructions(parts)
