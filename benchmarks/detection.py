"""A training step of detection against TRL's `SFTTrainer` with its own collator: time and memory.

    python benchmarks/detection.py [--layers 4] [--batch 2] [--rounds 3] [--threads 1] [--checkpointing]

A Qwen2-VL of few layers with random weights and Qwen's real vocabulary of 151,936 words, LoRA on the language
model, `--batch` pictures of 560 x 560 (400 tokens) with two boxes each. Both sides get the same pictures and
the same conversations, collate them themselves, and take a whole training step: collate, forward, backward,
clip, AdamW. TRL's side is `SFTTrainer` with `DataCollatorForVisionLanguageModeling` and its defaults but for
what a CPU asks for (no bf16) and what is right (no cut at 1,024 tokens, loss on the assistant only); a second
TRL side trains on all words, which is its default. Each side has a process of its own, with the same weights;
they take turns. Memory is the highest resident memory of a step beyond what the process held before the first
one (Linux, glibc), in processes whose allocator gives back at once what is freed. `--checkpointing`, which is
TRL's default, lets all sides compute activations again in the backward pass instead of keeping them.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import torch
from machine import describe
from turns import AT_ONCE, measure, memory, watch

SIDES = ("trl", "trl, all words", "edge-glass")
VOCABULARY = 151_936
SIDE = 560


def main() -> None:
    """Run all sides in turns and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, value in (("layers", 4), ("batch", 2), ("rounds", 3), ("threads", 1)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--checkpointing", action="store_true")
    options = vars(parser.parse_args())
    checkpointing = ", checkpointing" if options["checkpointing"] else ""
    print(f"{describe()}; {options['threads']} thread(s), float32{checkpointing}")
    memory_steps, _ = measure(serve, SIDES, options, 1, AT_ONCE)
    time_steps, _ = measure(serve, SIDES, options, options["rounds"], {})
    print(f"{'':<16} seconds a step  extra peak memory   loss of the first step")
    for side in SIDES:
        seconds = statistics.median(step.seconds for step in time_steps[side])
        extra, loss = memory_steps[side][0].extra / 1e9, memory_steps[side][0].value
        print(f"{side:<16} {seconds:>14.2f}  {extra:>14.2f} GB  {loss:>10.4f}")
    for side in SIDES[:-1]:
        pairs = zip(time_steps[side], time_steps["edge-glass"], strict=True)
        seconds = statistics.median(own.seconds / theirs.seconds for theirs, own in pairs)
        extra = memory_steps["edge-glass"][0].extra / memory_steps[side][0].extra
        print(f"edge-glass / {side}: time {seconds:.2f}, memory {extra:.2f}")


def serve(side: str, options: dict[str, Any], pipe: Connection) -> None:
    """One side: say when it is ready, then what each step that is asked for took."""
    torch.set_num_threads(options["threads"])
    step = trl_side(options, side == "trl") if side.startswith("trl") else edge_glass_side(options)
    rest = memory("VmRSS")
    pipe.send("ready")
    while pipe.recv() == "step":
        pipe.send(watch(step, rest))


def make_vlm(layers: int) -> tuple[Any, Any]:
    """Qwen2-VL-2B's widths with few layers; the same weights on all sides."""
    from transformers import Qwen2VLConfig, Qwen2VLForConditionalGeneration

    from edge_glass.vlm.family import build_processor

    processor = build_processor("qwen2_vl", SIDE * SIDE, SIDE * SIDE)
    ids = processor.tokenizer.convert_tokens_to_ids
    torch.manual_seed(0)
    config = Qwen2VLConfig(
        text_config={
            "vocab_size": VOCABULARY,
            "hidden_size": 896,
            "intermediate_size": 4864,
            "num_hidden_layers": layers,
            "num_attention_heads": 14,
            "num_key_value_heads": 2,
            "tie_word_embeddings": True,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [8, 12, 12]},
            "bos_token_id": None,
            "eos_token_id": ids("<|im_end|>"),
            "pad_token_id": ids("<|endoftext|>"),
        },
        vision_config={"depth": 2, "embed_dim": 640, "hidden_size": 896, "num_heads": 8},
        image_token_id=ids("<|image_pad|>"),
        video_token_id=ids("<|video_pad|>"),
        vision_start_token_id=ids("<|vision_start|>"),
        vision_end_token_id=ids("<|vision_end|>"),
        tie_word_embeddings=True,
    )
    return Qwen2VLForConditionalGeneration(config), processor


