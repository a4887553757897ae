from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
import torch
from data_samples import picture, sound, to_mel, to_tensor, trimodal_table
from question_rows import many, write_questions
from tokenizers_in_code import byte_tokenizer
from torch.utils.data import DataLoader

from edge_glass.core.errors import ConfigError, DataError
from edge_glass.data.conversation_batches import ConversationCollator, pad_rows, stack_pixels
from edge_glass.data.conversations import Turn
from edge_glass.data.labels import NOT_TRAINED, ConversationTokenizer, check_labels
from edge_glass.instruction.data.datasets import (
    ConversationDataset,
    InstructionDataset,
    PixmoQADataset,
    fit_lengths,
)
from edge_glass.instruction.data.table import InstructionTable, captions_as_answers

TOKENIZER = byte_tokenizer()


def words_table(*pairs: tuple[str, str]) -> InstructionTable:
    return InstructionTable(
        source="rows",
        ids=[f"r{n}" for n in range(len(pairs))],
        captions=[[] for _ in pairs],
        picture_hashes=[None] * len(pairs),
        positions=list(range(len(pairs))),
        pictures=[],
        turns=[(Turn("user", q), Turn("assistant", a)) for q, a in pairs],
        sources=["made up"] * len(pairs),
        answer_types=[""] * len(pairs),
    )


@pytest.fixture
def pixmo(tmp_path):
    path = write_questions(tmp_path / "qa.parquet", many(6, 2), source=["s"] * 6)
    return PixmoQADataset(path, TOKENIZER, to_tensor)


def test_items(pixmo):
    item = pixmo[3]
    assert torch.equal(item["pixels"], pixmo[1]["pixels"])
    assert item["pixels"].shape == (3, 8, 8)
    assert (item["id"], item["question"], item["answer"]) == ("3", "question 3", "answer 3")
    assert (item["source"], item["answer_type"]) == ("s", "")
    assert [pixmo[i]["group"] for i in range(6)] == [0, 1, 0, 1, 0, 1]
    assert TOKENIZER.decode(item["ids"][item["prompt"] :]) == "answer 3<|im_end|>"
    assert torch.equal(item["labels"][item["prompt"] :], item["ids"][item["prompt"] :])


def test_pictures_need_not_be_read(pixmo):
    words_only = ConversationDataset(pixmo.table, TOKENIZER)
    assert "pixels" not in words_only[0]


def test_a_training_batch_is_padded_on_the_right_and_shows_a_picture_once(pixmo):
    table = pixmo.table
    longer = {**pixmo[1], "id": "long"}
    tokens = pixmo.tokenizer((Turn("user", "a much longer question"), Turn("assistant", "no")))
    longer |= {"ids": tokens.ids, "labels": tokens.labels, "prompt": tokens.prompt}
    batch = ConversationCollator(TOKENIZER.pad_token_id)([pixmo[0], longer, pixmo[2], pixmo[3]])
    lengths = [len(pixmo[0]["ids"]), len(tokens.ids), len(pixmo[2]["ids"]), len(pixmo[3]["ids"])]
    assert batch["attention_mask"].sum(1).tolist() == lengths
    assert batch["input_ids"].shape == (4, max(lengths))
    assert bool(batch["attention_mask"][:, 0].all())
    check_labels(batch, pixmo.tokenizer.end, pixmo.tokenizer.special, batch["ids"])
    assert batch["place"]["vision"].tolist() == [0, 1, 0, 1]
    assert batch["inputs"]["vision"]["pixels"].shape == (2, 3, 8, 8)
    for row, at in enumerate(batch["place"]["vision"].tolist()):
        assert torch.equal(batch["inputs"]["vision"]["pixels"][at], to_tensor(table.image(row)))
    assert batch["ids"] == ["0", "long", "2", "3"]


def test_prompts_are_padded_on_the_left(pixmo):
    items = [{**pixmo[0], "prompt": 4}, pixmo[1]]
    batch = ConversationCollator(TOKENIZER.pad_token_id, prompts=True)(items)
    assert batch["input_ids"].shape[1] == items[1]["prompt"]
    assert batch["input_ids"][0][batch["attention_mask"][0]].tolist() == items[0]["ids"][:4].tolist()
    assert bool(batch["attention_mask"][:, -1].all()) and not batch["attention_mask"][0, 0]
    assert (batch["labels"] == NOT_TRAINED).all()
    asked = pixmo.tokenizer.prompt(pixmo.table.turns[1][:1])
    assert torch.equal(batch["input_ids"][1], asked)


def test_augmented_pictures_of_one_group_are_not_taken_for_equal(tmp_path):
    path = write_questions(tmp_path / "qa.parquet", many(8, 1))
    dataset = PixmoQADataset(path, TOKENIZER, to_tensor, training=True, augmentation="flip", seed=1)
    batch = ConversationCollator(0)([dataset[0, row] for row in range(8)])
    assert batch["place"]["vision"].max() > 0
    for row, at in enumerate(batch["place"]["vision"].tolist()):
        assert torch.equal(batch["inputs"]["vision"]["pixels"][at], dataset[0, row]["pixels"])
    assert torch.equal(dataset[3, 2]["pixels"], dataset[3, 2]["pixels"])


