"""Adding the LoRA adapters of a finished run to its language model, and making sure that nothing changed."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from edge_glass.config import ExperimentConfig, load_config
from edge_glass.core import canary
from edge_glass.core.errors import CheckpointError, ConfigError
from edge_glass.core.progress import progress_bar
from edge_glass.core.quiet import only_warnings
from edge_glass.data.conversations import BadConversation
from edge_glass.data.labels import tokenize_conversation
from edge_glass.instruction.data.sources import load_conversations
from edge_glass.instruction.data.table import InstructionTable
from edge_glass.instruction.measure.text import AnswerSet, answer_values
from edge_glass.instruction.model.folder import (
    Canary,
    load_answering_model,
    load_unquantized_model,
    read_canary,
    read_description,
    save_merged_model,
)
from edge_glass.instruction.use.answer import Answerer
from edge_glass.instruction.use.prompts import Asked
from edge_glass.tasks.finding import require_task
from edge_glass.tasks.merged import (
    LORA,
    Merged,
    default_bound,
    require_equal,
    require_replaceable,
    roomy_device,
)
from edge_glass.tasks.sources import training_device


def merge_answering(
    run: Path,
    output: Path | None,
    bound: float | None,
    rows: int,
    progress: bool = True,
) -> Merged:
    """Write a run's language model with its adapters in the weights, as a plain Hugging Face folder.

    The merged model and the unmerged one answer the same test rows first; when they differ, nothing is
    written. Both compute in float32, whatever the weights are; the merged ones are rounded first as they
    will be saved.

    Args:
        run: A run folder of LoRA training.
        output: Where to; by default `merged` in the run folder.
        bound: Largest difference of logits allowed, as a share of the largest; by default 0.001, and 0.05 for
            bfloat16 weights or a run whose language model was quantised.
        rows: Test rows that both answer; 0 compares logits alone and needs no data.
        progress: Show progress bars.

    Raises:
        ConfigError: The run has no adapters, or `output` holds something else.
        CheckpointError: The run is not finished, or the merged model answers otherwise.
        DataError: The run's data are not there any more.
    """
    found = require_task(run, "instruction")
    config = read_description(found.model)
    _require_adapters(run, config)
    folder = output or found.run / "merged"
    require_replaceable(folder)
    table = _compared_rows(found.run, rows)
    with only_warnings(LORA):  # which layers are adapted was said in training
        model, _ = load_answering_model(found.model)
    stored = read_canary(found.model)
    quantised = config.decoder.quantization != "none"
    if quantised:  # what comes out are plain weights, so plain weights go in and are compared
        del model
        with only_warnings(LORA):
            model = load_unquantized_model(found.model)
    half = quantised or next(model.decoder.parameters()).dtype != torch.float32
    bound = default_bound(half) if bound is None else bound
    model.to(roomy_device(model, training_device(config)))
    answered: list[dict[int, str]] = []

    def observe() -> Tensor:
        answered.append(_answers(Answerer(model, config), table, progress))
        return canary.compute_logits(model, stored.sample)

    difference = model.decoder.merge(bound, observe)
    before, after = answered
    measured = _compare(folder, config, table, before, after, difference)
    require_equal(measured, bound, half)
    numbers = {name: value for name, value in asdict(measured).items() if name != "folder"}
    signed = Canary(stored.sample, canary.compute_logits(model, stored.sample), stored.untouched)
    save_merged_model(model, config, folder, signed, {**numbers, "run": str(run)})
    return measured


def _require_adapters(run: Path, config: ExperimentConfig) -> None:
    decoder = config.decoder
    if decoder.kind != "causal_lm":
        raise ConfigError(
            f"{run}: its decoder is {decoder.kind}; only a language model has adapters to merge"
        )
    if decoder.mode != "lora":
        raise ConfigError(f"{run}: decoder.mode is {decoder.mode}, so there are no adapters to merge")


def _compared_rows(run: Path, count: int) -> InstructionTable | None:
    """Test rows, evenly spread; None for none."""
    if not count:
        return None
    if not (run / "config.yaml").is_file():
        raise CheckpointError(
            f"{run}: config.yaml is missing, so its test rows are not known; --rows 0 compares logits alone"
        )
    try:
        table = load_conversations(load_config(run / "config.yaml"))["test"]
    except ConfigError as error:
        raise ConfigError(f"{error}\nThe test rows are compared; --rows 0 compares logits alone.") from error
    chosen = min(count, len(table))
    return table.select([len(table) * number // chosen for number in range(chosen)])


def _answers(answerer: Answerer, table: InstructionTable | None, progress: bool) -> dict[int, str]:
    """What is answered to the compared rows, by row."""
    if table is None:
        return {}
    rows = _answerable(answerer, table)
    size = answerer.config.generation.batch_size
    answers: list[str] = []
    with progress_bar("answering test questions", len(rows), progress) as advance:
        for start in range(0, len(rows), size):
            part = rows[start : start + size]
            answers += answerer.write([_asked(answerer, table, row) for row in part])
            advance(len(part))
    return dict(zip(rows, answers, strict=True))


def _answerable(answerer: Answerer, table: InstructionTable) -> list[int]:
    """Rows that training would not have left out."""
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


def _asked(answerer: Answerer, table: InstructionTable, row: int) -> Asked:
    seen, heard = (bool(table.keys(modality)[row]) for modality in ("vision", "audio"))
    return Asked(
        tuple(table.turns[row][:-1]),
        partial(table.image, row) if seen else None,
        partial(table.sound, row) if heard else None,
    )


def _compare(
    folder: Path,
    config: ExperimentConfig,
    table: InstructionTable | None,
    before: dict[int, str],
    after: dict[int, str],
    difference: float,
) -> Merged:
    metric, rows = config.evaluation.primary_metric, list(before)
    same = [before[row] == after[row] for row in rows]
    unmerged, merged = 0.0, 0.0
    if table is not None and rows:
        unmerged, merged = (_metric(table, answers, metric) for answers in (before, after))
    equal = sum(same) / max(len(rows), 1)
    quantization = config.decoder.quantization
    return Merged(folder, difference, len(rows), equal, metric, unmerged, merged, quantization)


def _metric(table: InstructionTable, answers: dict[int, str], metric: str) -> float:
    answered = AnswerSet(
        predictions=list(answers.values()),
        references=[[table.answer(row)] for row in answers],
        units=range(len(answers)),
        answer_types=[table.answer_types[row] for row in answers],
        sources=[table.sources[row] for row in answers],
    )
    return answer_values(answered, [metric])[metric]
