from __future__ import annotations

import importlib.util
import math
from collections import Counter
from functools import lru_cache

import numpy as np
import pytest
import sacrebleu
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_glass.core.errors import ConfigError
from edge_glass.evaluation.intervals import estimate_mean
from edge_glass.instruction.measure import text
from edge_glass.instruction.measure.answers import normalize_answer, words_of
from edge_glass.instruction.measure.metrics import (
    bleu,
    cider,
    exact_match,
    meteor,
    rouge_l,
    token_f1,
    vqa_accuracy,
)
from edge_glass.instruction.measure.text import AnswerSet, answer_values, estimate_answers

sentences = st.lists(st.sampled_from(["a", "red", "cat", "sat", "mat"]), max_size=7).map(" ".join)


@pytest.mark.parametrize(
    ("given_text", "normal"),
    [
        ("The Cat.", "cat"),
        ("a red,  blue  cat!", "red blue cat"),
        ("two", "2"),
        ("1,000 dogs", "1000 dogs"),
        ("3.5 m.", "3.5 m"),
        ("black-and-white", "black and white"),
        ("dont", "don't"),
        ("none", "0"),
        ("yes\n", "yes"),
        ("an", ""),
    ],
)
def test_normalisation_of_the_vqa_benchmark(given_text, normal):
    assert normalize_answer(given_text) == normal


def test_words():
    assert words_of("It's BLUE, isn't_it? Größe 3.5") == [
        "it",
        "s",
        "blue",
        "isn",
        "t",
        "it",
        "grösse",
        "3",
        "5",
    ]


def test_exact_match_is_about_words_not_blanks_or_case():
    assert exact_match.score(" Dark  blue\n", ["red", "dark blue"]) == 1.0
    assert exact_match.score("dark blue.", ["dark blue"]) == 0.0


@pytest.mark.parametrize(
    ("agreeing", "accuracy"), [(0, 0.0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1.0), (10, 1.0)]
)
def test_vqa_accuracy_of_ten_people(agreeing, accuracy):
    """Of ten people, each left out once: 3 that agree give 7 x 3/3 + 3 x 2/3 = 9 tenths."""
    people = ["The cat."] * agreeing + ["dog"] * (10 - agreeing)
    assert vqa_accuracy.score("cat", people) == pytest.approx(accuracy)


def test_vqa_accuracy_of_one_reference():
    assert vqa_accuracy.score("a Cat!", ["cat"]) == 1.0
    assert vqa_accuracy.score("cats", ["cat"]) == 0.0


def test_token_f1_by_hand():
    # shared: red, cat; precision 2/4, recall 2/3
    assert token_f1.score("The red red cat", ["a red cat"]) == pytest.approx(2 * (1 / 2) * (2 / 3) / (7 / 6))
    assert token_f1.score("red", ["blue", "RED."]) == 1.0
    assert token_f1.score("", [""]) == 1.0
    assert token_f1.score("", ["red"]) == token_f1.score("red", [""]) == 0.0


def naive_rouge(said: tuple[str, ...], right: tuple[str, ...]) -> float:
    @lru_cache(None)
    def common(i: int, j: int) -> int:
        if i == len(said) or j == len(right):
            return 0
        if said[i] == right[j]:
            return 1 + common(i + 1, j + 1)
        return max(common(i + 1, j), common(i, j + 1))

    if not said or not right:
        return float(said == right)
    precision, recall = common(0, 0) / len(said), common(0, 0) / len(right)
    return 0.0 if precision + recall == 0 else 2 * precision * recall / (precision + recall)


@settings(deadline=None)
@given(sentences, sentences)
def test_rouge_l_against_a_naive_one(said, right):
    assert rouge_l.score(said, [right]) == pytest.approx(
        naive_rouge(tuple(said.split()), tuple(right.split()))
    )


def test_rouge_l_takes_the_best_reference():
    # the longest common subsequence of "police kill the gunman" with "police killed the gunman" has 3 words
    assert rouge_l.score("police kill the gunman", ["x", "police killed the gunman"]) == pytest.approx(0.75)


