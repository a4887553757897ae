"""What can be had without looking: the answer that is right most often."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence


def most_frequent_answers(learned: Iterable[tuple[str, str]], asked: Sequence[str]) -> list[str]:
    """To each question the answer it had most often, or the most frequent of all where it was never asked.

    Args:
        learned: (question, answer) of the training rows, at least one.
        asked: Questions.
    """
    by_question: dict[str, Counter[str]] = defaultdict(Counter)
    overall: Counter[str] = Counter()
    for question, answer in learned:
        by_question[question][answer] += 1
        overall[answer] += 1
    best = {question: _first(counts) for question, counts in by_question.items()}
    return [best.get(question, _first(overall)) for question in asked]


def _first(counts: Counter[str]) -> str:
    """The most frequent; of equally frequent ones the first in the alphabet, not the first seen."""
    return min(counts, key=lambda answer: (-counts[answer], answer))
