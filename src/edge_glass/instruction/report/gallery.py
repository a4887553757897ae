"""Answers to look at: the wrong ones first, and how answers changed while the model learned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from edge_glass.instruction.measure.answers import normalize_answer
from edge_glass.instruction.measure.archive import RIGHT_SHOWN, AnswerRecord, picture_of, shown_rows
from edge_glass.instruction.measure.text import score_of_one
from edge_glass.instruction.report.companions import answers_of, is_graded, primary_metric
from edge_glass.reporting.answer_history import Answer, AnswerHistory, answer_histories, one_line
from edge_glass.reporting.run_folder import RunFolder
from edge_glass.reporting.wording import format_value, metric_label

SHORT: Final = 60


@dataclass(frozen=True)
class Shown:
    """One question of the gallery."""

    identifier: str
    question: str
    reference: str
    answer_type: str
    picture: bytes | None
    trained: Answer
    untouched: Answer | None


@dataclass(frozen=True)
class Gallery:
    """Answers that are shown.

    Attributes:
        wrong: Wrong ones, or those with the worst scores.
        right: Right ones, or those with the best scores.
        wrong_count: How many are wrong; 0 where they are scored.
        right_count: How many are right; 0 where they are scored.
        count: How many there are.
        never_ended: How many of them never ended.
        pictures: Whether any that is shown has a picture.
        long: Whether answers are sentences, which need room.
    """

    wrong: list[Shown]
    right: list[Shown]
    wrong_count: int
    right_count: int
    count: int
    never_ended: int
    pictures: bool
    long: bool


def answer_gallery(run: RunFolder) -> Gallery | None:
    """Return what `shown_rows` chooses; None when no answers were kept."""
    records = answers_of(run)
    if not records:
        return None
    rows = shown_rows(records)
    if is_graded(primary_metric(run)):
        half = len(rows) - min(RIGHT_SHOWN, len(rows) // 2)
        worst, best = rows[:half], sorted(rows[half:], key=lambda row: -records[row].score)
        right = wrong = 0
    else:
        worst = [row for row in rows if not records[row].right]
        best = [row for row in rows if records[row].right]
        right = sum(record.right for record in records)
        wrong = len(records) - right
    bad, good = ([_shown(run, records[row]) for row in part] for part in (worst, best))
    return Gallery(
        wrong=bad,
        right=good,
        wrong_count=wrong,
        right_count=right,
        count=len(records),
        never_ended=sum(not record.ended for record in records),
        pictures=any(one.picture for one in bad + good),
        long=any(len(one.reference) > SHORT for one in bad + good),
    )


def graded_histories(run: RunFolder) -> list[AnswerHistory]:
    """Return answers over training; of scored answers only those that agree count as right."""
    wrong = None if is_graded(primary_metric(run)) else False
    return answer_histories(
        run, lambda said, right: normalize_answer(said) == normalize_answer(right) or wrong
    )


def _shown(run: RunFolder, record: AnswerRecord) -> Shown:
    metric = primary_metric(run)
    untouched = None
    if record.untouched_answer is not None:
        untouched = _answer(metric, record.untouched_answer, record.untouched_score, None)
    return Shown(
        identifier=record.id,
        question=one_line(record.question),
        reference=one_line(record.reference),
        answer_type=record.answer_type,
        picture=picture_of(run.path, run.split, record.picture),
        trained=_answer(metric, record.answer, record.score, record.ended),
        untouched=untouched,
    )


def _answer(metric: str, text: str, score: float | None, ended: bool | None) -> Answer:
    line = one_line(text)
    if score is None:
        return Answer(line, None, ended)
    if is_graded(metric):
        # Of BLEU, which single answers do not have, another metric stands in.
        name = metric_label(metric) if score_of_one(metric) else "score"
        return Answer(line, None, ended, f"{name} {format_value(metric, score)}")
    return Answer(line, score >= 0.5, ended)
