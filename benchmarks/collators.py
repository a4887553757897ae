"""Batches per second of the three collators of detection, and what each costs against the second.

    python benchmarks/collators.py [--sides 168 448 896] [--batch 8] [--boxes 3] [--rounds 7]

Pictures of noise with boxes, the processor of Qwen2-VL with its limits, one thread, in seconds of CPU time so
that other work on the machine matters less. The three take turns; before that, V2 and V3 are compared bit for
bit.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

import numpy as np
import torch
from machine import describe
from PIL import Image

from edge_glass.detection.boxes.codec import box_codec
from edge_glass.detection.collators import Qwen2VLCollatorV1, Qwen2VLCollatorV2, Qwen2VLCollatorV3
from edge_glass.detection.data.conversations import convert_to_conversation_format
from edge_glass.vlm.family import build_processor


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sides", type=int, nargs="+", default=[168, 448, 896])
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--boxes", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    torch.set_num_threads(1)

    processor, codec = build_processor("qwen2_vl"), box_codec("qwen2_vl")
    collators = {
        "v1": Qwen2VLCollatorV1(processor, codec),
        "v2": Qwen2VLCollatorV2(processor, codec),
        "v3": Qwen2VLCollatorV3(processor, codec),
    }
    print(describe())
    print(f"batches of {arguments.batch} rows with {arguments.boxes} boxes; medians of {arguments.rounds}")
    print(f"{'picture':>9} {'tokens':>7} {'v1':>7} {'v2':>7} {'v3':>7} batches/s   v3 / v2   v3 / v1")
    for side in arguments.sides:
        rows = [noise(number, side, arguments.boxes) for number in range(arguments.batch)]
        second, third = collators["v2"](rows), collators["v3"](rows)
        assert all(torch.equal(values, third[name]) for name, values in second.items())
        seconds = {name: [] for name in collators}
        for _ in range(arguments.rounds):
            for name, collate in collators.items():
                start = time.process_time()
                collate(rows)
                seconds[name].append(time.process_time() - start)
        rate = {name: 1 / statistics.median(times) for name, times in seconds.items()}
        tokens = second["input_ids"].shape[1]
        rates = " ".join(f"{rate[name]:>7.1f}" for name in collators)
        ratios = f"{rate['v3'] / rate['v2']:>9.2f} {rate['v3'] / rate['v1']:>9.2f}"
        print(f"{side:>4}×{side:<4} {tokens:>7} {rates}           {ratios}")


def noise(number: int, side: int, boxes: int) -> dict[str, Any]:
    """A conversation row as a function of its number."""
    generator = np.random.default_rng(number)
    corners = generator.uniform(0, 0.5 * side, (boxes, 2))
    example = {
        "id": str(number),
        "boxes": np.concatenate([corners, corners + generator.uniform(8, 0.5 * side, (boxes, 2))], axis=1),
        "labels": ["animal"] * boxes,
        "width": side,
        "height": side,
    }
    picture = Image.fromarray(generator.integers(0, 256, (side, side, 3), dtype=np.uint8))
    return {**convert_to_conversation_format(example, box_codec("qwen2_vl")), "images": [picture]}


if __name__ == "__main__":
    main()
