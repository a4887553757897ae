from __future__ import annotations

import logging

import pytest
from data_samples import make_table, picture
from question_rows import write_questions

from edge_glass.core.errors import DataError
from edge_glass.data.checking import ERROR, check_parquet
from edge_glass.data.parquet import read_parquet
from edge_glass.data.samples import (
    Rejected,
    SampleTable,
    as_text,
    check_rejected,
    drop_captions_of,
    group_numbers,
    text_problem,
)
from edge_glass.instruction.data.readers import read_question_parquet
from edge_glass.instruction.data.table import join_instructions


def table_with_rejected(good: int, bad: int) -> SampleTable:
    rejected = tuple(Rejected(good + i, f"row-{good + i}", "the caption is missing") for i in range(bad))
    rows = make_table([(f"p{i}", [f"c{i}"]) for i in range(good)], "some.parquet")
    return SampleTable(
        rows.source, rows.ids, rows.captions, rows.picture_hashes, rows.positions, rows.pictures, rejected
    )


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (None, "the caption is missing"),
        ("", "the caption is empty"),
        (" \t\n", "the caption is empty"),
        ("\u200b\ufeff", "the caption is empty"),
        (b"", "the caption is empty"),
        (b"caf\xe9", "the caption is not UTF-8 text"),
        (7, "the caption is int, not text"),
        (["a"], "the caption is list, not text"),
        ("a", None),
        (b"caf\xc3\xa9", None),
        ("\U0001f600", None),
    ],
)
def test_what_makes_a_caption_unusable(text, problem):
    assert text_problem(text) == problem


def test_a_usable_caption_as_text():
    assert as_text("  a dog ") == "a dog"
    assert as_text(b" caf\xc3\xa9\n") == "café"


def test_selected_rows_keep_their_pictures():
    table = make_table([("a", ["one"]), ("b", ["two"]), ("c", ["three"])])
    selected = table.select([2, 0])
    assert (list(selected.ids), selected.captions) == (["2", "0"], [["three"], ["one"]])
    assert selected.picture(0) == picture(2) and selected.picture(1) == picture(0)
    assert selected.select([1]).picture(0) == picture(0)
    assert selected.picture_hashes == [table.picture_hashes[2], table.picture_hashes[0]]


def test_rows_left_out_are_among_the_rejected_by_their_place_in_the_source():
    table = table_with_rejected(good=4, bad=1).select([3, 2, 1])
    left = table.leave_out({0, 2}, "why not")
    assert list(left.ids) == ["2"] and left.picture(0) == picture(2)
    assert left.rejected[1:] == (Rejected(3, "3", "why not"), Rejected(1, "1", "why not"))


def test_bad_rows_are_named_up_to_five_and_counted(caplog):
    with caplog.at_level(logging.WARNING):
        check_rejected(table_with_rejected(good=93, bad=7), max_bad_fraction=0.07)
    lines = [record.getMessage() for record in caplog.records]
    assert lines[0] == "some.parquet: row 93 (row-93) is skipped: the caption is missing"
    assert len(lines) == 6 and lines[5] == "some.parquet: 7 rows are skipped in all"


def test_no_bad_rows_no_words(caplog):
    check_rejected(table_with_rejected(good=2, bad=0), max_bad_fraction=0.0)
    assert not caplog.records


def test_too_many_bad_rows_are_an_error_that_names_the_first():
    with pytest.raises(DataError) as caught:
        check_rejected(table_with_rejected(good=93, bad=7), max_bad_fraction=0.069)
    assert caught.value.exit_code == 3
    assert str(caught.value) == (
        "some.parquet: 7 of 100 rows cannot be used (first: row 93 (row-93): the caption is missing).\n"
        "At most 6.9% may be bad (dataset.max_bad_fraction); `edge-glass data check FILE` lists them all."
    )


@pytest.mark.parametrize(("column", "written"), [("question", "question"), ("my words", "'my words'")])
def test_the_command_that_lists_bad_rows_names_the_column_of_the_words(tmp_path, column, written):
    rows = [(picture(1), "what?", "a cat"), (None, "what?", "a cat")]
    path = write_questions(tmp_path / "qa.parquet", rows, **{"my words": ["what?", "where?"]})
    questions = read_question_parquet(path, question_column=column)
    captions = read_parquet(path, text_column=column)
    hint = f"`edge-glass data check FILE --text-column {written}` lists them all."
    for table in (questions, captions, questions.select([0]), join_instructions([questions, questions])):
        with pytest.raises(DataError) as caught:
            check_rejected(table, max_bad_fraction=0.0)
        assert str(caught.value).endswith(hint)
    report = check_parquet({"qa": path}, text_column=column, progress=False)
    assert [found.row for found in report.findings if found.severity == ERROR] == [1]


def test_nothing_usable_is_an_error_whatever_may_be_bad():
    with pytest.raises(DataError, match=r"3 of 3 rows cannot be used \(first: row 0 "):
        check_rejected(table_with_rejected(good=0, bad=3), max_bad_fraction=1.0)
    with pytest.raises(DataError, match=r"some\.parquet: has no rows"):
        check_rejected(table_with_rejected(good=0, bad=0), max_bad_fraction=1.0)


def test_equal_keys_get_equal_numbers():
    numbers = group_numbers(["b", "a", "b", "c"])
    assert numbers.tolist() == [0, 1, 0, 2] and numbers.dtype == "int64"


def test_what_is_measured_is_removed_from_further_captions_only():
    table = make_table([("a", ["dog", "hound", "pet"]), ("b", ["pet"])])
    assert drop_captions_of(table, {"pet"}).captions == [["dog", "hound"], ["pet"]]


def test_a_picture_that_changed_since_it_was_read_is_an_error_of_the_data():
    table = make_table([("a", ["one"])], "some.parquet")
    table.pictures[0] = picture(0)[:-30]
    with pytest.raises(
        DataError, match=r"some\.parquet: the picture of row 0 changed after .* cannot be decoded"
    ):
        table.image(0)