def make_rows(count: int) -> list[dict[str, Any]]:
    """Grey pictures with two boxes, as conversation rows."""
    from PIL import Image

    from edge_glass.detection.boxes.codec import box_codec
    from edge_glass.detection.data.conversations import convert_to_conversation_format

    generator = np.random.default_rng(0)
    rows = []
    for number in range(count):
        corners = np.sort(generator.uniform(20, SIDE - 20, size=(2, 2, 2)), axis=1)
        example = {
            "id": str(number),
            "boxes": corners.reshape(2, 4),
            "labels": ["nutrition-table"] * 2,
            "width": SIDE,
            "height": SIDE,
        }
        row = convert_to_conversation_format(example, box_codec("qwen2_vl"), None, "Locate the tables.")
        noise = generator.integers(0, 255, size=(SIDE, SIDE, 3), dtype=np.uint8)
        rows.append(row | {"images": [Image.fromarray(noise)]})
    return rows


def edge_glass_side(options: dict[str, Any]) -> Any:
    """This project's collator, model and loss, and a plain AdamW step."""
    from edge_glass.config.sections.detection import VlmLoraConfig
    from edge_glass.detection.boxes.codec import box_codec
    from edge_glass.detection.collators import Qwen2VLCollatorV3
    from edge_glass.vlm.components import lora_settings
    from edge_glass.vlm.model import DetectionModel

    vlm, processor = make_vlm(options["layers"])
    lora = lora_settings(VlmLoraConfig(rank=16, alpha=32.0), vlm, "qwen2_vl")
    model = DetectionModel(
        vlm, processor, mode="lora", lora=lora, gradient_checkpointing=options["checkpointing"]
    ).train()
    collate = Qwen2VLCollatorV3(processor, box_codec("qwen2_vl"))
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-5)
    rows = make_rows(options["batch"])

    def step() -> float:
        output = model(collate(rows))
        loss = output.loss_sum / output.count
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        return float(loss.detach())

    return step


def trl_side(options: dict[str, Any], assistant_only: bool) -> Any:
    """`SFTTrainer` with its own collator and loss; the same LoRA by peft."""
    from datasets import Dataset
    from peft import LoraConfig
    from trl import SFTConfig, SFTTrainer

    vlm, processor = make_vlm(options["layers"])
    rows = [{"messages": row["messages"], "images": row["images"]} for row in make_rows(options["batch"])]
    arguments = SFTConfig(
        output_dir=tempfile.mkdtemp(),
        per_device_train_batch_size=options["batch"],
        max_length=None,
        assistant_only_loss=assistant_only,
        bf16=False,
        activation_checkpointing=options["checkpointing"],
        use_cpu=True,
        report_to=[],
        learning_rate=1e-5,
        disable_tqdm=True,
    )
    layers = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    lora = LoraConfig(r=16, lora_alpha=32, target_modules=layers, exclude_modules=".*visual.*")
    trainer: Any = SFTTrainer(
        model=vlm,
        args=arguments,
        train_dataset=Dataset.from_list(plain(rows)),
        processing_class=processor,
        peft_config=lora,
    )
    if options["checkpointing"]:
        trainer.model.activation_checkpointing_enable()  # as trainer.train() does at its start
    trainer.create_optimizer()
    trainer.current_gradient_accumulation_steps = 1
    items = [trainer.train_dataset[number] for number in range(options["batch"])]
    trained = [parameter for parameter in trainer.model.parameters() if parameter.requires_grad]

    def step() -> float:
        inputs = trainer._prepare_inputs(trainer.data_collator(items))
        loss = trainer.training_step(trainer.model, inputs)
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        trainer.optimizer.step()
        trainer.model.zero_grad()
        return float(loss)

    return step


def plain(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows as Arrow stores them: every part of a turn has the same keys."""
    for row in rows:
        for turn in row["messages"]:
            turn["content"] = [{"type": part["type"], "text": part.get("text")} for part in turn["content"]]
    return rows


if __name__ == "__main__":
    main()
