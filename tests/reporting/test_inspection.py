"""What the model sees: every token, on the page and on the terminal, and what is wrong with it."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from edge_glass.data.conversations import Turn
from edge_glass.data.labels import NOT_TRAINED, ConversationTokenizer, tokenize_conversation
from edge_glass.decoders.tokenizers import tiny_tokenizer, train_tokenizer
from edge_glass.encoders.image_transform import ImageTransform
from edge_glass.reporting.inspection import (
    InspectedInput,
    InspectedSample,
    InspectedToken,
    Inspection,
    chips,
    count_checks,
    inspected_tokens,
    token_text,
    visible,
)
from edge_glass.reporting.terminal import as_text

TRANSFORM = ImageTransform(32, "crop", 40, "bicubic", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
QUESTION, ANSWER = "what color is the triangle?", "blue"
CHECKS = (("a label is the id of its own token", None), ("the end is trained", None))
HOSTILE = '</pre><script>alert("x")</script> & [bold]犬[/bold] \x1b[31m\u202e'
LENGTHS = ["<i>train</i>: 20 conversations", "  question tokens: median 6 [red]"]


@pytest.fixture(scope="module")
def trained_tokenizer() -> Any:
    return train_tokenizer([QUESTION, ANSWER, "is there a circle?", "yes"] * 4, 400)


def noise(width: int, height: int, mode: str = "RGB") -> Image.Image:
    values = np.random.default_rng(0).integers(0, 256, (height, width, len(mode)), dtype=np.uint8)
    return Image.fromarray(values.squeeze(), mode if mode != "RGBA" else None)


def picture_input(picture: Image.Image, **changes: Any) -> InspectedInput:
    seen = TRANSFORM.to_picture(TRANSFORM(picture))
    sizes = [f"{one.width} × {one.height}" for one in (picture, seen)]
    return replace(InspectedInput("vision", 49, picture, seen, *sizes), **changes)


def sample(
    tokenizer: Any,
    turns: Sequence[tuple[str, str]] = (("user", QUESTION), ("assistant", ANSWER)),
    **changes: Any,
) -> InspectedSample:
    """A sample as a tokenizer and the labels of training make it."""
    conversation = ConversationTokenizer(tokenizer)
    tokens = tokenize_conversation(conversation, [Turn(*turn) for turn in turns])
    trained = (tokens.labels != NOT_TRAINED).tolist()
    made = InspectedSample(
        id="a.png",
        split="train",
        inputs=(picture_input(noise(64, 48)),),
        prompt=tokenizer.decode(tokens.ids[: tokens.prompt]),
        tokens=inspected_tokens(tokenizer, tokens.ids, trained, conversation.special),
        prompt_tokens=tokens.prompt,
        trained_tokens=sum(trained),
        checks=CHECKS,
        facts={"type": "color"},
    )
    return replace(made, **changes)


def decoded(address: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2])))


def terminal(*args: Any, colours: bool = True) -> str:
    buffer = io.StringIO()
    Console(
        file=buffer, width=100, force_terminal=colours, color_system="standard" if colours else None
    ).print(Inspection(*args))
    return buffer.getvalue()


def chip_classes(page: Any) -> list[str]:
    """Classes of the chips of the samples: the legend's six come first."""
    classes = [str(found.get("class")) for tag, found in page.tags if tag == "span"]
    return [name for name in classes if name.partition(" ")[0] == "chip"][6:]


# Tokens


def test_the_texts_of_the_tokens_are_the_text(trained_tokenizer):
    shown = sample(trained_tokenizer)
    assert "".join(token.text for token in shown.tokens) == f"{shown.prompt}{ANSWER}<|end|>"
    assert [token.text for token in shown.tokens if token.trained] == [ANSWER, "<|end|>"]
    assert [token.text for token in shown.tokens if token.special][:2] == ["<|begin|>", "<|user|>"]
    assert len(shown.tokens) == shown.prompt_tokens + shown.trained_tokens