def test_meteor_by_hand():
    # 3 of 3 words in 1 chunk: 1 - 0.5 * (1/3)^3
    assert meteor.score("the cat sat", ["dog", "The cat sat."]) == pytest.approx(1 - 0.5 / 27)
    # "cats" and "cat" share a stem; precision 1/2, recall 1/1: F = 10PR / (R + 9P), one chunk of one match
    assert meteor.score("cats slept", ["cat"]) == pytest.approx((10 * 0.5 / (1 + 9 * 0.5)) * 0.5)
    assert meteor.score("", ["cat"]) == meteor.score("cat", [""]) == meteor.score("dog", ["cat"]) == 0.0
    assert meteor.score("!", [""]) == 1.0


def naive_cider(said: list[str], right: list[list[str]]) -> list[float]:
    """CIDEr-D as a share of 10, from section 7 of Vedantam et al. 2015; for words without punctuation."""

    def grams(sentence: str, size: int) -> Counter[tuple[str, ...]]:
        words = sentence.split()
        return Counter(tuple(words[i : i + size]) for i in range(len(words) - size + 1))

    def weights(sentence: str, size: int) -> dict[tuple[str, ...], float]:
        rows_with = {
            gram: sum(any(gram in grams(one, size) for one in row) for row in right)
            for gram in grams(sentence, size)
        }
        return {
            gram: count * math.log(len(right) / max(1, rows_with[gram]))
            for gram, count in grams(sentence, size).items()
        }

    def likeness(first: str, second: str, size: int) -> float:
        own, other = weights(first, size), weights(second, size)
        norms = math.hypot(*own.values()) * math.hypot(*other.values())
        shared = sum(min(own.get(gram, 0.0), weight) * weight for gram, weight in other.items())
        apart = grams(first, 2).total() - grams(second, 2).total()
        return (shared / norms if norms else 0.0) * math.exp(-(apart**2) / (2 * 6**2))

    return [
        float(np.mean([[likeness(one, reference, size) for reference in row] for size in range(1, 5)]))
        for one, row in zip(said, right, strict=True)
    ]


def test_cider_is_that_of_the_paper():
    said = ["a red cat sits on a mat", "two dogs", "", "the cat the cat"]
    right = [
        ["a red cat sat on the mat", "the cat sits"],
        ["two dogs run", "a pair of dogs"],
        ["a bird"],
        ["the cat"],
    ]
    found = cider.scores(said, right)
    assert found == pytest.approx(naive_cider(said, right))
    assert found[0] > found[2] == 0.0
    punctuated = [one.title().replace(" Cat", " cat!") for one in said]
    assert cider.scores(punctuated, right) == pytest.approx(found)


def test_cider_belongs_to_a_set():
    rows = ["one red cat sleeps", "two blue birds sing"]
    assert cider.scores(rows, [[row] for row in rows]) == pytest.approx([1.0, 1.0])
    assert cider.scores(rows[:1], [rows[:1]]).tolist() == [0.0]  # in one row no word is rare
    assert cider.scores([rows[0]] * 2, [[rows[0]]] * 2).tolist() == [0.0, 0.0]


def bleu_of(predictions: list[str], references: list[list[str]]) -> float:
    return bleu.of_counts(bleu.counts(predictions, references).sum(axis=0))


def naive_bleu(predictions: list[str], references: list[list[str]]) -> float:
    """Papineni et al. 2002, over the whole set; for words without punctuation."""

    def grams(words: list[str], size: int) -> Counter[tuple[str, ...]]:
        return Counter(tuple(words[i : i + size]) for i in range(len(words) - size + 1))

    matched, total, said_length, right_length = [0] * 4, [0] * 4, 0, 0
    for prediction, right in zip(predictions, references, strict=True):
        said = prediction.split()
        lengths = [len(reference.split()) for reference in right]
        said_length += len(said)
        right_length += min(lengths, key=lambda length: (abs(length - len(said)), length))
        for size in range(1, 5):
            most: Counter[tuple[str, ...]] = Counter()
            for reference in right:
                most |= grams(reference.split(), size)
            found = grams(said, size)
            matched[size - 1] += sum((found & most).values())
            total[size - 1] += sum(found.values())
    assert min(matched) > 0
    brevity = min(1.0, math.exp(1 - right_length / said_length))
    return brevity * math.exp(sum(math.log(m / t) for m, t in zip(matched, total, strict=True)) / 4)


SAID = ["the red cat sat on the mat", "a blue circle", "there is a small green square here"]
RIGHT = [["the red cat sat on a mat", "red cat"], ["a blue circle"], ["there is a small green box"]]


