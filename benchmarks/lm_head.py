"""The LM head on supervised positions only, against the library's default loss: memory and time of a step.

    python benchmarks/lm_head.py [--layers 4] [--batch 2] [--prompt 700] [--answer 40] [--rounds 3]

A Qwen2 of the widths of Qwen2.5-0.5B with random weights, its vocabulary of 151,936 words and LoRA on all
linear layers. The library's side is the loss of `AutoModelForCausalLM`'s own forward, given labels. Each side
has a process of its own, with the same weights and tokens; they take turns. Memory is the highest resident
memory of a step beyond what the process held before the first one, in processes whose allocator gives what is
freed back at once, so that nothing else is counted (Linux, glibc).
"""

from __future__ import annotations

import argparse
import statistics
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import torch
from machine import describe
from torch import Tensor
from turns import AT_ONCE, measure, memory, watch

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
    options = vars(arguments)
    memory_steps, gradients = measure(serve, SIDES, options, 1, AT_ONCE)
    time_steps, _ = measure(serve, SIDES, options, arguments.rounds, {})
    print("            seconds a step  extra peak memory")
    for side in SIDES:
        seconds = statistics.median(step.seconds for step in time_steps[side])
        print(f"{side:<11} {seconds:>14.2f}  {memory_steps[side][0].extra / 1e9:>14.2f} GB")
    library, supervised = (time_steps[side] for side in SIDES)
    seconds = statistics.median(b.seconds / a.seconds for a, b in zip(library, supervised, strict=True))
    extra = memory_steps["supervised"][0].extra / memory_steps["library"][0].extra
    print(f"{'ratio':<11} {seconds:>14.2f}  {extra:>14.2f}")
    print(compared(*(gradients[side] for side in SIDES)))


def compared(library: Gradients, supervised: Gradients) -> str:
    """How much the gradients differ."""
    assert library.keys() == supervised.keys()
    largest = max(float(np.abs(gradient).max()) for gradient in library.values())
    difference = max(float(np.abs(library[name] - supervised[name]).max()) for name in library)
    return f"gradients of {len(library)} tensors: largest {largest:.2e}, largest difference {difference:.2e}"


def serve(side: str, options: dict[str, int], pipe: Connection) -> None:
    """One side: send the gradients of a step, then what each step that is asked for took."""
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
        pipe.send(watch(lambda: take_step(side, decoder, ids, labels), rest))


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


if __name__ == "__main__":
    main()
