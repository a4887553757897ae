from __future__ import annotations

import json
import logging
import re

import pytest
from data_samples import hash_of, make_table, picture, sound, trimodal_table
from question_rows import many, write_questions

from edge_glass.core.errors import DataError
from edge_glass.data.conversations import Turn
from edge_glass.data.datasets import complete_splits
from edge_glass.data.samples import check_rejected
from edge_glass.instruction.data.readers import read_conversations, read_question_parquet
from edge_glass.instruction.data.table import (
    InstructionTable,
    captions_as_answers,
    join_instructions,
    split_conversations,
)


def test_pixmo_rows(tmp_path):
    rows = [
        (picture(1), "[USER] what?", "[ASSISTANT] a cat"),
        (picture(1), "[USER] where?", "[ASSISTANT] here"),
    ]
    path = write_questions(tmp_path / "qa.parquet", rows, source=["pixmo-cap-qa", None], kind=["x", "y"])
    table = read_question_parquet(path, answer_type_column="kind")
    assert table.turns[0] == (Turn("user", "what?"), Turn("assistant", "a cat"))
    assert (table.question(1), table.answer(1)) == ("where?", "here")
    assert table.sources == ["pixmo-cap-qa", "qa"]
    assert table.answer_types == ["x", "y"]
    assert table.picture_hashes[0] == table.picture_hashes[1]
    assert table.picture(1) == picture(1)
    assert table.keys("text") == [[], []]


def test_bad_rows_are_named_and_counted(tmp_path):
    good = (picture(1), "[USER] what?", "[ASSISTANT] a cat")
    rows = [good, (None, *good[1:]), (b"no", *good[1:]), (picture(2), None, "x"), (picture(2), "q", " ")]
    table = read_question_parquet(write_questions(tmp_path / "qa.parquet", rows))
    assert len(table) == 1
    reasons = [(bad.row, bad.reason) for bad in table.rejected]
    assert reasons[0] == (1, "it has no picture")
    assert reasons[1][0] == 2 and "no picture can be read" in reasons[1][1]
    assert reasons[2:] == [(3, "the question is missing"), (4, "the answer is empty")]
    with pytest.raises(DataError, match=r"4 of 5 rows cannot be used .first: row 1: it has no picture"):
        check_rejected(table, 0.01)


def test_a_row_behind_a_bad_one_keeps_its_picture(tmp_path, pictures):
    rows = [(None, "q", "a"), (picture(1), "q", "a"), (picture(2), "q", "")]
    rows.append((picture(3), "q", "a"))
    table = read_question_parquet(write_questions(tmp_path / "qa.parquet", rows))
    assert [table.picture(i) for i in range(len(table))] == [picture(1), picture(3)]
    assert (table.ids, table.positions) == (["1", "3"], [1, 3])
    (pictures / "c.png").write_bytes(picture(3))
    records = [{"image": f"{name}.png", "conversations": SAID} for name in ("bad", "a", "none", "c")]
    table = read_conversations(write_json(tmp_path / "x.json", records), pictures)
    assert [table.picture(i) for i in range(len(table))] == [picture(1), picture(3)]
    assert len(set(table.picture_hashes)) == 2


def test_missing_markers_are_noted(tmp_path, caplog):
    rows = [(picture(1), "[USER] what?", "[ASSISTANT] a cat"), (picture(1), "where?", "[ASSISTANT] here")]
    with caplog.at_level(logging.WARNING):
        table = read_question_parquet(write_questions(tmp_path / "qa.parquet", rows))
    assert table.question(1) == "where?"
    assert "1 of 2 rows lack [USER] or [ASSISTANT]" in caplog.text


def test_a_missing_column_is_named(tmp_path):
    path = write_questions(tmp_path / "qa.parquet", many(2, 1))
    with pytest.raises(DataError, match="no column 'frage'; it has image_bytes, question, answer"):
        read_question_parquet(path, question_column="frage")
    with pytest.raises(DataError, match="no column 'origin'"):
        read_question_parquet(path, source_column="origin")


def test_a_sound_will_do_where_there_is_no_picture(tmp_path):
    rows = [(None, "q", "a"), (None, "q", "a"), (picture(1), "q", "a")]
    path = write_questions(tmp_path / "qa.parquet", rows, audio=[[sound(1)], None, [sound(1), sound(2)]])
    table = read_question_parquet(path, audio_column="audio")
    assert [str(bad.reason) for bad in table.rejected] == ["it has neither picture nor sound"]
    assert table.sound_hashes == [[hash_of(sound(1))], [hash_of(sound(1)), hash_of(sound(2))]]
    assert table.picture_hashes[0] is None


def test_questions_without_pictures(tmp_path):
    path = write_questions(tmp_path / "qa.parquet", [(None, "q", "a")])
    assert len(read_question_parquet(path, image_column=None)) == 1


def test_a_picture_with_all_its_questions_is_on_one_side(tmp_path):
    table = read_question_parquet(write_questions(tmp_path / "qa.parquet", many(120, 40)))
    splits = split_conversations(table, {"test": 0.3, "val": 0.3})
    sides = {name: set(part.picture_hashes) for name, part in splits.items()}
    assert all(len(part) == 3 * len(sides[name]) > 0 for name, part in splits.items())
    assert sum(len(side) for side in sides.values()) == len(set.union(*sides.values())) == 40
    assert all(isinstance(part, InstructionTable) for part in splits.values())
    asked = [question for part in splits.values() for question in map(part.question, range(len(part)))]
    assert sorted(asked) == sorted(f"question {n}" for n in range(120))
    row = splits["val"].positions[0]
    assert splits["val"].picture(0) == picture(row % 40)
    given = complete_splits({"train": table}, 0.3, 0.3, "error")
    assert given["test"].ids == splits["test"].ids  # the split of any table is the same one


