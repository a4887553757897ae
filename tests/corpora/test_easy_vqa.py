from __future__ import annotations

import hashlib
import json

import pyarrow.parquet as pq
import pytest

from edge_glass.core.errors import DataError
from edge_glass.corpora import easy_vqa as corpus
from edge_glass.data.pictures import decode_image, picture_hash
from edge_glass.data.splits import separate_pictures
from edge_glass.instruction.data.readers import read_question_parquet


def test_the_validation_pictures_are_fixed():
    chosen = corpus.val_pictures(set(range(4000)))
    assert len(chosen) == 400
    assert chosen == corpus.val_pictures({4000 - n for n in range(1, 4001)})
    assert sorted(chosen)[:3] == [11, 22, 25]  # random.Random(0), for ever


def test_questions_of_one_picture_stand_together(tmp_path):
    file = tmp_path / "questions.json"
    file.write_text(json.dumps([["b?", "yes", 2], ["a?", "teal", 1], ["c?", "no", 2]]))
    assert corpus.read_questions(file) == [
        corpus.Question(1, "a?", "teal"),
        corpus.Question(2, "b?", "yes"),
        corpus.Question(2, "c?", "no"),
    ]


def test_an_answer_of_another_data_set_is_refused(tmp_path):
    file = tmp_path / "questions.json"
    file.write_text(json.dumps([["b?", "purple", 2]]))
    with pytest.raises(DataError, match="unknown answers purple; expected circle"):
        corpus.read_questions(file)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    return corpus.build_easy_vqa(tmp_path_factory.mktemp("easy-vqa"), progress=False)


@pytest.mark.weights
def test_the_published_questions(built):
    tables = {split: pq.read_table(file) for split, file in built.items()}
    assert {split: table.num_rows for split, table in tables.items()} == {
        "train": 34_671,
        "val": 3_904,
        "test": 9_673,
    }
    pictures = {split: set(table["image_id"].to_pylist()) for split, table in tables.items()}
    assert {split: len(names) for split, names in pictures.items()} == {
        "train": 3600,
        "val": 400,
        "test": 1000,
    }
    assert not pictures["train"] & pictures["val"]
    row = tables["test"].slice(0, 1).to_pylist()[0]
    image = decode_image(row.pop("image_bytes"))
    assert (image.size, picture_hash(image)) == ((64, 64), row.pop("picture_sha256"))
    assert row == {
        "id": "test-0-0",
        "question": "what is the red shape?",
        "answer": "triangle",
        "answer_type": "shape",
        "source": "easy-vqa",
        "image_id": "test-0",
    }
    types = tables["test"]["answer_type"].value_counts().to_pylist()
    assert {one["values"]: one["counts"] for one in types} == {"shape": 1257, "color": 1280, "yes-no": 7136}
    digest = hashlib.sha256("\n".join(tables["val"]["id"].to_pylist()).encode()).hexdigest()
    assert digest == "10ce5b6602bafd6e30dbca7e5b1a50707d22c92e466bf7a6730db2ee42fcadc6"


@pytest.mark.weights
def test_two_builds_have_the_same_bytes(built, tmp_path):
    again = corpus.build_easy_vqa(tmp_path, progress=False)
    for split, file in built.items():
        assert file.read_bytes() == again[split].read_bytes()
        assert file.stat().st_size < 2_500_000  # a picture is stored once, not once a question
    names = ["README.md", "test.parquet", "train.parquet", "val.parquet"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names


@pytest.mark.weights
def test_it_reads_as_conversations(built, session_home, monkeypatch):
    monkeypatch.setenv("EDGE_GLASS_HOME", session_home)
    tables = {split: read_question_parquet(built[split], id_column="id") for split in ("val", "test")}
    assert [len(table.rejected) for table in tables.values()] == [0, 0]
    assert len(set(tables["val"].picture_hashes)) == 400
    assert separate_pictures(dict(tables), "error")
    assert set(tables["val"].answer_types) == {"shape", "color", "yes-no"}
    assert set(tables["val"].sources) == {"easy-vqa"}


@pytest.mark.weights
def test_the_card_says_what_the_questions_alone_give_away(built):
    card = (built["train"].parent / "README.md").read_text(encoding="utf-8")
    assert "| train.parquet | 3,600 | 34,671 |" in card and "MIT" in card
    answers: dict[str, list[str]] = {}
    for row in pq.read_table(built["train"], columns=["question", "answer"]).to_pylist():
        answers.setdefault(row["question"], []).append(row["answer"])
    best = {question: max(sorted(set(said)), key=said.count) for question, said in answers.items()}
    hits: dict[str, list[bool]] = {}
    for row in pq.read_table(built["test"], columns=["question", "answer", "answer_type"]).to_pylist():
        right = best[row["question"]] == row["answer"]
        for kind in ("all", row["answer_type"]):
            hits.setdefault(kind, []).append(right)
    said = {kind: f"{100 * sum(part) / len(part):.1f} %" for kind, part in hits.items()}
    assert said == {"all": "66.8 %", "yes-no": "82.5 %", "shape": "34.3 %", "color": "11.3 %"}
    assert all(share in card for share in said.values())
