"""The LM head on supervised positions only, against the library's default loss: memory and time of a step.

    python benchmarks/lm_head.py [--layers 4] [--batch 2] [--prompt 700] [--answer 40] [--rounds 3]

A Qwen2 of the widths of Qwen2.5-0.5B with random weights, its vocabulary of 151,936 words and LoRA on all
linear layers. The library's side is the loss of `AutoModelForCausalLM`'s own forward, given labels. Each side
has a process of its own, with the same weights and tokens; they take turns. Memory is the highest resident
memory of a step beyond what the process held before the first one (Linux).
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import describe
from torch import Tensor

SIDES = ("library", "supervised")
Gradients = dict[str, np.ndarray]


def main() -> None:
    """Run both sides in turns and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, value in (("layers", 4), ("batch", 2), ("prompt", 700), ("answer", 40), ("rounds", 3)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    print(f"{describe()}; {arguments.threads} thread(s), float32")
    print(
        f"{arguments.batch} x ({arguments.prompt} prompt + {arguments.answer} answer) tokens, "
        f"{arguments.layers} layers, LoRA of rank 16"
    )
    context = multiprocessing.get_context("spawn")
    pipes: dict[str, Connection] = {}
    for side in SIDES:
        pipes[side], theirs = context.Pipe()
        context.Process(target=serve, args=(side, vars(arguments), theirs), daemon=True).start()
    gradients: dict[str, Gradients] = {side: pipes[side].recv() for side in SIDES}  # once both are ready
    steps: dict[str, list[tuple[float, float]]] = {side: [] for side in SIDES}
    for _ in range(arguments.rounds):
        for side in SIDES:
            pipes[side].send("step")
            steps[side].append(pipes[side].recv())
    for side in SIDES:
        pipes[side].send("stop")
    report(steps, gradients)


def report(steps: dict[str, list[tuple[float, float]]], gradients: dict[str, Gradients]) -> None:
    """Medians of both sides, medians of the ratios of the rounds, the largest difference of gradients."""
    print("            seconds a step  extra peak memory")
    for side in SIDES:
        seconds, memory = (statistics.median(values) for values in zip(*steps[side], strict=True))
        print(f"{side:<11} {seconds:>14.2f}  {memory / 1e9:>14.2f} GB")
    ratios = [[b / a for a, b in zip(*pair, strict=True)] for pair in zip(*steps.values(), strict=True)]
    seconds, memory = (statistics.median(values) for values in zip(*ratios, strict=True))
    print(f"{'ratio':<11} {seconds:>14.2f}  {memory:>14.2f}")
    library, supervised = (gradients[side] for side in SIDES)
    assert library.keys() == supervised.keys()
    largest = max(float(np.abs(gradient).max()) for gradient in library.values())
    difference = max(float(np.abs(library[name] - supervised[name]).max()) for name in library)
    print(f"gradients of {len(library)} tensors: largest {largest:.2e}, largest difference {difference:.2e}")


def serve(side: str, options: dict[str, int], pipe: Connection) -> None:
    """One side: send the gradients of a step, then (seconds, extra bytes) of each step asked for."""
    torch.set_num_threads(options["threads"])
    decoder = make_decoder(options["layers"])
    ids, labels = make_batch(options["batch"], options["prompt"], options["answer"], decoder.vocabulary)
    take_step(side, decoder, ids[:, -8:], labels[:, -8:])  # what is made once is there now
    rest = memory("VmRSS")
    decoder.zero_grad()
    take_step(side, decoder, ids, labels)
    trained = {name: p for name, p in decoder.named_parameters() if p.requires_grad}
    pipe.send({name: p.grad.numpy() for name, p in trained.items() if p.grad is not None})
    while pipe.recv() == "step":
        decoder.zero_grad()
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # forgets the highest so far
        start = time.perf_counter()
        take_step(side, decoder, ids, labels)
        pipe.send((time.perf_counter() - start, memory("VmHWM") - rest))


def make_decoder(layers: int) -> Any:
    """Weights are a function of the seed, the same on both sides; adapters are no longer zero."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    from edge_glass.decoders import LoraSettings, QwenDecoder
    from edge_glass.decoders.causal_lm_loading import tiny_tokenizer

    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=151_936,
        hidden_size=896,
        intermediate_size=4864,
        num_hidden_layers=layers,
        num_attention_heads=14,
        num_key_value_heads=2,
        tie_word_embeddings=True,
    )
    decoder = QwenDecoder(Qwen2ForCausalLM(config), tiny_tokenizer(), lora=LoraSettings(rank=16))
    with torch.no_grad():
        for parameter in decoder.parameters():
            if parameter.requires_grad:
                parameter.normal_(std=0.02)
    return decoder.train()


def make_batch(rows: int, prompt: int, answer: int, vocabulary: int) -> tuple[Tensor, Tensor]:
    """Random tokens; the answer is trained."""
    ids = torch.randint(0, vocabulary, (rows, prompt + answer), generator=torch.Generator().manual_seed(1))
    return ids, ids.masked_fill(torch.arange(prompt + answer) < prompt, -100)


def take_step(side: str, decoder: Any, ids: Tensor, labels: Tensor) -> None:
    """Forward and backward of the mean loss."""
    mask = torch.ones_like(ids)
    if side == "library":
        decoder.lm(input_ids=ids, attention_mask=mask, labels=labels, use_cache=False).loss.backward()
    else:
        output = decoder(None, ids, mask.bool(), labels)
        (output.loss_sum / output.count).backward()


def memory(name: str) -> int:
    """A line of this process's status, in bytes: VmRSS now, VmHWM at the highest."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc/self/status has no {name}")


if __name__ == "__main__":
    main()
