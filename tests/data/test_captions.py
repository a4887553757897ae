from __future__ import annotations

import pickle

import numpy as np
import pytest
from data_samples import make_table
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_glass.data.captions import EMPTY, CaptionChooser

ROWS = [("a", ["dog", "hound", "pet"]), ("b", ["cat"]), ("c", ["pet", "dog"])]


def shown(chooser: CaptionChooser, epoch: int) -> list[str]:
    return [chooser.texts[number] for number in chooser.numbers(epoch)]


def test_every_distinct_text_once_with_the_empty_one_first():
    assert CaptionChooser(make_table(ROWS)).texts == [EMPTY, "dog", "hound", "pet", "cat"]


def test_evaluation_always_shows_the_first_caption():
    chooser = CaptionChooser(make_table(ROWS), training=False, dropout=0.9)
    for epoch in range(5):
        assert shown(chooser, epoch) == ["dog", "cat", "pet"]


def test_equal_captions_have_equal_numbers():
    numbers = CaptionChooser(make_table([("a", ["x"]), ("b", ["y"]), ("c", ["x"])])).numbers(0)
    assert numbers[0] == numbers[2] != numbers[1] and numbers.dtype == np.int64


def test_training_shows_all_captions_in_time_and_no_others():
    chooser = CaptionChooser(make_table(ROWS), training=True)
    seen = [set(texts) for texts in zip(*(shown(chooser, epoch) for epoch in range(60)), strict=True)]
    assert seen == [{"dog", "hound", "pet"}, {"cat"}, {"pet", "dog"}]


def test_captions_of_a_row_are_equally_likely():
    chooser = CaptionChooser(
        make_table([(f"p{n}", ["one", "two", "three"]) for n in range(3000)]), training=True
    )
    counts = np.bincount(chooser.numbers(0), minlength=4)
    assert counts[0] == 0 and counts[1:] == pytest.approx([1000] * 3, abs=100)


def test_dropout_in_training_has_about_its_probability_and_is_drawn_anew():
    table = make_table([(f"p{n}", [f"c{n}"]) for n in range(4000)])
    chooser = CaptionChooser(table, training=True, dropout=0.2)
    dropped = [chooser.numbers(epoch) == 0 for epoch in range(3)]
    assert [drops.mean() for drops in dropped] == pytest.approx([0.2] * 3, abs=0.02)
    assert (dropped[0] & dropped[1]).mean() == pytest.approx(0.04, abs=0.01)
    assert shown(chooser, 0)[int(np.argmax(dropped[0]))] == EMPTY
    assert (CaptionChooser(table, training=True).numbers(0) > 0).all()


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.lists(st.integers(0, 50), min_size=1, max_size=6))
def test_a_pure_function_of_seed_and_epoch_whatever_came_before(seed, epochs):
    table = make_table(ROWS * 5)
    chooser = CaptionChooser(table, training=True, seed=seed, dropout=0.3)
    for epoch in epochs:
        fresh = CaptionChooser(table, training=True, seed=seed, dropout=0.3)
        assert (chooser.numbers(epoch) == fresh.numbers(epoch)).all()


def test_seeds_and_epochs_differ():
    table = make_table([(f"p{n}", ["one", "two"]) for n in range(64)])
    drawn = {
        CaptionChooser(table, training=True, seed=seed).numbers(epoch).tobytes()
        for seed in range(4)
        for epoch in range(4)
    }
    assert len(drawn) == 16


def test_rows_that_follow_do_not_change_what_a_row_shows():
    rows = [(f"p{n}", ["one", "two", "three"]) for n in range(30)]
    short = CaptionChooser(make_table(rows[:10]), training=True, seed=3, dropout=0.4)
    long = CaptionChooser(make_table(rows), training=True, seed=3, dropout=0.4)
    assert shown(short, 2) == shown(long, 2)[:10]


def test_the_global_generator_is_left_alone():
    chooser = CaptionChooser(make_table(ROWS), training=True)
    np.random.seed(0)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    chooser.numbers(7)
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002


def test_travels_to_other_processes():
    chooser = CaptionChooser(make_table(ROWS), training=True, seed=1, dropout=0.2)
    chooser.numbers(4)
    assert (pickle.loads(pickle.dumps(chooser)).numbers(4) == chooser.numbers(4)).all()
