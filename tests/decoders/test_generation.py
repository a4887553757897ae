"""Writing: cached equals anew, a batch equals its rows, beams find the best answer there is."""

from __future__ import annotations

import itertools
from typing import ClassVar

import pytest
import torch
from torch import Tensor

from edge_glass.core.errors import ConfigError, DataError
from edge_glass.decoders.blocks import AttentionContext
from edge_glass.decoders.decoder import Generation, GenerationSettings
from edge_glass.decoders.generation import generate, stream_text
from edge_glass.decoders.kinds.plain import PlainDecoder
from edge_glass.decoders.kinds.trm import TRMDecoder
from edge_glass.decoders.small_decoder import DecoderSteps, SmallDecoder
from edge_glass.encoders.features import TokenFeatures

KINDS = ["trm", "halting", "plain"]
SETTINGS = {
    "greedy": GenerationSettings(max_new_tokens=10),
    "sampled": GenerationSettings(max_new_tokens=10, do_sample=True, temperature=1.5, top_p=0.9, seed=3),
    "beams": GenerationSettings(max_new_tokens=10, num_beams=3),
}


def make(kind: str, seed: int = 0) -> SmallDecoder:
    """A toy whose guesses are sharp, and which halts at different depths for different rows."""
    if kind == "plain":
        decoder: SmallDecoder = PlainDecoder.tiny(seed)
    else:
        decoder = TRMDecoder.tiny(seed, halting=kind == "halting", supervision_steps=3)
    torch.manual_seed(seed)
    with torch.no_grad():
        for layer in decoder.block.layers:
            layer.from_heads.weight *= 3
        # the end token comes now and then
        decoder.embedding.weight[decoder.tokenizer.eos_token_id] *= 2.0
        if isinstance(decoder, TRMDecoder) and decoder.halt_head is not None:
            x, mask = decoder.join(*prompts())
            ends = decoder.answers(x, AttentionContext(mask, x.shape[1], decoder.rotary))[0][:, -1]
            direction = (ends - ends.mean(0))[1]
            decoder.halt_head.weight.copy_(direction[None])
            decoder.halt_head.bias.fill_(-float(direction @ ends.mean(0)))
    return decoder


def prompts() -> tuple[TokenFeatures, Tensor, Tensor]:
    """Left-padded prompts of 6, 1, 3, 6 and 4 tokens after a prefix with padding; one row has no prefix."""
    torch.manual_seed(5)
    ids = torch.randint(5, 261, (5, 6))
    mask = torch.arange(6) >= 6 - torch.tensor([6, 1, 3, 6, 4])[:, None]
    seen = torch.tensor([[1, 1, 1], [0, 1, 1], [0, 0, 0], [1, 0, 0], [1, 0, 1]]).bool()
    return TokenFeatures(torch.randn(5, 3, 32), seen), ids, mask


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("with_prefix", [True, False])
def test_cached_logits_equal_those_computed_anew(kind: str, with_prefix: bool) -> None:
    """At every step, in all rows, also after the rows were reordered and multiplied."""
    decoder = make(kind)
    prefix, ids, mask = prompts()
    both = [
        DecoderSteps(decoder, prefix if with_prefix else None, ids, mask, 12, cached)
        for cached in (True, False)
    ]
    with torch.no_grad():
        torch.testing.assert_close(*(steps.start() for steps in both), rtol=1e-5, atol=1e-5)
        if kind == "halting":
            assert len(both[0].depth.unique()) > 1
        for number in range(12):
            if number in (4, 8):
                order = torch.tensor([4, 0, 0, 2, 3, 1, 1])[: 7 if number == 4 else 3]
                for steps in both:
                    steps.reorder(order)
            tokens = torch.randint(5, 261, (len(both[0].mask),))
            logits = [steps.step(tokens) for steps in both]
            torch.testing.assert_close(*logits, rtol=1e-5, atol=1e-5)
    assert both[0].cache is not None and both[1].cache is None
    assert both[0].x.shape[1] < both[1].x.shape[1]  # one of them did not read everything again


