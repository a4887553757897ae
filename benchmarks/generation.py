"""Answers per second: sixteen prompts at once against one by one, both with cached keys and values.

    edge-glass assets fetch smollm2-135m-instruct
    python benchmarks/generation.py [--decoder smollm2 trm] [--batch 16] [--rounds 5] [--threads 1]

Each prompt is a prefix of 1 to 9 tokens and a question of easy-VQA's kind. In every round the two sides take
turns, because machines are noisy; printed are medians, and whether the answers are the same.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from machine import describe
from torch import Tensor

from edge_glass.data.conversations import USER, Turn
from edge_glass.data.labels import ConversationTokenizer
from edge_glass.decoders import Generation, GenerationSettings, QwenDecoder, TRMConfig, TRMDecoder
from edge_glass.decoders.decoder import PlacedPrefix, Prefix
from edge_glass.decoders.tokenizers import train_tokenizer
from edge_glass.encoders.features import TokenFeatures

COLOURS = ("red", "green", "blue", "black", "gray", "teal", "brown", "yellow")
QUESTIONS = (
    "what color is the shape?",
    "is there a circle in the image?",
    "what shape is present?",
    *(f"is there a {colour} shape in the image?" for colour in COLOURS),
    *(f"does the image not contain a {colour} triangle?" for colour in COLOURS),
)
LENGTHS = (2, 8, 32)  # "red" and its end; a phrase; a caption


class Prompts(NamedTuple):
    """A batch: prefix and left-padded questions."""

    prefix: Prefix
    ids: Tensor
    mask: Tensor

    def row(self, number: int) -> Prompts:
        """One of them by itself, without padding."""
        real, own = self.prefix.mask[number], self.mask[number]
        tokens = self.prefix.tokens[number][real][None]
        ids = self.ids[number][own][None]
        prefix: Prefix = TokenFeatures(tokens, real[real][None])
        if isinstance(self.prefix, PlacedPrefix):
            prefix = PlacedPrefix(*prefix, self.prefix.opening[[number]])
        return Prompts(prefix, ids, own[own][None])


def main() -> None:
    """Print one line per decoder, arithmetic and length of the answers."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--decoder", nargs="+", choices=[*DECODERS], default=[*DECODERS])
    parser.add_argument("--precision", nargs="+", choices=["fp32", "bf16"], default=["fp32", "bf16"])
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--lengths", type=int, nargs="+", default=LENGTHS, metavar="TOKENS")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(f"{describe()}; {arguments.threads} thread(s), greedy, {arguments.batch} prompts")
    print("decoder   precision  longest  written  answers/s  one by one  ratio  same answers")
    for name in arguments.decoder:
        decoder = DECODERS[name]().eval()
        prompts = make_prompts(decoder, arguments.batch)
        for precision in arguments.precision:
            for length in arguments.lengths:
                with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
                    line = compare(decoder, prompts, length, arguments.rounds)
                print(f"{name:<9} {precision:<10} {line}", flush=True)


def smollm2() -> QwenDecoder:
    """SmolLM2-135M-Instruct as it is."""
    return QwenDecoder.load("asset:smollm2-135m-instruct", mode="frozen")


def trm() -> TRMDecoder:
    """A TRM of the default size with random weights: what it says is nonsense, and takes as long."""
    torch.manual_seed(0)
    return TRMDecoder(train_tokenizer(QUESTIONS), TRMConfig(width=256))


DECODERS: dict[str, Callable[[], Any]] = {"smollm2": smollm2, "trm": trm}


def make_prompts(decoder: Any, rows: int) -> Prompts:
    """Questions in the decoder's chat template, each with 1 to 9 tokens at the scale of its embeddings.

    They stand where a picture stands: before all words for a small decoder, in the user's turn for a language
    model.
    """
    tokenizer = decoder.tokenizer
    turns = [Turn(USER, QUESTIONS[row % len(QUESTIONS)]) for row in range(rows)]
    texts = [
        tokenizer.apply_chat_template(
            [{"role": turn.role, "content": turn.text}], tokenize=False, add_generation_prompt=True
        )
        for turn in turns
    ]
    tokenizer.padding_side = "left"
    encoded = tokenizer(texts, padding=True, add_special_tokens=False, return_tensors="pt")
    scale = getattr(decoder, "embedding_rms", 1.0)
    generator = torch.Generator().manual_seed(0)
    tokens = scale * torch.randn(rows, 9, decoder.width, generator=generator)
    seen = torch.arange(9) < (1 + torch.arange(rows) % 9)[:, None]
    prefix: Prefix = TokenFeatures(tokens, seen)
    if not decoder.prefix_first:
        opening = [ConversationTokenizer(tokenizer).opening([turn]) for turn in turns]
        prefix = PlacedPrefix(*prefix, torch.tensor(opening))
    return Prompts(prefix, encoded["input_ids"], encoded["attention_mask"].bool())


def compare(decoder: Any, prompts: Prompts, length: int, rounds: int) -> str:
    """The numbers of one line."""
    rows = len(prompts.ids)
    settings = GenerationSettings(max_new_tokens=length)

    def together() -> Generation:
        return decoder.generate(*prompts, settings)

    def alone() -> Generation:
        answers = [decoder.generate(*prompts.row(row), settings) for row in range(rows)]
        return Generation([one.tokens[0] for one in answers], [one.ended[0] for one in answers])

    batch, single = together(), alone()  # and both are warm now
    same = sum(one == other for one, other in zip(batch.tokens, single.tokens, strict=True))
    times = [(seconds(together), seconds(alone)) for _ in range(rounds)]
    ratio = statistics.median(apart / joined for joined, apart in times)
    joined, apart = (statistics.median(side) for side in zip(*times, strict=True))
    written = sum(len(tokens) + ended for tokens, ended in zip(*batch, strict=True)) / rows
    return (
        f"{length:>7} {written:>8.1f} {rows / joined:>10.1f} {rows / apart:>11.1f} {ratio:>6.2f}  "
        f"{same} of {rows}"
    )


def seconds(work: Callable[[], object]) -> float:
    """How long `work` takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
