"""Instruction: questions about pictures and sounds; a finished model answers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_glass.config.instruction import InstructionConfig
from edge_glass.config.overrides import merged
from edge_glass.tasks.registry import TaskKind

if TYPE_CHECKING:
    from edge_glass.data.samples import SampleTable
    from edge_glass.instruction.run import InstructionExperiment
    from edge_glass.instruction.task import InstructionTask
    from edge_glass.instruction.use.answer import AnswerModel
    from edge_glass.reporting.inspection import Inspection
    from edge_glass.reporting.run_folder import RunFolder
    from edge_glass.tasks.merging import Merged


class Instruction(TaskKind):
    """See `TaskKind`."""

    name = "instruction"
    config = InstructionConfig
    does = "answers questions"
    example = 'edge-glass answer {folder} picture.png "what is it?"'
    plots = "edge_glass.instruction.report.plots"

    def experiment(self, config: Any, progress: bool = True, model: Any = None) -> InstructionExperiment:
        from edge_glass.instruction.run import InstructionExperiment

        return InstructionExperiment(config, progress, model)

    def rows(self, config: Any) -> Mapping[str, SampleTable]:
        from edge_glass.instruction.data.sources import load_conversations

        return load_conversations(config)

    def load_trained(self, config: Any, folder: Path) -> Any:
        from edge_glass.instruction.model.folder import load_answering_model

        return load_answering_model(folder)[0]

    def load(self, folder: str | Path) -> AnswerModel:
        from edge_glass.instruction.use.answer import AnswerModel

        return AnswerModel(folder)

    def page(self, run: RunFolder) -> tuple[str, dict[str, Any]]:
        from edge_glass.instruction.report.page import answers_context

        return "answers.html.j2", answers_context(run)

    def describe(self, run: RunFolder) -> str:
        from edge_glass.instruction.report.summary import describe_answers

        return describe_answers(run)

    def metrics_table(self, results: dict[str, Any]) -> str:
        from edge_glass.instruction.report.summary import answers_table

        return answers_table(results)

    def companions(self, config: Any) -> dict[str, Any]:
        return {kind: companion_config(config, kind) for kind in config.evaluation.compare_with}

    def inspect(self, config: Any, count: int = 8, split: str = "train") -> Inspection:
        from edge_glass.instruction.report.inspecting import inspect_conversations

        return inspect_conversations(config, count, split)

    def on_few_rows(self, config: Any, rows: int) -> InstructionTask:
        from edge_glass.instruction.data.sources import load_conversations
        from edge_glass.instruction.task import InstructionTask

        few = load_conversations(config)["train"].spread(rows)
        return InstructionTask(config, progress=False, tables=dict.fromkeys(("train", "val", "test"), few))

    def merge(self, run: Path, output: Path | None, bound: float | None, rows: int, progress: bool) -> Merged:
        from edge_glass.instruction.use.merge import merge_answering

        return merge_answering(run, output, bound, rows, progress)


def companion_config(config: InstructionConfig, kind: str) -> InstructionConfig:
    """Return the same experiment but for one thing, to compare it with.

    Args:
        config: The experiment; for same_size and same_compute its decoder is a trm.
        kind: `blind` (without pictures and sounds), `same_size` or `same_compute` (a plain decoder of the
            TRM's size or of its compute).
    """
    decoder = config.decoder
    recursion = decoder.recursion
    applied = recursion.supervision_steps * recursion.cycles * (recursion.refinements + 1)
    plain = {"kind": "plain", "recursion": type(recursion)().model_dump()}
    changes: dict[str, Any] = {
        "blind": {"prefix": {"blind": True}},
        "same_size": {"decoder": plain},
        "same_compute": {"decoder": plain | {"size": {"layers": decoder.size.layers * applied}}},
    }
    by_itself = {"name": f"{config.name}-{kind}", "evaluation": {"compare_with": []}}
    return type(config).model_validate(merged(merged(config.model_dump(), changes[kind]), by_itself))


KIND = Instruction()