def test_bleu_against_a_naive_one_and_sacrebleu_itself():
    assert bleu_of(SAID, RIGHT) == pytest.approx(naive_bleu(SAID, RIGHT))
    single = [references[:1] for references in RIGHT]
    theirs = sacrebleu.corpus_bleu(SAID, [[references[0] for references in RIGHT]]).score / 100
    assert bleu_of(SAID, single) == pytest.approx(theirs)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(sentences, sentences), min_size=1, max_size=5))
def test_bleu_is_sacrebleus_also_where_it_smooths(pairs):
    said, right = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    assert bleu_of(said, [[one] for one in right]) == pytest.approx(
        sacrebleu.corpus_bleu(said, [right]).score / 100
    )


def made_up(count: int = 60, wrong: int = 3) -> AnswerSet:
    """Two questions a picture; every `wrong`th answer is wrong."""
    right = [f"the {'red' if n % 2 else 'blue'} cat sat on mat {n}" for n in range(count)]
    return AnswerSet(
        predictions=["no" if n % wrong == 0 else answer for n, answer in enumerate(right)],
        references=[[answer] for answer in right],
        units=[n // 2 for n in range(count)],
        answer_types=["color" if n % 2 else "shape" for n in range(count)],
        sources=["one"] * (count - 6) + ["two/2"] * 6,
        ended=[n % 4 != 0 for n in range(count)],
    )


def test_values_of_a_set():
    values = answer_values(made_up())
    assert values["exact_match"] == values["vqa_accuracy"] == pytest.approx(2 / 3)
    assert values["never_ended"] == 0.25
    assert values["exact_match/type/color"] == pytest.approx(2 / 3)
    assert values["exact_match/source/two-2"] == pytest.approx(4 / 6)
    assert {"bleu", "cider", "rouge_l", "meteor", "token_f1/type/shape"} <= values.keys()
    assert not any(name.startswith(("bleu/", "cider/", "rouge_l/")) for name in values)


def test_one_type_is_not_broken_down():
    values = answer_values(AnswerSet(["a"], [["a"]], [0], answer_types=["x"], sources=["y"]), ["exact_match"])
    assert values == {"exact_match": 1.0}


def test_estimates_agree_with_values_and_draw_pictures():
    answers = made_up()
    estimates = estimate_answers(answers, samples=200)
    values = answer_values(answers)
    assert {name: estimate.value for name, estimate in estimates.items()} == pytest.approx(values)
    hits = text.answer_scores(answers)["exact_match"]
    same = estimate_mean(hits, np.array(answers.units), 200)
    assert np.array_equal(estimates["exact_match"].draws, same.draws)
    for name in ("exact_match", "bleu", "cider", "never_ended", "exact_match/type/color"):
        interval = estimates[name].interval()
        assert interval.low < interval.value < interval.high
    better = estimate_answers(made_up(wrong=10), samples=200)
    assert better["bleu"].minus(estimates["bleu"]).low > 0


def test_a_bleu_draw_is_the_bleu_of_the_drawn_answers():
    answers = AnswerSet(SAID, RIGHT, [5, 5, 9])
    draws = estimate_answers(answers, ["bleu"], samples=50)["bleu"].draws
    possible = [
        bleu_of([SAID[i] for i in rows], [RIGHT[i] for i in rows])
        for rows in ([0, 1, 0, 1], [0, 1, 2], [2, 2])
    ]
    assert all(min(abs(draw - one) for one in possible) < 1e-12 for draw in draws)
    assert len({round(draw, 9) for draw in draws}) == 3


def test_sets_must_fit_together():
    with pytest.raises(ValueError, match="2 predictions, but 1 references"):
        AnswerSet(["a", "b"], [["a"]], [0, 1])
    with pytest.raises(ValueError, match="1 predictions, but 2 ended"):
        AnswerSet(["a"], [["a"]], [0], ended=[True, False])


def test_without_the_packages_the_rest_is_measured(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert text.available_metrics() == ("exact_match", "vqa_accuracy", "token_f1", "rouge_l")
    assert "bleu" not in answer_values(made_up())
    monkeypatch.setitem(__import__("sys").modules, "sacrebleu.metrics", None)
    with pytest.raises(ConfigError, match=r"edge-glass\[text\]"):
        bleu_of(["a"], [["a"]])
    monkeypatch.setitem(__import__("sys").modules, "aac_metrics.functional.cider_d", None)
    with pytest.raises(ConfigError, match=r"edge-glass\[cider\]"):
        cider.scores(["a", "b"], [["a"], ["b"]])
