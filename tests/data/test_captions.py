from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from data_samples import make_table
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_glass.data.captions import ABSENT, EMPTY, Chooser
from edge_glass.data.samples import SampleTable

ROWS = [("a", ["dog", "hound", "pet"]), ("b", ["cat"]), ("c", ["pet", "dog"])]


def choose(table: SampleTable, **options: Any) -> Chooser:
    return Chooser(table.keys("text"), **options)


def shown(chooser: Chooser, epoch: int) -> list[str]:
    return [chooser.items[number] for number in chooser.numbers(epoch)]


def test_every_distinct_text_once_with_the_empty_one_first():
    assert choose(make_table(ROWS)).items == [EMPTY, "dog", "hound", "pet", "cat"]


def test_evaluation_always_shows_the_first_caption():
    chooser = choose(make_table(ROWS), training=False, dropout=0.9)
    for epoch in range(5):
        assert shown(chooser, epoch) == ["dog", "cat", "pet"]


def test_equal_captions_have_equal_numbers():
    numbers = choose(make_table([("a", ["x"]), ("b", ["y"]), ("c", ["x"])])).numbers(0)
    assert numbers[0] == numbers[2] != numbers[1] and numbers.dtype == np.int64


def test_training_shows_all_captions_in_time_and_no_others():
    chooser = choose(make_table(ROWS), training=True)
    seen = [set(texts) for texts in zip(*(shown(chooser, epoch) for epoch in range(60)), strict=True)]
    assert seen == [{"dog", "hound", "pet"}, {"cat"}, {"pet", "dog"}]


def test_captions_of_a_row_are_equally_likely():
    chooser = choose(make_table([(f"p{n}", ["one", "two", "three"]) for n in range(3000)]), training=True)
    counts = np.bincount(chooser.numbers(0), minlength=4)
    assert counts[0] == 0 and counts[1:] == pytest.approx([1000] * 3, abs=100)


def test_dropout_in_training_has_about_its_probability_and_is_drawn_anew():
    table = make_table([(f"p{n}", [f"c{n}"]) for n in range(4000)])
    chooser = choose(table, training=True, dropout=0.2)
    dropped = [chooser.numbers(epoch) == 0 for epoch in range(3)]
    assert [drops.mean() for drops in dropped] == pytest.approx([0.2] * 3, abs=0.02)
    assert (dropped[0] & dropped[1]).mean() == pytest.approx(0.04, abs=0.01)
    assert shown(chooser, 0)[int(np.argmax(dropped[0]))] == EMPTY
    assert (choose(table, training=True).numbers(0) > 0).all()


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.lists(st.integers(0, 50), min_size=1, max_size=6))
def test_a_pure_function_of_seed_and_epoch_whatever_came_before(seed, epochs):
    table = make_table(ROWS * 5)
    chooser = choose(table, training=True, seed=seed, dropout=0.3)
    for epoch in epochs:
        fresh = choose(table, training=True, seed=seed, dropout=0.3)
        assert (chooser.numbers(epoch) == fresh.numbers(epoch)).all()


def test_seeds_and_epochs_differ():
    table = make_table([(f"p{n}", ["one", "two"]) for n in range(64)])
    drawn = {
        choose(table, training=True, seed=seed).numbers(epoch).tobytes()
        for seed in range(4)
        for epoch in range(4)
    }
    assert len(drawn) == 16


def test_rows_that_follow_do_not_change_what_a_row_shows():
    rows = [(f"p{n}", ["one", "two", "three"]) for n in range(30)]
    short = choose(make_table(rows[:10]), training=True, seed=3, dropout=0.4)
    long = choose(make_table(rows), training=True, seed=3, dropout=0.4)
    assert shown(short, 2) == shown(long, 2)[:10]


def test_the_global_generator_is_left_alone():
    chooser = choose(make_table(ROWS), training=True)
    np.random.seed(0)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    chooser.numbers(7)
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002


def test_travels_to_other_processes():
    chooser = choose(make_table(ROWS), training=True, seed=1, dropout=0.2)
    chooser.numbers(4)
    assert (pickle.loads(pickle.dumps(chooser)).numbers(4) == chooser.numbers(4)).all()


TAKES = [("s1", "s2", "s3"), (), ("s4",), ("s5", "s1")]


def test_a_row_without_words_or_sounds_shows_nothing():
    for modality, first in (("text", 1), ("audio", 0)):
        chooser = Chooser(TAKES, modality, training=True, dropout=0.9)
        for epoch in range(20):
            assert chooser.numbers(epoch)[1] == ABSENT and chooser.takes(epoch)[1] == 0
            assert not chooser.dropped(epoch)[1]
        assert chooser.items[first:] == ["s1", "s2", "s3", "s4", "s5"]
        assert Chooser(TAKES, modality).numbers(0).tolist() == [first, ABSENT, first + 3, first + 4]
    assert Chooser([], "audio", training=True).numbers(3).tolist() == []


def test_a_take_and_its_number_name_the_same_item():
    chooser = Chooser(TAKES, "audio", training=True, seed=4)
    seen = set()
    for epoch in [*range(30), 3]:
        takes, numbers = chooser.takes(epoch), chooser.numbers(epoch)
        assert [chooser.items[numbers[row]] for row in (0, 2, 3)] == [
            TAKES[row][takes[row]] for row in (0, 2, 3)
        ]
        assert (takes == Chooser(TAKES, "audio", training=True, seed=4).takes(epoch)).all()
        seen.update(takes[[0, 3]].tolist())
    assert seen == {0, 1, 2}
    assert not Chooser(TAKES, "audio").takes(5).any()


def test_what_is_drawn_of_sounds_says_nothing_about_words():
    keys = [("a", "b")] * 2000
    words, sounds = (Chooser(keys, modality, training=True).takes(0) for modality in ("text", "audio"))
    assert (words == sounds).mean() == pytest.approx(0.5, abs=0.05)


def test_a_whole_epoch_is_drawn_once(monkeypatch):
    """Data sets ask row by row: a draw for each would cost the square of the rows."""
    chooser = Chooser(TAKES, "audio", training=True)
    draws, real = [], chooser._draws
    monkeypatch.setattr(chooser, "_draws", lambda epoch: (draws.append(epoch), real(epoch))[1])
    for _ in range(50):
        chooser.takes(2)
        chooser.numbers(2)
    assert draws == [2]
