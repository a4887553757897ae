"""Generated questions for `--tiny`, about the coloured shapes of `edge_glass.data.generated`."""

from __future__ import annotations

from dataclasses import replace

from edge_glass.data.conversations import ASSISTANT, USER, Turn
from edge_glass.data.generated import generated_splits
from edge_glass.data.samples import SampleTable
from edge_glass.instruction.data.table import InstructionTable, captions_as_answers, join_instructions


def generated_conversations(sounds: bool = False) -> dict[str, InstructionTable]:
    """Questions about the pictures of `generated_splits`: what colour, what shape, and what it is in all."""
    return {split: _asked(table) for split, table in generated_splits(sounds).items()}


def _asked(table: SampleTable) -> InstructionTable:
    """Three questions a row; rows without a picture or sound are asked about what they have."""
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
