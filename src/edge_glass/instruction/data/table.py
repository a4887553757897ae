"""Rows of conversations about pictures (and sounds): the table that answering is trained and measured on."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any, Self

from edge_glass.data.conversations import ASSISTANT, SYSTEM, USER, Turn
from edge_glass.data.samples import SampleTable, join_tables
from edge_glass.data.splits import split_by_group


@dataclass(frozen=True)
class InstructionTable(SampleTable):
    """A `SampleTable` whose rows are conversations; the rows of one picture share its hash.

    Pictures and sounds are read, split and cached as those of any table. `captions` is empty for every row:
    what is said stands in `turns`.

    Attributes:
        turns: Of each row, ending with the assistant's.
        sources: Where each row comes from, such as `pixmo-cap-qa`.
        answer_types: What kind of answer each row has, such as `color`; empty text where that is unknown.
    """

    turns: Sequence[tuple[Turn, ...]] = field(default=())
    sources: Sequence[str] = field(default=())
    answer_types: Sequence[str] = field(default=())

    def question(self, index: int) -> str:
        """Return the last thing the user says in row `index`."""
        return next(turn.text for turn in reversed(self.turns[index]) if turn.role == USER)

    def answer(self, index: int) -> str:
        """Return the last thing the assistant says in row `index`: what an answer is compared with."""
        return next(turn.text for turn in reversed(self.turns[index]) if turn.role == ASSISTANT)

    def contents(self) -> Sequence[Sequence[Any]]:
        """As `SampleTable.contents`, and what is said."""
        return [*super().contents(), [[tuple(turn) for turn in turns] for turns in self.turns]]

    def select(self, indices: Sequence[int]) -> Self:
        """Return these rows in this order."""
        chosen = super().select(indices)
        return replace(
            chosen,
            turns=[self.turns[i] for i in indices],
            sources=[self.sources[i] for i in indices],
            answer_types=[self.answer_types[i] for i in indices],
        )


def split_conversations(
    table: InstructionTable, fractions: Mapping[str, float], rest: str = "train"
) -> dict[str, InstructionTable]:
    """Split as `split_by_group`: a picture with all its questions stays on one side.

    Rows without a picture or sound go by their words, so that the same conversation stays on one side.
    """
    names = [
        digest or (None if sounds else words_hash(turns))
        for digest, sounds, turns in zip(table.picture_hashes, table.keys("audio"), table.turns, strict=True)
    ]
    stand_in = SampleTable(
        source=table.source,
        ids=table.ids,
        captions=table.captions,
        picture_hashes=names,
        positions=range(len(table)),
        pictures=[],
        sound_hashes=table.sound_hashes,
        groups=table.groups,
    )
    parts = {
        name: table.select(part.positions) for name, part in split_by_group(stand_in, fractions, rest).items()
    }
    return {name: part if name == rest else replace(part, rejected=()) for name, part in parts.items()}


def words_hash(turns: Sequence[Turn]) -> str:
    """Return SHA-256 (hex) of a conversation's words."""
    return hashlib.sha256(repr([tuple(turn) for turn in turns]).encode()).hexdigest()


def join_instructions(tables: Sequence[InstructionTable]) -> InstructionTable:
    """Join the rows of these tables, one after the other."""
    if len(tables) == 1:
        return tables[0]
    return _with_turns(
        join_tables(tables),
        list(chain(*(table.turns for table in tables))),
        list(chain(*(table.sources for table in tables))),
        list(chain(*(table.answer_types for table in tables))),
    )


def with_system_prompt(table: InstructionTable, prompt: str) -> InstructionTable:
    """Begin every conversation with this system turn, but those that have one of their own."""
    turns = [own if own[0].role == SYSTEM else (Turn(SYSTEM, prompt), *own) for own in table.turns]
    return replace(table, turns=turns)


def captions_as_answers(table: SampleTable, question: str, source: str = "") -> InstructionTable:
    """Make a conversation of every row with a picture or sound and a caption: one question, the caption.

    Args:
        table: Of any kind; its further captions are not used.
        question: What every row is asked, such as `"What does the picture show?"`.
        source: Name for `sources`; by default the table's own.
    """
    shown = [
        index
        for index, captions in enumerate(table.captions)
        if captions and (table.picture_hashes[index] or table.keys("audio")[index])
    ]
    turns = [(Turn(USER, question), Turn(ASSISTANT, table.captions[index][0])) for index in shown]
    plain = table.select(shown)
    return _with_turns(
        replace(plain, captions=[[] for _ in shown]),
        turns,
        [source or table.source] * len(shown),
        [""] * len(shown),
    )


def _with_turns(
    table: SampleTable,
    turns: Sequence[tuple[Turn, ...]],
    sources: Sequence[str],
    answer_types: Sequence[str],
) -> InstructionTable:
    fields = {name: getattr(table, name) for name in SampleTable.__dataclass_fields__}
    return InstructionTable(**fields, turns=turns, sources=sources, answer_types=answer_types)
