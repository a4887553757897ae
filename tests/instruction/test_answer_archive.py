"""Answers that an evaluation leaves behind: written whole, read strictly, chosen for a report."""

from __future__ import annotations

import dataclasses
from collections import Counter

import pytest

from edge_glass.core.errors import DataError
from edge_glass.instruction.measure.archive import (
    MOST_SHOWN,
    RIGHT_SHOWN,
    AnswerRecord,
    load_answers,
    picture_of,
    save_answers,
    shown_rows,
)


def record(number: int = 0, score: float = 1.0, answer_type: str = "color", **changed) -> AnswerRecord:
    one = AnswerRecord(
        id=f"test-{number}",
        picture=f"{number:064x}",
        question="what color is it?",
        reference="red",
        answer="red" if score else "blue",
        untouched_answer=None,
        answer_type=answer_type,
        source="easy-vqa",
        ended=True,
        score=score,
        untouched_score=0.0,
    )
    return dataclasses.replace(one, **changed)


def test_records_and_pictures_come_back(tmp_path):
    records = [
        record(0, answer='two\nlines  and \\ "quotes" 犬'),
        record(1, 0.25, picture=None, untouched_answer="the the", untouched_score=None, ended=False),
    ]
    path = save_answers(tmp_path, "test", records, {records[0].picture: b"PNG"})
    assert path == tmp_path / "evaluation" / "test_answers.jsonl"
    assert load_answers(tmp_path, "test") == records
    assert picture_of(tmp_path, "test", records[0].picture) == b"PNG"
    assert picture_of(tmp_path, "test", None) is None
    assert picture_of(tmp_path, "test", "absent") is None
    assert picture_of(tmp_path, "val", records[0].picture) is None
    assert not list(tmp_path.rglob(".*"))


def test_no_picture_outside_of_its_folder(tmp_path):
    (tmp_path / "evaluation").mkdir()
    (tmp_path / "evaluation" / "secret.png").write_bytes(b"x")
    assert picture_of(tmp_path, "test", "../secret") is None
    with pytest.raises(ValueError, match="no content hash"):
        save_answers(tmp_path, "test", [], {"../secret": b"x"})


def test_pictures_of_an_earlier_evaluation_go(tmp_path):
    save_answers(tmp_path, "test", [record()], {"a": b"1", "b": b"2"})
    save_answers(tmp_path, "test", [record()], {"b": b"3", "c": b"4"})
    assert [picture_of(tmp_path, "test", name) for name in "abc"] == [None, b"3", b"4"]


def test_half_a_surrogate_pair_costs_no_results(tmp_path):
    save_answers(tmp_path, "test", [record(answer="broken \ud83d emoji")], {})
    assert load_answers(tmp_path, "test")[0].answer == "broken ? emoji"


def test_a_score_that_is_no_number_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        save_answers(tmp_path, "test", [record(score=float("nan"))], {"a": b"1"})
    assert not (tmp_path / "evaluation").exists()


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{", "test_answers.jsonl:2: not JSON"),
        ("[]", "test_answers.jsonl:2: no answer: expected an object, got a list"),
        ('{"id": "a"}', "picture is missing"),
        ("EXTRA", "more is unknown"),
        ("SCORE", "score is 'high'"),
    ],
)
def test_broken_records_are_named(tmp_path, line, says):
    path = save_answers(tmp_path, "test", [record()], {})
    whole = path.read_text(encoding="utf-8")
    line = line.replace("EXTRA", whole.replace("{", '{"more": 1, ').strip())
    line = line.replace("SCORE", whole.replace('"score": 1.0', '"score": "high"').strip())
    path.write_text(f"{whole}{line}\n", encoding="utf-8")
    with pytest.raises(DataError, match=says):
        load_answers(tmp_path, "test")


def test_missing_records(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        load_answers(tmp_path, "test")


def test_wrong_answers_of_every_type_come_first():
    types = ["color"] * 200 + ["shape"] * 20 + ["yes-no"] * 3
    records = [record(row, float(row % 2), types[row]) for row in range(len(types))]
    rows = shown_rows(records)
    assert len(rows) == len(set(rows)) == MOST_SHOWN
    wrong, right = rows[: MOST_SHOWN - RIGHT_SHOWN], rows[MOST_SHOWN - RIGHT_SHOWN :]
    assert not any(records[row].right for row in wrong) and all(records[row].right for row in right)
    assert [records[row].answer_type for row in wrong[:7]] == [*["color", "shape", "yes-no"] * 2, "color"]
    assert Counter(records[row].answer_type for row in wrong) == {"color": 52, "shape": 10, "yes-no": 2}
    assert rows == shown_rows(records), "the same every time"
    assert [row for row in wrong if types[row] == "color"] != list(range(0, 104, 2)), "not the first ones"


def test_few_or_no_wrong_answers_leave_room_for_right_ones():
    few = [record(row, float(row > 2)) for row in range(300)]
    rows = shown_rows(few)
    assert len(rows) == MOST_SHOWN and set(rows[:3]) == {0, 1, 2}
    assert sorted(shown_rows(few[:10])) == list(range(10))
    assert len(shown_rows([record(row, 0.0) for row in range(300)])) == MOST_SHOWN
    assert shown_rows([]) == []


def test_graded_answers_worst_first_then_best():
    records = [record(row, row / 200) for row in range(200)]
    worst = MOST_SHOWN - RIGHT_SHOWN
    assert shown_rows(records) == [*range(worst), *range(199, 199 - RIGHT_SHOWN, -1)]
    assert shown_rows(records[:10]) == list(range(10))
