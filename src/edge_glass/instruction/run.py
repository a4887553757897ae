"""An instruction run: what it measures beside its task, and what it leaves behind."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from edge_glass.data.pictures import make_thumbnail
from edge_glass.evaluation.intervals import Estimate
from edge_glass.evaluation.results import assemble_results, metrics_dict
from edge_glass.instruction.data.table import words_hash
from edge_glass.instruction.measure.archive import AnswerRecord, save_answers, shown_rows
from edge_glass.instruction.measure.baselines import most_frequent_answers
from edge_glass.instruction.measure.metrics import token_f1
from edge_glass.instruction.measure.text import AnswerSet, estimate_answers, score_of_one
from edge_glass.instruction.model.folder import save_answering_model
from edge_glass.instruction.task import Answers, InstructionTask
from edge_glass.tasks.experiment import Cost, split_counts
from edge_glass.tasks.sample_answers import SampleAnswers
from edge_glass.tasks.text_generation_run import TextGenerationRun

logger = logging.getLogger(__name__)

GUESSED = ("exact_match", "vqa_accuracy")


class InstructionExperiment(InstructionTask, TextGenerationRun):
    """An instruction task as a run sees it; see `edge_glass.tasks.experiment.Experiment`."""

    written = Answers

    def measure(self, split: str) -> Answers:
        """Answers to the measured rows of a split."""
        return self.answer(self.model, split, self.measured_rows(split), self.progress)

    def estimates(self, measured: Answers, split: str = "test") -> dict[str, Estimate]:
        """All metrics of answers, by type and source too."""
        return self._estimates(self.answer_set(split, measured))

    def _estimates(self, answers: AnswerSet, metrics: Sequence[str] | None = None) -> dict[str, Estimate]:
        return estimate_answers(answers, metrics, self.config.evaluation.bootstrap_samples, self.config.seed)

    def callbacks(self, folder: Path) -> list[Any]:
        """Sample answers of every validation."""
        return [SampleAnswers(self, folder / "samples.jsonl")]

    def write_results(self, folder: Path, untouched: Answers, trained: Answers, cost: Cost) -> dict[str, Any]:
        """Results, archive and artefact."""
        answers = trained
        results = assemble_results(
            split="test",
            metric=self.primary_metric,
            trained=self.estimates(answers),
            baseline=self.estimates(untouched),
            seconds=cost.seconds,
            samples=cost.samples,
            data=split_counts(self.splits),
        )
        guessed = Answers(answers.rows, self._guesses(answers.rows), [True] * len(answers.rows))
        guesses = self._estimates(self.answer_set("test", guessed), GUESSED)
        chosen = {name: one for name, one in guesses.items() if name.partition("/")[0] in GUESSED}
        results["most_frequent_answer"] = {"metrics": metrics_dict(chosen)}
        results["task"] = "instruction"
        self._save_archive(folder, answers, untouched)
        save_answering_model(self.model, self.config, folder / "model", self.canary(self.model))
        return results

    def _guesses(self, rows: Sequence[int]) -> list[str]:
        """What somebody would say who knows the training answers and sees no picture."""
        train, asked = self.splits["train"], self.splits["test"]
        learned = [(train.question(row), train.answer(row)) for row in range(len(train))]
        return most_frequent_answers(learned, [asked.question(row) for row in rows])

    def _save_archive(self, folder: Path, answers: Answers, untouched: Answers) -> None:
        table = self.splits["test"]
        score = score_of_one(self.primary_metric) or token_f1.score  # bleu is one of whole sets
        pairs = zip(answers.rows, answers.texts, answers.ended, untouched.texts, strict=True)
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
            str(records[at].picture): answers.rows[at] for at in shown_rows(records) if records[at].picture
        }
        pictures = {digest: make_thumbnail(table.image(row)) for digest, row in shown.items()}
        save_answers(folder, "test", records, pictures)

    def fingerprints(self) -> dict[str, Any]:
        """Of the encoders, and of the pictures, sounds and words of each split."""
        digests = {
            name: hashlib.sha256(
                "\n".join(
                    chain(*table.keys("vision"), *table.keys("audio"), map(words_hash, table.turns))
                ).encode()
            ).hexdigest()
            for name, table in self.splits.items()
        }
        encoders = {name: tower.encoder.fingerprint for name, tower in self.model.towers.items()}
        return {"weights": encoders, "conversations": digests}