def test_parts_of_a_character_are_shown_as_bytes():
    tokenizer = tiny_tokenizer()
    numbers = tokenizer("a 犬")["input_ids"]
    assert [token_text(tokenizer, number) for number in numbers] == ["a", " ", "<E7>", "<8A>", "<AC>"]
    assert token_text(tokenizer, 9999) == "<9999>"
    joined = train_tokenizer(["a 犬", "a 狗"] * 9, 262)  # a blank and the byte that both begin with
    assert token_text(joined, 261) == " <E7>"


def test_every_byte_has_a_text_of_its_own():
    tokenizer = tiny_tokenizer()
    texts = {token_text(tokenizer, number) for number in range(len(tokenizer))}
    assert len(texts) == len(tokenizer) and "\N{REPLACEMENT CHARACTER}" not in "".join(texts)


def test_blanks_of_tokenizers_of_words_are_kept():
    from tokenizers import Tokenizer, decoders, models
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE({"▁dog": 0, "dog": 1, "<0xE7>": 2}, [], byte_fallback=True))
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend)
    assert [token_text(tokenizer, number) for number in range(3)] == [" dog", "dog", "<E7>"]


def test_what_cannot_be_seen_gets_a_sign():
    assert visible("a b\n\tc", keep="") == "a·b↵⇥c"
    assert visible("a b\x1b\x7f\u202e\u00a0\ud800犬é") == "a b<1B><7F><U+202E><U+00A0><U+D800>犬é"


def test_a_prefix_is_shown_where_it_stands(trained_tokenizer, tmp_path):
    inside = sample(trained_tokenizer, opening=2)
    assert inside.tokens[1].text == "<|user|>"
    assert "<|user|> <picture×49>" in " ".join(terminal([inside], [], colours=False).split())
    front = terminal([sample(trained_tokenizer)], [], colours=False)
    assert "<picture×49> <|begin|>" in " ".join(front.split())
    path = Inspection([inside], [], "x", {}).write_page(tmp_path / "page.html")
    chips_shown = re.findall(r'class="chip[^>]*>([^<]*)', path.read_text().partition("<article")[2])
    assert [text.partition(" ")[0] for text in chips_shown[:4]] == [
        "&lt;|begin|&gt;",
        "&lt;|user|&gt;",
        "picture",
        "what",
    ]


def test_long_runs_of_a_marker_are_one_chip():
    def token(text: str, special: bool = True) -> InspectedToken:
        return InspectedToken(text, 7, False, special)

    pads, words = [token("<pad>")] * 256, [token("la", special=False)] * 256
    shown = chips([token("<a>"), *pads, token("<b>"), *words])
    assert [chip.text for chip in shown[:4]] == ["<a>", "<pad>×256", "<b>", "la"]
    assert [chip.position for chip in shown[:4]] == [0, 1, 257, 258] and len(shown) == 259
    assert "token 2 to 257 " in shown[1].hint
    assert [chip.text for chip in chips([token("<pad>")] * 3)] == ["<pad>"] * 3


def test_lines_end_behind_the_last_of_their_line_ends():
    tokens = [InspectedToken(text, 0, False, False) for text in ("a\n\n", "\n", "b", "")]
    assert [chip.ends_line for chip in chips(tokens)] == [False, True, False, False]
    assert [chip.text for chip in chips(tokens)] == ["a↵↵", "↵", "b", "∅"]


def test_checks_are_counted_by_name(trained_tokenizer):
    good = sample(trained_tokenizer)
    bad = replace(good, checks=(CHECKS[0], (CHECKS[1][0], "it is not")))
    counts = count_checks([good, bad, bad])
    assert [(count.total, count.wrong) for count in counts] == [(3, ()), (3, (2, 3))]


# The page


def test_the_page_shows_every_token_with_its_kind(tmp_path, read_page, trained_tokenizer):
    shown = sample(trained_tokenizer)
    page = read_page(
        Inspection([shown], [], "easy", {"decoder": "TRM"}).write_page(tmp_path / "deep" / "x.html")
    )
    marker, read, trained = "chip special", "chip", "chip trained"
    assert chip_classes(page) == [
        *("chip prefix", marker, marker, read, read, read, read, read, read, marker, trained),
        "chip trained special",
    ]
    for words in (
        "what",
        "·color",
        "·triangle",
        "<|assistant|>",
        shown.prompt,
        "picture × 49",
        "TRM",
        "color",
    ):
        assert words in page.text
    assert "64 × 48" in page.text and "32 × 32" in page.text
    assert "✓ All checks hold" in page.text and "2 checks, 1 sample" in page.text
    assert f"prefix 49 · prompt {shown.prompt_tokens} · trained 2 · in all 60 tokens" in page.text
    assert not [found for _, found in page.tags if found.get("class") == "wrong"]


