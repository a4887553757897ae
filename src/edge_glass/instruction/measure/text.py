"""How good generated answers are: metrics of one answer, of a whole set, and how sure they are.

All are shares between 0 and 1: sacreBLEU's number divided by 100, CIDEr-D by its largest value, 10.
"""

from __future__ import annotations

import importlib.util
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from edge_glass.core.extras import optional_module
from edge_glass.evaluation.intervals import Estimate, estimate_mean, resample_counts
from edge_glass.instruction.measure.answers import normalize_answer, words_of

BLEU_ORDER: Final = 4
CIDER_LARGEST: Final = 10


@dataclass(frozen=True)
class AnswerSet:
    """Generated answers of a split and what they should have been, in one order.

    Attributes:
        predictions: One generated answer a row.
        references: One or several right answers a row.
        units: Integer `[N]`: rows with equal numbers are drawn together in the bootstrap, such as the
            questions of one picture.
        answer_types: Of each row; empty text where unknown. Empty when no row has one.
        sources: Of each row. Empty when unknown.
        ended: Whether each answer ended by itself, and not because it had no tokens left. Empty when unknown.
    """

    predictions: Sequence[str]
    references: Sequence[Sequence[str]]
    units: Sequence[int] | np.ndarray
    answer_types: Sequence[str] = field(default=())
    sources: Sequence[str] = field(default=())
    ended: Sequence[bool] = field(default=())

    def __post_init__(self) -> None:
        for name in ("references", "units", "answer_types", "sources", "ended"):
            found = len(getattr(self, name))
            optional = name in ("answer_types", "sources", "ended")
            if found != len(self.predictions) and not (optional and found == 0):
                raise ValueError(f"{len(self.predictions)} predictions, but {found} {name}")


def exact_match(prediction: str, references: Sequence[str]) -> float:
    """1 when the answer is one of the references; case and the number of blanks do not matter."""
    said = " ".join(prediction.casefold().split())
    return float(any(said == " ".join(reference.casefold().split()) for reference in references))


def vqa_accuracy(prediction: str, references: Sequence[str]) -> float:
    """Accuracy of the VQA benchmark: all of it when three people say the same, a third for one.

    Averaged over leaving each person out, as the benchmark does. With a single reference: 1 when equal. Both
    sides are normalised (`normalize_answer`).
    """
    said = normalize_answer(prediction)
    agrees = [normalize_answer(reference) == said for reference in references]
    if len(agrees) == 1:
        return float(agrees[0])
    total = sum(agrees)
    return float(np.mean([min(1.0, (total - own) / 3) for own in agrees]))


def token_f1(prediction: str, references: Sequence[str]) -> float:
    """Harmonic mean of precision and recall over words, with the best reference (as SQuAD has it)."""
    said = words_of(prediction)
    return max(_f1_of_words(said, words_of(reference)) for reference in references)


def rouge_l(prediction: str, references: Sequence[str]) -> float:
    """ROUGE-L F1: longest common subsequence of words, with the best reference (Lin 2004); not stemmed."""
    said = words_of(prediction)
    return max(_rouge_of_words(said, words_of(reference)) for reference in references)


def meteor(prediction: str, references: Sequence[str]) -> float:
    """METEOR with exact and stemmed words, but without WordNet's synonyms, which would need a download.

    Somewhat lower than a METEOR with synonyms: compare it with itself only.

    Raises:
        ConfigError: nltk is not installed.
    """
    score = optional_module("nltk.translate.meteor_score", "text")
    kept = [words for words in map(words_of, references) if words]
    said = words_of(prediction)
    if not said or not kept:
        return float(not said and len(kept) < len(references))
    return float(score.meteor_score(kept, said, wordnet=_NoSynonyms()))


