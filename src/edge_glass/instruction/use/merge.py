"""Adding the LoRA adapters of a finished run to its language model; see `edge_glass.tasks.merging`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from edge_glass.config.instruction import InstructionConfig
from edge_glass.core.errors import ConfigError
from edge_glass.core.passes import parts
from edge_glass.core.progress import progress_bar
from edge_glass.data.conversations import BadConversation
from edge_glass.data.labels import tokenize_conversation
from edge_glass.decoders.decoder import decoder_kind
from edge_glass.instruction.data.sources import load_conversations
from edge_glass.instruction.data.table import InstructionTable
from edge_glass.instruction.measure.text import AnswerSet, answer_values
from edge_glass.instruction.model.folder import ANSWERING_FOLDER
from edge_glass.instruction.use.answer import Answerer, Asked
from edge_glass.tasks.finding import require_task
from edge_glass.tasks.merging import Answered, Merged, merge_adapters


def merge_answering(
    run: Path, output: Path | None, bound: float | None, rows: int, progress: bool = True
) -> Merged:
    """Write a run's language model with its adapters in the weights; see `merge_adapters`.

    Raises:
        ConfigError: The decoder is no language model, or as `merge_adapters`.
    """
    found = require_task(run, "instruction")
    kind = ANSWERING_FOLDER.read(found.model)[1].decoder.kind
    if not decoder_kind(kind).pretrained:
        raise ConfigError(f"{run}: its decoder is {kind}; only a language model has adapters to merge")

    def answer(model: Any, config: InstructionConfig, table: InstructionTable) -> Answered:
        answerer = Answerer(model, config)
        known = table.select(_answerable(answerer, table))
        texts = _answers(answerer, known, progress)
        return Answered(texts, _metric(known, texts, config.evaluation.primary_metric))

    return merge_adapters(
        found.run, found.model, ANSWERING_FOLDER, load_conversations, answer, output, bound, rows
    )


def _answerable(answerer: Answerer, table: InstructionTable) -> list[int]:
    """Return the rows that training would not have left out."""
    dataset, rows = answerer.config.dataset, []
    for row, turns in enumerate(table.turns):
        try:
            tokenize_conversation(
                answerer.prompts.tokenizer, turns, dataset.max_question_length, dataset.max_answer_length
            )
        except BadConversation:
            continue
        rows.append(row)
    return rows


def _answers(answerer: Answerer, table: InstructionTable, progress: bool) -> list[str]:
    """Return what is answered to all rows."""
    answers: list[str] = []
    with progress_bar("answering test questions", len(table), progress) as advance:
        for part in parts(range(len(table)), answerer.config.generation.batch_size):
            answers += answerer.write([_asked(table, row) for row in part])
            advance(len(part))
    return answers


def _asked(table: InstructionTable, row: int) -> Asked:
    seen, heard = (bool(table.keys(modality)[row]) for modality in ("vision", "audio"))
    return Asked(
        tuple(table.turns[row][:-1]),
        partial(table.image, row) if seen else None,
        partial(table.sound, row) if heard else None,
    )


def _metric(table: InstructionTable, answers: list[str], metric: str) -> float:
    if not answers:
        return 0.0
    answered = AnswerSet(
        predictions=answers,
        references=[[table.answer(row)] for row in range(len(table))],
        units=range(len(answers)),
        answer_types=table.answer_types,
        sources=table.sources,
    )
    return answer_values(answered, [metric])[metric]