def test_words_alone_are_split_by_what_they_say(tmp_path):
    rows = [(None, f"question {n % 50}", "a") for n in range(100)]
    table = read_question_parquet(write_questions(tmp_path / "qa.parquet", rows), image_column=None)
    splits = split_conversations(table, {"test": 0.3})
    sides = [{part.turns[i] for i in range(len(part))} for part in splits.values()]
    assert not sides[0] & sides[1]
    assert all(len(side) > 5 for side in sides)
    assert table.picture_hashes == [None] * 100


def test_tables_are_joined(tmp_path):
    first = read_question_parquet(write_questions(tmp_path / "a.parquet", many(2, 1)))
    second = read_question_parquet(write_questions(tmp_path / "b.parquet", many(5, 5)))
    both = join_instructions([first, second.select([4, 3])])
    assert both.sources == ["a", "a", "b", "b"]
    assert both.question(2) == "question 4"
    assert both.picture(2) == picture(4)
    assert isinstance(both, InstructionTable)


def test_captions_become_answers():
    table = make_table([("a", ["a cat", "one cat"]), ("b", [])])
    table = captions_as_answers(table, "what is it?", "emoji")
    assert table.turns == [(Turn("user", "what is it?"), Turn("assistant", "a cat"))]
    assert (table.sources, table.answer_types, table.keys("text")) == (["emoji"], [""], [[]])
    heard = captions_as_answers(trimodal_table([(None, [sound(1)], ["x"]), (None, [], ["y"])]), "?")
    assert [heard.answer(i) for i in range(len(heard))] == ["x"]


SAID = [{"from": "human", "value": "<image>\nwhat is it?"}, {"from": "gpt", "value": "a cat"}]


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    (folder / "a.png").write_bytes(picture(1))
    (folder / "b.png").write_bytes(picture(1))
    (folder / "bad.png").write_bytes(b"x")
    return folder


def write_json(path, records):
    text = "\n".join(map(json.dumps, records)) if path.suffix == ".jsonl" else json.dumps(records)
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("name", ["llava.json", "llava.jsonl"])
def test_llava(tmp_path, pictures, name):
    records = [
        {"id": "x", "image": "a.png", "conversations": SAID},
        {"image": "b.png", "conversations": SAID},
    ]
    records.append({"messages": ["hello", "hi"], "source": "chat", "answer_type": "greeting", "id": 7})
    table = read_conversations(write_json(tmp_path / name, records), pictures)
    assert table.ids == ["x", "1", "7"]
    assert table.sources == ["llava", "llava", "chat"]
    assert table.answer_types == ["", "", "greeting"]
    assert table.picture_hashes[0] == table.picture_hashes[1]
    assert table.picture_hashes[2] is None
    assert table.picture(1) == picture(1)
    assert table.turns[0] == (Turn("user", "what is it?"), Turn("assistant", "a cat"))


def test_pictures_lie_beside_the_file_unless_said_otherwise(tmp_path, pictures):
    table = read_conversations(write_json(pictures / "x.json", [{"image": "a.png", "conversations": SAID}]))
    assert table.image(0).size == (8, 8)


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"conversations": SAID}, "it has no picture for its <image>"),
        ({"messages": ["a", "b"]}, "it has no picture"),
        ({"image": "c.png", "conversations": SAID}, "does not exist in .*: 'c.png'"),
        ({"image": "../x.json", "conversations": SAID}, "lies outside"),
        ({"image": "", "images": ["a.png", "b.png"], "conversations": SAID}, "2 pictures; one is supported"),
        ({"image": "bad.png", "conversations": SAID}, "the picture bad.png: no picture can be read"),
        ({"image": "\0", "conversations": SAID}, "no file name"),
        ({"image": "a.png"}, "the conversation is missing"),
        ({"image": 3, "conversations": SAID}, "the picture is no file name"),
    ],
)
def test_bad_records_are_named(tmp_path, pictures, record, reason):
    good = {"image": "a.png", "conversations": SAID}
    path = write_json(tmp_path / "x.json", [good, {"id": "odd", **record}])
    table = read_conversations(path, pictures, needs_picture=True)
    assert len(table) == 1
    (bad,) = table.rejected
    assert (bad.row, bad.identifier) == (1, "odd")
    assert re.search(reason, bad.reason), bad.reason


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("x.json", "{}", "expected a list of objects, one per conversation"),
        ("x.json", '{"a": 1}\n{"a": 2}', "one object a line is named .jsonl"),
        ("x.jsonl", '{"a": 1}\n{"a": ', "line 2 is no JSON"),
        ("x.json", '[{"q": 1}]', "no 'conversations' and no 'messages'; the first record has q"),
        ("x.json", "[" * 100_000, "nested too deeply"),
    ],
)
def test_files_that_hold_no_conversations(tmp_path, name, text, says):
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=says):
        read_conversations(tmp_path / name)


def test_a_missing_file_or_folder(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        read_conversations(tmp_path / "x.json")
    with pytest.raises(DataError, match="no such folder"):
        read_conversations(tmp_path / "x.json", tmp_path / "none")