def bleu(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """BLEU-4 of a whole set by sacreBLEU, as a share: a property of the set, not a mean over answers.

    It says little about answers of fewer than four words.

    Raises:
        ConfigError: sacrebleu is not installed.
    """
    return _bleu_of(_bleu_counts(predictions, references).sum(axis=0))


def cider(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> np.ndarray:
    """CIDEr-D of each answer, as a share of 10 (Vedantam et al. 2015, arXiv:1411.5726, by aac-metrics).

    Phrases of one to four words count the more the fewer rows have them in their references, so a score
    belongs to its set of rows, and is 0 in a set of one. Words are those of the other metrics, not those of
    the PTB tokenizer, which needs Java. It says little about answers of fewer than four words.

    Returns:
        Float64 `[N]`.

    Raises:
        ConfigError: aac-metrics is not installed.
    """
    if len(predictions) < 2:
        return np.zeros(len(predictions))
    score = optional_module("aac_metrics.functional.cider_d", "cider").cider_d
    said = list(map(_plain, predictions))
    _, rows = score(said, [list(map(_plain, right)) for right in references])
    return np.asarray(rows["cider_d"]) / CIDER_LARGEST


def _plain(text: str) -> str:
    return " ".join(words_of(text))


PER_ANSWER: Final[dict[str, Callable[[str, Sequence[str]], float]]] = {
    "exact_match": exact_match,
    "vqa_accuracy": vqa_accuracy,
    "token_f1": token_f1,
    "rouge_l": rouge_l,
    "meteor": meteor,
}
"""Metrics of one answer whatever the others are; their mean is that of a set."""

BROKEN_DOWN: Final = ("exact_match", "vqa_accuracy", "token_f1")
"""Metrics that are also given by answer type and by source."""

NEVER_ENDED: Final = "never_ended"
_NEEDS: Final = {"meteor": ("nltk", "text"), "bleu": ("sacrebleu", "text"), "cider": ("aac_metrics", "cider")}
"""Metric → its package, and the extra that installs it. That of CIDEr takes seconds to import."""


def available_metrics() -> tuple[str, ...]:
    """Names of the metrics whose packages are installed."""
    names = (*PER_ANSWER, "bleu", "cider")
    return tuple(
        name for name in names if name not in _NEEDS or importlib.util.find_spec(_NEEDS[name][0]) is not None
    )


def answer_scores(answers: AnswerSet, metrics: Sequence[str] | None = None) -> dict[str, np.ndarray]:
    """Every metric of single answers, float64 `[N]` by name, with `never_ended` where that is known."""
    wanted = metrics or available_metrics()
    scores = {
        name: np.array([score(*pair) for pair in zip(answers.predictions, answers.references, strict=True)])
        for name, score in PER_ANSWER.items()
        if name in wanted
    }
    if "cider" in wanted:
        scores["cider"] = cider(answers.predictions, answers.references)
    if len(answers.ended):
        scores[NEVER_ENDED] = 1.0 - np.asarray(answers.ended, dtype=np.float64)
    return scores


def answer_values(answers: AnswerSet, metrics: Sequence[str] | None = None) -> dict[str, float]:
    """All metrics without intervals: cheap enough for every validation.

    Args:
        answers: At least one.
        metrics: Names; by default those of `available_metrics`.

    Returns:
        `exact_match`, …, `bleu`, `never_ended`; and those of `BROKEN_DOWN` as `exact_match/type/color` and
        `exact_match/source/easy-vqa` where there are several types or sources.
    """
    wanted = metrics or available_metrics()
    scores = answer_scores(answers, wanted)
    values = {name: float(rows.mean()) for name, rows in scores.items()}
    if "bleu" in wanted:
        values["bleu"] = bleu(answers.predictions, answers.references)
    for name, rows in _parts(answers).items():
        values |= {f"{metric}/{name}": float(scores[metric][rows].mean()) for metric in _broken(scores)}
    return values


def estimate_answers(
    answers: AnswerSet, metrics: Sequence[str] | None = None, samples: int = 2000, seed: int = 0
) -> dict[str, Estimate]:
    """As `answer_values`, with bootstrap draws over units (a picture with its questions is drawn as one).

    Estimates of two models on the same rows are paired: `trained["bleu"].minus(untouched["bleu"])`.
    """
    wanted = metrics or available_metrics()
    units = np.asarray(answers.units)
    scores = answer_scores(answers, wanted)
    estimates = {name: estimate_mean(rows, units, samples, seed) for name, rows in scores.items()}
    if "bleu" in wanted:
        estimates["bleu"] = _estimate_bleu(answers, samples, seed)
    for name, rows in _parts(answers).items():
        for metric in _broken(scores):
            part = estimate_mean(scores[metric][rows], units[rows], samples, seed)
            estimates[f"{metric}/{name}"] = part
    return estimates


def _broken(scores: dict[str, np.ndarray]) -> list[str]:
    return [name for name in BROKEN_DOWN if name in scores]


def _parts(answers: AnswerSet) -> dict[str, np.ndarray]:
    """Rows by answer type and by source, where there are several."""
    parts = {}
    for kind, labels in (("type", answers.answer_types), ("source", answers.sources)):
        names = sorted({label for label in labels if label})
        for name in names if len(names) > 1 else []:
            rows = np.flatnonzero([label == name for label in labels])
            parts[f"{kind}/{name.replace('/', '-')}"] = rows
    return parts


def _f1_of_words(said: list[str], right: list[str]) -> float:
    if not said or not right:
        return float(said == right)
    shared = sum((Counter(said) & Counter(right)).values())
    return 2 * shared / (len(said) + len(right))


def _rouge_of_words(said: list[str], right: list[str]) -> float:
    if not said or not right:
        return float(said == right)
    return 2 * _longest_common(said, right) / (len(said) + len(right))


def _longest_common(first: list[str], second: list[str]) -> int:
    """Length of the longest common subsequence."""
    row = [0] * (len(second) + 1)
    for word in first:
        before = 0
        for at, other in enumerate(second, start=1):
            above = row[at]
            row[at] = before + 1 if word == other else max(above, row[at - 1])
            before = above
    return row[-1]


def _bleu_counts(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> np.ndarray:
    """Matched and all n-grams of each answer, its length and its reference's: int64 `[N, 2 * 4 + 2]`."""
    scorer = optional_module("sacrebleu.metrics", "text").BLEU(effective_order=True)
    found = [
        scorer.sentence_score(said, list(right)) for said, right in zip(predictions, references, strict=True)
    ]
    return np.array([[*one.counts, *one.totals, one.sys_len, one.ref_len] for one in found], dtype=np.int64)


def _bleu_of(counts: np.ndarray) -> float:
    """BLEU of summed counts."""
    compute = optional_module("sacrebleu.metrics", "text").BLEU.compute_bleu
    numbers = [int(count) for count in counts]
    matched, total = numbers[:BLEU_ORDER], numbers[BLEU_ORDER : 2 * BLEU_ORDER]
    return float(compute(matched, total, *numbers[-2:], smooth_method="exp").score) / 100


def _estimate_bleu(answers: AnswerSet, samples: int, seed: int) -> Estimate:
    counts = _bleu_counts(answers.predictions, answers.references)
    index = np.unique(answers.units, return_inverse=True)[1]
    by_unit = np.zeros((index.max() + 1, counts.shape[1]), dtype=np.int64)
    np.add.at(by_unit, index, counts)
    chunks = resample_counts(len(by_unit), samples, seed)
    draws = [_bleu_of(drawn) for chunk in chunks for drawn in chunk @ by_unit]
    return Estimate(_bleu_of(counts.sum(axis=0)), np.array(draws))


class _NoSynonyms:
    """What nltk asks for synonyms, without any."""

    def synsets(self, word: str) -> list[object]:
        return []