@pytest.mark.parametrize("kind", KINDS)
def test_generated_logits_are_those_of_training(kind: str) -> None:
    """The loss of an answer, right-padded, is the probability with which it would be written."""
    decoder = make("trm" if kind == "halting" else kind)
    prefix, ids, _ = prompts()
    answers = torch.randint(5, 261, (5, 4))
    steps = DecoderSteps(decoder, prefix, ids, torch.ones_like(ids).bool(), 4, cached=True)
    total = torch.zeros(5)
    with torch.no_grad():
        logits = steps.start()
        for number in range(4):
            total += logits.log_softmax(-1).gather(1, answers[:, number : number + 1])[:, 0]
            logits = steps.step(answers[:, number])
    whole = torch.cat([ids, answers], dim=1)
    labels = whole.masked_fill(torch.arange(10) < 6, -100)
    output = decoder(prefix, whole, torch.ones_like(whole).bool(), labels)
    torch.testing.assert_close(output.report["last_loss"], -total.sum(), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("how", SETTINGS)
def test_a_batch_equals_its_rows_and_cached_equals_anew(kind: str, how: str) -> None:
    decoder = make(kind)
    prefix, ids, mask = prompts()
    together = decoder.generate(prefix, ids, mask, SETTINGS[how])
    assert together == decoder.generate(prefix, ids, mask, SETTINGS[how], cached=False)
    for row in range(len(ids)):
        tokens = prefix.tokens[row, prefix.mask[row]][None]
        alone = TokenFeatures(tokens, torch.ones(tokens.shape[:2], dtype=torch.bool))
        prompt = ids[row, mask[row]][None]
        one = decoder.generate(alone, prompt, torch.ones_like(prompt).bool(), SETTINGS[how])
        assert one == Generation([together.tokens[row]], [together.ended[row]])
    assert len({tuple(tokens) for tokens in together.tokens}) > 1


def test_settings_change_answers() -> None:
    decoder, parts = make("trm"), prompts()
    found = {how: decoder.generate(*parts, settings).tokens for how, settings in SETTINGS.items()}
    assert found["greedy"] != found["sampled"]
    again = GenerationSettings(max_new_tokens=10, do_sample=True, temperature=1.5, top_p=0.9, seed=4)
    assert decoder.generate(*parts, again).tokens != found["sampled"]
    nearly_greedy = GenerationSettings(max_new_tokens=10, do_sample=True, top_p=1e-6)
    assert decoder.generate(*parts, nearly_greedy).tokens == found["greedy"]


def test_generation_under_autocast() -> None:
    decoder, parts = make("trm"), prompts()
    with torch.autocast("cpu", torch.bfloat16):
        written = decoder.generate(*parts, SETTINGS["greedy"])
    right = decoder.generate(*parts, SETTINGS["greedy"])
    assert sum(a[:1] == b[:1] for a, b in zip(written.tokens, right.tokens, strict=True)) >= 4


class TableSteps:
    """A language of `words` tokens whose next-word logits are a random function of the words so far."""

    def __init__(self, rows: int, words: int, seed: int = 0) -> None:
        self.words, self.seed = words, seed
        self.texts: list[tuple[int, ...]] = [(row,) for row in range(rows)]

    def logits(self, text: tuple[int, ...]) -> Tensor:
        generator = torch.Generator().manual_seed(hash((self.seed, *text)) % 2**31)
        return 2.0 * torch.randn(self.words, generator=generator)

    def start(self) -> Tensor:
        return torch.stack([self.logits(text) for text in self.texts])

    def step(self, tokens: Tensor) -> Tensor:
        self.texts = [(*text, token) for text, token in zip(self.texts, tokens.tolist(), strict=True)]
        return self.start()

    def reorder(self, rows: Tensor) -> None:
        self.texts = [self.texts[row] for row in rows.tolist()]


END = 1


def best_answer(row: int, words: int, longest: int, seed: int) -> list[int]:
    """By trying all answers: the highest mean log-probability, the end token counted."""
    table = TableSteps(1, words, seed)
    scored = []
    for length in range(1, longest + 1):
        for answer in itertools.product(range(words), repeat=length):
            ends = answer[-1] == END
            if END in answer[:-1] or (not ends and length < longest):
                continue
            total = sum(
                float(table.logits((row, *answer[:place])).log_softmax(-1)[token])
                for place, token in enumerate(answer)
            )
            scored.append((total / length, list(answer)))
    return max(scored)[1]


@pytest.mark.parametrize("seed", range(6))
def test_many_beams_find_the_best_answer_there_is(seed: int) -> None:
    settings = GenerationSettings(max_new_tokens=4, num_beams=64)
    result = generate(TableSteps(3, 4, seed), settings, END, 0)
    for row in range(3):
        best = best_answer(row, 4, 4, seed)
        assert result.tokens[row] == [token for token in best if token != END]
        assert result.ended[row] == (best[-1] == END)


@pytest.mark.parametrize("num_beams", [1, 2, 3, 9])
@pytest.mark.parametrize("do_sample", [False, True])
def test_a_forbidden_token_is_never_written(num_beams: int, do_sample: bool) -> None:
    class OneWay(TableSteps):
        def logits(self, text: tuple[int, ...]) -> Tensor:
            logits = super().logits(text)
            logits[[0, 2] if len(text) < 4 else [0, 2, 3]] = -torch.inf  # at last only the end is left
            logits[END] = -torch.inf if len(text) < 4 else 0.0
            return logits

    settings = GenerationSettings(
        max_new_tokens=6, do_sample=do_sample and num_beams == 1, num_beams=num_beams
    )
    result = generate(OneWay(2, 4), settings, END, 0)
    assert result == Generation([[3, 3, 3]] * 2, [True, True])


def test_one_beam_more_than_none_is_not_greedy() -> None:
    greedy = generate(TableSteps(20, 4), GenerationSettings(max_new_tokens=4), END, 0)
    beams = generate(TableSteps(20, 4), GenerationSettings(max_new_tokens=4, num_beams=2), END, 0)
    assert greedy != beams


def test_greedy_by_hand_and_nothing_after_the_end() -> None:
    heard: dict[int, list[int]] = {row: [] for row in range(20)}
    result = generate(
        TableSteps(20, 4),
        GenerationSettings(max_new_tokens=5),
        END,
        0,
        lambda row, token: heard[row].append(token),
    )
    for row in range(20):
        text: tuple[int, ...] = (row,)
        while (len(text) <= 5 and text[-1:] != (END,)) or len(text) == 1:
            text = (*text, int(TableSteps(1, 4).logits(text).argmax()))
        expected = list(text[1:])
        assert result.ended[row] == (expected[-1] == END)
        assert result.tokens[row] == (expected[:-1] if result.ended[row] else expected)
    assert list(heard.values()) == result.tokens
    assert set(result.ended) == {True, False}


def test_rows_that_have_ended_are_left_behind() -> None:
    class Countdown(TableSteps):
        """Row r ends after r + 1 tokens; all that are asked for a word are counted."""

        asked: ClassVar[list[int]] = []

        def logits(self, text: tuple[int, ...]) -> Tensor:
            return torch.tensor([0.0, 9.0 if len(text) > text[0] + 1 else -9.0, 1.0, 2.0])

        def step(self, tokens: Tensor) -> Tensor:
            self.asked.append(len(tokens))
            return super().step(tokens)

    result = generate(Countdown(8, 4), GenerationSettings(max_new_tokens=20), END, 0)
    assert [len(tokens) for tokens in result.tokens] == list(range(1, 9))
    assert all(result.ended)
    assert Countdown.asked == [8, 8, 6, 6, 4, 3, 2, 1]


def test_sampling_follows_the_probabilities_and_top_p() -> None:
    class Same(TableSteps):
        def logits(self, text: tuple[int, ...]) -> Tensor:
            return torch.tensor([0.5, 1e-9, 0.2, 0.3]).log()

    settings = GenerationSettings(max_new_tokens=3000, do_sample=True)
    drawn = torch.tensor(generate(Same(1, 4), settings, END, 0).tokens[0])
    share = torch.bincount(drawn, minlength=4) / len(drawn)
    torch.testing.assert_close(share, torch.tensor([0.5, 0.0, 0.2, 0.3]), rtol=0, atol=0.03)
    settings = GenerationSettings(max_new_tokens=3000, do_sample=True, top_p=0.7, temperature=0.5)
    drawn = torch.tensor(generate(Same(1, 4), settings, END, 0).tokens[0])
    share = torch.bincount(drawn, minlength=4) / len(drawn)
    # squared and normalised: 0.66, 0.11, 0.24; the two best are kept
    expected = torch.tensor([0.25, 0.0, 0.0, 0.09]) / 0.34
    torch.testing.assert_close(share, expected, rtol=0, atol=0.03)


@pytest.mark.parametrize("kind", KINDS)
def test_small_decoders_stream_too(kind: str) -> None:
    decoder = make(kind)
    prefix, ids, mask = prompts()
    first = TokenFeatures(prefix.tokens[:1], prefix.mask[:1]), ids[:1], mask[:1]
    pieces = list(stream_text(decoder, *first, SETTINGS["greedy"]))
    tokens = decoder.generate(*first, SETTINGS["greedy"]).tokens[0]
    assert "".join(pieces) == decoder.tokenizer.decode(tokens, skip_special_tokens=True)


def test_no_rows_and_a_row_of_nothing() -> None:
    decoder = make("trm")
    prefix, ids, mask = prompts()
    assert decoder.generate(None, ids[:0], mask[:0], SETTINGS["beams"]) == Generation([], [])
    mask[2] = False  # its prefix is padding, too
    with pytest.raises(DataError, match="row 2 has neither a prefix nor a prompt"):
        decoder.generate(prefix, ids, mask, SETTINGS["greedy"])


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"max_new_tokens": 0}, "max_new_tokens: expected a whole number of at least 1, got 0"),
        ({"temperature": 0.0}, "temperature: expected a number above 0, got 0.0"),
        ({"top_p": 1.5}, "top_p: expected a number above 0 and of at most 1, got 1.5"),
        ({"num_beams": 0}, "num_beams: expected a whole number of at least 1, got 0"),
        ({"num_beams": 2, "do_sample": True}, "do_sample with num_beams 2"),
    ],
)
def test_settings_out_of_range(wrong: dict[str, float], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        GenerationSettings(**wrong)
