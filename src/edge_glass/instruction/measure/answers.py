"""Answers as texts: how they are made comparable, and which are given most often.

Source of the normalisation: the evaluation code of VQA v2 (Goyal et al. 2017), github.com/GT-Vision-Lab/VQA,
vqaEval.py.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Final

_PERIOD: Final = re.compile(r"\.(?!\d)")  # the benchmark keeps a period only before a digit
_COMMA_IN_NUMBER: Final = re.compile(r"\d,\d")
_PUNCTUATION: Final = ';/[]"{}()=+\\_-><@`,?!'
_ARTICLES: Final = frozenset(("a", "an", "the"))
_NUMBERS: Final = {
    word: str(number)
    for number, word in enumerate(
        ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
    )
} | {"none": "0"}
# The benchmark writes contractions back that people typed without the apostrophe. Its own list also has rare
# double ones ("couldnt've"); these are the words, each under its spelling without apostrophe.
_CONTRACTED: Final = """
ain't aren't can't could've couldn't didn't doesn't don't hadn't hasn't haven't he'd he's how'd
how'll how's i'd've i'm i've isn't it'd it'll let's ma'am might've mightn't must've mustn't needn't
not've o'clock oughtn't shan't she'd've should've shouldn't somebody'd somebody'll somebody's
someone'd someone'll someone's something'd something'll that'd that's there'd there're there's
they'd they'll they're they've 'twas wasn't we'd've we've weren't what'll what're what's what've
when's where'd where's where've who'd who'll who's who've why'll why're why's won't would've
wouldn't y'all you'd you'll you're you've
"""
_CONTRACTIONS: Final = {word.replace("'", ""): word for word in _CONTRACTED.split()}
_WORD: Final = re.compile(r"[^\W_]+")


def normalize_answer(text: str) -> str:
    """Return an answer as the VQA benchmark compares it: no case, punctuation, articles; digits for numbers.

    A punctuation mark that touches a blank, or any of them where a number has a comma, is removed; one within
    a word becomes a blank.
    """
    text = text.replace("\n", " ").replace("\t", " ").strip()
    cleaned = text
    for mark in _PUNCTUATION:
        if f"{mark} " in text or f" {mark}" in text or _COMMA_IN_NUMBER.search(text):
            cleaned = cleaned.replace(mark, "")
        else:
            cleaned = cleaned.replace(mark, " ")
    words = [_NUMBERS.get(word, word) for word in _PERIOD.sub("", cleaned).lower().split()]
    return " ".join(_CONTRACTIONS.get(word, word) for word in words if word not in _ARTICLES)


def words_of(text: str) -> list[str]:
    """Return the words of a text in lower case: letters and digits of any script, nothing else."""
    return _WORD.findall(text.casefold())


def best_f1(
    prediction: str, references: Sequence[str], shared: Callable[[list[str], list[str]], int]
) -> float:
    """Return F1 over words with the best reference; `shared` counts what an answer and a reference share."""
    said, scores = words_of(prediction), []
    for right in map(words_of, references):
        count = len(said) + len(right)
        scores.append(2 * shared(said, right) / count if said and right else float(said == right))
    return max(scores)


def most_frequent_answers(learned: Iterable[tuple[str, str]], asked: Sequence[str]) -> list[str]:
    """Return the answer that each question had most often, or the most frequent of all if it is new.

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
    """Return the most frequent; of equally frequent ones the first in the alphabet, not the first seen."""
    return min(counts, key=lambda answer: (-counts[answer], answer))
