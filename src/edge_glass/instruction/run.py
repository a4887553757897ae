"""An instruction run: what it measures beside its task, and what it leaves behind."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edge_glass.data.pictures import make_thumbnail
from edge_glass.data.samples import digests
from edge_glass.evaluation.intervals import Estimate
from edge_glass.instruction.measure.answers import most_frequent_answers
from edge_glass.instruction.measure.archive import AnswerRecord, save_answers, shown_rows
from edge_glass.instruction.measure.metrics import token_f1
from edge_glass.instruction.measure.text import estimate_answers, score_of_one
from edge_glass.instruction.model.folder import save_answering_model
from edge_glass.instruction.task import Answers, InstructionTask
from edge_glass.tasks.text_generation_run import TextGenerationRun


class InstructionExperiment(InstructionTask, TextGenerationRun):
    """An instruction task as a run sees it; see `edge_glass.tasks.experiment.Experiment`."""

    guess = "most_frequent_answer"
    guess_metrics = ("exact_match", "vqa_accuracy")

    def estimates(
        self, measured: Answers, split: str = "test", metrics: Sequence[str] | None = None
    ) -> dict[str, Estimate]:
        """Return metrics of answers with their bootstrap draws, by type and source too."""
        evaluation, answers = self.config.evaluation, self.answer_set(split, measured)
        return estimate_answers(answers, metrics, evaluation.bootstrap_samples, self.config.seed)

    def guesses(self, rows: Sequence[int]) -> Answers:
        """Return the most frequent training answers to the questions of test rows."""
        train, asked = self.splits["train"], self.splits["test"]
        learned = [(train.question(row), train.answer(row)) for row in range(len(train))]
        texts = most_frequent_answers(learned, [asked.question(row) for row in rows])
        return Answers(list(rows), texts, [True] * len(rows))

    def save_model(self, folder: Path) -> None:
        """Write the finished model."""
        save_answering_model(self.model, self.config, folder, self.canary(self.model))

    def save_archive(self, folder: Path, trained: Answers, untouched: Answers) -> None:
        """Write the answers that the report shows, beside those of the untouched model."""
        table = self.splits["test"]
        score = score_of_one(self.primary_metric) or token_f1.score  # bleu is one of whole sets
        pairs = zip(trained.rows, trained.texts, trained.ended, untouched.texts, strict=True)
        records = [
            AnswerRecord(
                id=table.ids[row],
                picture=table.picture_hashes[row],
                question=table.question(row),
                reference=table.answer(row),
                answer=answer,
                untouched_answer=before,
                answer_type=table.answer_types[row],
                source=table.sources[row],
                ended=ended,
                score=score(answer, [table.answer(row)]),
                untouched_score=score(before, [table.answer(row)]),
            )
            for row, answer, ended, before in pairs
        ]
        shown = {
            str(records[at].picture): trained.rows[at] for at in shown_rows(records) if records[at].picture
        }
        pictures = {digest: make_thumbnail(table.image(row)) for digest, row in shown.items()}
        save_answers(folder, "test", records, pictures)

    def fingerprints(self) -> dict[str, Any]:
        """Return fingerprints of the encoders, and of the rows of each split."""
        encoders = {name: tower.encoder.fingerprint for name, tower in self.model.towers.items()}
        return {"weights": encoders, "data": digests(self.tables)}