def test_rows_without_a_picture_have_no_place():
    table = captions_as_answers(
        trimodal_table([(picture(1), [], ["a"]), (None, [sound(1), sound(2)], ["b"])]), "what?"
    )
    dataset = ConversationDataset(table, TOKENIZER, {"vision": to_tensor, "audio": to_mel})
    assert ("pixels" in dataset[1], "mel" in dataset[1], "mel" in dataset[0]) == (False, True, False)
    collate = ConversationCollator(0, collate={"vision": stack_pixels, "audio": lambda mels: {"mel": mels}})
    batch = collate([dataset[0], dataset[1]])
    assert batch["place"]["vision"].tolist() == [0, -1]
    assert batch["place"]["audio"].tolist() == [-1, 0]
    without = ConversationCollator(0)([dataset[1]])
    assert without["inputs"] == {}


def test_rows_without_a_picture_are_groups_of_their_own():
    dataset = ConversationDataset(words_table(("a", "b"), ("c", "d")), TOKENIZER)
    assert dataset[0]["group"] != dataset[1]["group"]


def test_no_rows_make_an_empty_batch():
    assert ConversationCollator(0)([])["input_ids"].shape == (0, 0)
    assert pad_rows([torch.tensor([1]), torch.tensor([2, 3])], 9, left=True).tolist() == [[9, 1], [2, 3]]


def test_worker_processes_give_the_same(pixmo):
    collate = ConversationCollator(0)
    here = list(DataLoader(pixmo, 4, collate_fn=collate))
    there = list(DataLoader(pixmo, 4, collate_fn=collate, num_workers=1))
    assert all(torch.equal(a["labels"], b["labels"]) for a, b in zip(here, there, strict=True))
    assert torch.equal(pickle.loads(pickle.dumps(pixmo))[5]["ids"], pixmo[5]["ids"])


def test_conversations_from_json(tmp_path):
    (tmp_path / "a.png").write_bytes(picture(1))
    said = [{"from": "human", "value": "what?"}, {"from": "gpt", "value": "yes"}] * 2
    said[0] = {"from": "human", "value": "<image>what?"}
    (tmp_path / "x.json").write_text(json.dumps([{"image": "a.png", "conversations": said}]))
    dataset = InstructionDataset(tmp_path / "x.json", TOKENIZER, to_tensor)
    item = dataset[0]
    assert item["pixels"].shape == (3, 8, 8)
    assert int((item["labels"] == dataset.tokenizer.end).sum()) == 2
    with pytest.raises(DataError, match="1 of 1 rows cannot be used"):
        (tmp_path / "x.json").write_text(json.dumps([{"conversations": said}]))
        InstructionDataset(tmp_path / "x.json", TOKENIZER, to_tensor)


# Lengths


def test_too_long_rows_are_reported_and_left_out_whole():
    table = words_table(("a b", "yes"), ("a b", "x" * 40), ("q" * 90, "no"), ("a <|im_end|>", "no"))
    fitting, report = fit_lengths(table, ConversationTokenizer(TOKENIZER), 50, 30)
    assert fitting.ids == ["r0"]
    reasons = [f"{bad}: {bad.reason}" for bad in fitting.rejected]
    assert reasons[0].startswith("row 1 (r1): the answer has 41 tokens; 30 are allowed")
    assert reasons[1].startswith("row 2 (r2): the question has")
    assert "special token" in reasons[2]
    assert report.answers.tolist() == [
        len(TOKENIZER("yes")["input_ids"]) + 1,
        41,
        len(TOKENIZER("no")["input_ids"]) + 1,
    ]
    assert report.ids == ["r0", "r1", "r2"]
    assert report.worst(1) == [f"row r2: question {report.questions[2]}, answer {report.answers[2]} tokens"]
    text = "\n".join(report.lines())
    assert "rows: 3 conversations" in text and "2 are beyond a limit; the furthest:" in text
    assert dict(report.histogram("answer"))["33-64"] == 1
    assert sum(count for _, count in report.histogram("question")) == 3


def test_too_long_rows_can_be_an_error():
    table = words_table(("a", "yes"), ("a", "x" * 40))
    says = (
        r"1 of 2 conversations are longer than 128 question or 30 answer tokens \(row r1: .*answer 41 tokens"
    )
    with pytest.raises(DataError, match=says):
        ConversationDataset(table, TOKENIZER, max_answer=30, too_long="error")
    assert len(ConversationDataset(table, TOKENIZER, max_answer=41, too_long="error")) == 2


def test_no_row_left_is_an_error():
    with pytest.raises(DataError, match=r"no conversation is left; all 1 .*row 0 .r0.: the answer has 41"):
        ConversationDataset(words_table(("a", "x" * 40)), TOKENIZER, max_answer=30)


def test_policies_and_limits_are_checked():
    table = words_table(("a", "b"))
    with pytest.raises(ConfigError, match="too_long is 'cut'; it is one of leave_out, error"):
        ConversationDataset(table, TOKENIZER, too_long="cut")
    with pytest.raises(ConfigError, match="max_answer is 0"):
        ConversationDataset(table, TOKENIZER, max_answer=0)


def test_the_histogram_covers_every_length():
    report = fit_lengths(
        words_table(("a", "b"), ("a" * 20_000, "b")), ConversationTokenizer(TOKENIZER), 30_000
    )[1]
    assert dict(report.histogram("question")) == {"1-8": 1, "more than 16384": 1}
    assert np.array_equal(report.too_long, [])
