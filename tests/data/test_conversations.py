from __future__ import annotations

import pytest

from edge_glass.data.conversations import (
    BadConversation,
    Turn,
    picture_names,
    question_and_answer,
    read_messages,
)

TWO = (Turn("user", "what is it?"), Turn("assistant", "a cat"))


def test_markers_are_taken_off():
    spoken = question_and_answer("[USER] what is it?", " [ASSISTANT]  a cat\n")
    assert spoken.turns == TWO
    assert not spoken.unmarked


def test_missing_markers_are_noted_and_nothing_else_is_taken_off():
    spoken = question_and_answer("what is [USER] here?", "[ASSISTANT] a cat")
    assert spoken.turns[0].text == "what is [USER] here?"
    assert spoken.unmarked


@pytest.mark.parametrize(
    ("question", "answer", "reason"),
    [
        (None, "a", "the question is missing"),
        ("q", None, "the answer is missing"),
        ("q", "[ASSISTANT]  ", "the answer is empty"),
        ("[USER]\u200b", "a", "the question is empty"),
        ("q", 7, "the answer is no text"),
        ("q", b"\xff", "the answer is not UTF-8 text"),
    ],
)
def test_rows_that_cannot_be_used_say_why(question, answer, reason):
    with pytest.raises(BadConversation) as caught:
        question_and_answer(question, answer)
    assert caught.value.reason == reason


LLAVA = [{"from": "human", "value": "<image>\nwhat is it?"}, {"from": "gpt", "value": "a cat"}]
PARTS = [
    {
        "role": "user",
        "content": [{"type": "image", "image": "a.png"}, {"type": "text", "text": "what is it?"}],
    },
    {"role": "assistant", "content": [{"type": "text", "text": "a cat"}]},
]


@pytest.mark.parametrize(
    "messages",
    [LLAVA, PARTS, ["what is it?", "a cat"], [{"role": "user", "content": "what is it?"}, LLAVA[1]]],
)
def test_every_form_gives_the_same_turns(messages):
    assert read_messages(messages).turns == TWO


def test_pictures_within_the_messages_are_named():
    assert read_messages(LLAVA).placeholders == 1
    assert read_messages(PARTS).pictures == ("a.png",)
    by_url = [{"type": "image_url", "image_url": {"url": "b.png"}}, {"type": "text", "text": "x"}]
    assert read_messages([{"role": "user", "content": by_url}, "a cat"]).pictures == ("b.png",)


def test_a_system_turn_stays_and_an_empty_one_goes():
    system = {"role": "system", "content": "be brief"}
    assert read_messages([system, *LLAVA]).turns == (Turn("system", "be brief"), *TWO)
    assert read_messages([{"role": "system", "content": ""}, *LLAVA]).turns == TWO


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        (None, "the conversation is missing"),
        ([], "the conversation is missing"),
        (LLAVA[:1], "user and assistant must alternate, the assistant last; there speak user"),
        (LLAVA[::-1], "there speak assistant, user"),
        ([*LLAVA, LLAVA[0]], "there speak user, assistant, user"),
        ([{"from": "cat", "value": "x"}], "unknown speaker 'cat'"),
        ([{"from": "human", "value": "<image>"}, LLAVA[1]], "the question is empty"),
        ([LLAVA[0], {"from": "gpt", "value": ""}], "the answer is empty"),
        ([LLAVA[0], {"from": "gpt"}], "has no text"),
        ([PARTS[0], {"role": "assistant", "content": [{"image": "x"}]}], "what the assistant says"),
        ([{"role": "user", "content": [{"type": "audio", "audio": "x"}]}, "a"], "neither text nor picture"),
        ([3], "no message"),
    ],
)
def test_conversations_that_cannot_be_used_say_why(messages, reason):
    with pytest.raises(BadConversation, match=reason):
        read_messages(messages)


def test_a_picture_is_one_name_and_a_web_address_beside_it_is_none():
    assert picture_names({"image": "a.png", "url": "https://where.it/came/from"}) == ["a.png"]
    assert picture_names({"images": ["a.png", {"path": "b.png"}]}) == ["a.png", "b.png"]
    assert picture_names({"url": "https://where.it/came/from", "image": None}) == []
    with pytest.raises(BadConversation, match="no file name"):
        picture_names({"image": 7})