def test_what_is_wrong_is_said_above_and_at_its_sample(tmp_path, read_page, trained_tokenizer):
    good = sample(trained_tokenizer)
    bad = replace(good, checks=(CHECKS[0], (CHECKS[1][0], "<b>id 5</b> has no label")))
    page = read_page(Inspection([good, bad], [], "easy", {}).write_page(tmp_path / "x.html"))
    assert "✗ 1 of 2 checks fail" in page.text and "All checks hold" not in page.text
    assert "the end is trained: wrong in sample 2, holds for 1 of 2" in page.text
    assert "the end is trained: <b>id 5</b> has no label" in page.text
    assert len([found for tag, found in page.tags if tag == "li" and found.get("class") == "wrong"]) == 2


def test_hostile_text_stays_text(tmp_path, read_page):
    tokenizer = tiny_tokenizer()
    words = HOSTILE.replace("[bold]", "").replace("[/bold]", "")
    shown = sample(
        tokenizer,
        [("user", words), ("assistant", words)],
        id=HOSTILE,
        split=HOSTILE,
        facts={HOSTILE: HOSTILE},
        checks=((HOSTILE, None), (f"{HOSTILE} too", HOSTILE)),
        inputs=(picture_input(noise(8, 8), source_size=HOSTILE, seen_size=HOSTILE, note=HOSTILE),),
    )
    tokens = (InspectedToken(HOSTILE, 5, True, True), *shown.tokens)
    shown = replace(shown, tokens=tokens)
    path = Inspection([shown], [HOSTILE], HOSTILE, {HOSTILE: HOSTILE}).write_page(tmp_path / "x.html")
    page = read_page(path)
    assert page.text.count('<script>alert("x")</script>') > 12
    assert "<1B>" in page.text and "\x1b" not in page.text and "\u202e" not in page.text
    for colours in (True, False):
        text = terminal([shown], [HOSTILE], colours=colours).replace("\x1b[0m", "")
        assert "[bold]犬[/bold]" in text and "\x1b[31m\u202e" not in text and "\u202e" not in text


def test_half_a_surrogate_can_be_written(tmp_path, read_page, trained_tokenizer):
    shown = sample(trained_tokenizer, id="\ud83d", prompt="\ud83d", facts={"\ud83d": "\ud83d"})
    assert (
        "<U+D83D>" in read_page(Inspection([shown], ["\ud83d"], "x", {}).write_page(tmp_path / "x.html")).text
    )


def test_the_page_holds_the_very_pixels_the_model_sees(tmp_path, read_page, trained_tokenizer):
    picture = noise(64, 48)
    page = read_page(Inspection([sample(trained_tokenizer)], [], "x", {}).write_page(tmp_path / "x.html"))
    source, seen = map(decoded, page.images())
    assert source.tobytes() == picture.tobytes()
    assert seen.tobytes() == TRANSFORM.crop(picture).tobytes()


@pytest.mark.parametrize("mode", ["RGBA", "L", "CMYK", "I;16", "P"])
def test_pictures_of_any_mode_and_size(tmp_path, read_page, trained_tokenizer, mode):
    picture = Image.new(mode, (3000, 20))
    shown = sample(trained_tokenizer, inputs=(picture_input(picture),))
    page = read_page(Inspection([shown], [], "x", {}).write_page(tmp_path / "x.html"))
    source, seen = map(decoded, page.images())
    assert max(source.size) == 1024 and seen.size == (32, 32)
    assert source.format == ("PNG" if mode == "RGBA" else "JPEG")


def test_sounds_have_a_length_and_perhaps_a_spectrogram(tmp_path, read_page, trained_tokenizer):
    heard = InspectedInput("audio", 30, None, noise(320, 80, "L"), "3.2 s", "80 bands × 320 frames", "16 kHz")
    both = sample(trained_tokenizer, inputs=(picture_input(noise(8, 8), tokens=16), heard))
    alone = sample(trained_tokenizer, inputs=(replace(heard, seen=None, seen_size=""),))
    page = read_page(Inspection([both, alone], [], "x", {}).write_page(tmp_path / "x.html"))
    assert len(page.images()) == 3 and decoded(page.images()[2]).size == (320, 80)
    for words in (
        "♪",
        "3.2 s",
        "80 bands × 320 frames",
        "16 kHz",
        "sound × 30",
        "16 picture tokens",
        "prefix 46",
    ):
        assert words in page.text
    text = as_text(Inspection([both, alone], []))
    assert "<picture×16> <sound×30> <|begin|>" in text
    assert "sound 3.2 s → 80 bands × 320 frames → 30 tokens (16 kHz)" in text


def test_pictures_among_the_tokens_need_no_prefix(tmp_path, read_page, trained_tokenizer):
    shown = sample(trained_tokenizer)
    pads = (InspectedToken("<|image_pad|>", 7, False, True),) * 256
    inside = replace(
        shown,
        tokens=(shown.tokens[0], *pads, *shown.tokens[1:]),
        inputs=(replace(shown.inputs[0], tokens=0),),
    )
    page = read_page(Inspection([inside], [], "x", {}).write_page(tmp_path / "x.html"))
    assert "<|image_pad|> × 256" in page.text and "chip prefix" not in chip_classes(page)
    assert "in all 267 tokens" in page.text


def test_words_alone_and_nothing_at_all(tmp_path, read_page, trained_tokenizer):
    words = sample(trained_tokenizer, inputs=(), checks=(), facts={})
    page = read_page(Inspection([words], LENGTHS, "x", {}).write_page(tmp_path / "x.html"))
    assert page.images() == [] and LENGTHS[0] in page.text and "All checks hold" not in page.text
    assert "There is no sample" in read_page(Inspection([], [], "x", {}).write_page(tmp_path / "y.html")).text


# The terminal


def test_without_colours_trained_tokens_stand_in_brackets(trained_tokenizer):
    turns = [("user", QUESTION), ("assistant", "yes"), ("user", QUESTION), ("assistant", ANSWER)]
    text = as_text(Inspection([sample(trained_tokenizer, turns)], LENGTHS), width=200)
    assert "[yes <|end|>] <|user|> what ·color ·is ·the ·triangle ? <|assistant|> [blue <|end|>]" in text
    assert "[trained]  read only" in text and "prompt 19 tokens, trained 4" in text
    assert "\x1b" not in text and text.splitlines()[-2:] == LENGTHS
    assert "✓ the end is trained: 1 of 1 samples" in text


def test_with_colours_they_are_underlined_without_brackets(trained_tokenizer):
    text = terminal([sample(trained_tokenizer)], [])
    assert "\x1b[1;4;37;44mblue\x1b[0m" in text and "[blue" not in text.replace("44mblue", "")
    assert "\x1b[35m<|user|>\x1b[0m what ·color" in text


def test_no_color_is_obeyed(trained_tokenizer, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    text = terminal([sample(trained_tokenizer)], [])
    assert "[blue" in text and "<|end|>]" in text and "44m" not in text and "\x1b[35m" not in text


def test_a_fault_is_said_at_its_sample_and_below(trained_tokenizer):
    good = sample(trained_tokenizer)
    bad = replace(good, checks=(CHECKS[0], (CHECKS[1][0], "id 5 has no label")))
    text = as_text(Inspection([good, bad], []))
    assert "  ✗ the end is trained: id 5 has no label" in text
    assert "✗ the end is trained: holds for 1 of 2 samples, not for 2" in text
    assert "✓ a label is the id of its own token: 2 of 2 samples" in text


def test_eight_samples_fit_on_a_screen(trained_tokenizer):
    text = as_text(Inspection([sample(trained_tokenizer)] * 8, LENGTHS))
    assert len(text.splitlines()) <= 40 and max(map(len, text.splitlines())) <= 110
