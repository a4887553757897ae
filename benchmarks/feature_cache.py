"""What the frozen-feature cache buys, measured side by side in one run.

    python benchmarks/feature_cache.py [--rounds 3] [--config FILE] [--only filling|epochs]

1. An epoch from the cache against an epoch with the towers running (`training.feature_cache=off`), through
   the same trainer.
2. Filling the cache against the plain path (fp32, batches of 128, captions padded to 77, PIL, one after the
   other), and against its own floor: the towers alone plus decoding alone, at the settings chosen.
3. R@1 from features of both paths.

Needs `edge-glass data build emoji`. Filling is measured in a temporary folder; yours is not touched.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import torch
from machine import describe

PLAIN_BATCH, PLAIN_TOKENS = 128, 77


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", type=Path, default=Path("configs/quickstart.yaml"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=["filling", "epochs"], help="Measure one of the two.")
    arguments = parser.parse_args()
    logging.disable(logging.INFO)
    print(describe(), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        if arguments.only != "epochs":
            compare_filling(arguments.config, Path(folder), arguments.rounds)
        if arguments.only != "filling":
            compare_epochs(arguments.config, Path(folder))


def timed(function: Callable[[], object]) -> float:
    """Seconds of one call."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def compare_filling(config_file: Path, folder: Path, rounds: int) -> None:
    """Fill, floor and plain path in turn, `rounds` times; prints medians and ratios."""
    from edge_glass.alignment.model.alignment import build_alignment_model
    from edge_glass.config import load_config
    from edge_glass.data.feature_cache import FeatureCache
    from edge_glass.data.features import GROUP_ROWS, CachedFeatures
    from edge_glass.encoders.features import keep_freed_memory
    from edge_glass.tasks.sources import load_encoders, load_splits

    config = load_config(config_file)
    splits = load_splits(config)
    model = build_alignment_model(config, *load_encoders(config))
    tables = list(splits.values())
    texts = list(dict.fromkeys(["", *(text for table in tables for row in table.captions for text in row)]))
    places = list({d: (t, r) for t in tables for r, d in enumerate(t.picture_hashes) if d}.values())
    threads = torch.get_num_threads()
    print(f"{len(places)} pictures, {len(texts)} captions, {threads} threads", flush=True)

    both = {"vision": model.vision_tower, "text": model.text_tower}
    vision, text = both["vision"], both["text"]
    encoder, words = vision.encoder, text.encoder

    def plain() -> None:
        with torch.inference_mode():
            for start in range(0, len(places), PLAIN_BATCH):
                group = places[start : start + PLAIN_BATCH]
                pixels = torch.stack([encoder.preprocess(table.image(row)) for table, row in group])
                vision.pooling(*encoder(pixels))
            for start in range(0, len(texts), PLAIN_BATCH):
                encoded = words.tokenizer(
                    texts[start : start + PLAIN_BATCH],
                    padding="max_length",
                    truncation=True,
                    max_length=PLAIN_TOKENS,
                    return_tensors="pt",
                )
                text.pooling(*words({name: encoded[name] for name in ("input_ids", "attention_mask")}))

    def fill(number: int) -> CachedFeatures:
        cached = CachedFeatures(both, FeatureCache(folder / f"fill{number}"), progress=False)
        cached.fill(tables)
        return cached

    pool = partial(ThreadPoolExecutor, threads, initializer=partial(torch.set_num_threads, 1))
    few, many = GROUP_ROWS["vision"], GROUP_ROWS["text"]
    groups = [places[start : start + few] for start in range(0, len(places), few)]
    ready = [torch.stack([encoder.preprocess(t.image(r)) for t, r in group]) for group in groups]
    ordered = sorted(texts, key=len)
    tokenized = [words.tokenize(ordered[start : start + many]) for start in range(0, len(ordered), many)]

    def towers() -> None:
        with pool() as workers:
            list(workers.map(lambda pixels: vision.features({"pixels": pixels}), ready))
            list(workers.map(lambda tokens: text.features(tokens), tokenized))

    def decoding() -> None:
        with pool() as workers:
            list(workers.map(lambda group: [encoder.preprocess(t.image(r)) for t, r in group], groups))

    # The plain path goes first, before the allocator is tuned for the rest of the process.
    plain_seconds = statistics.median([timed(plain) for _ in range(rounds)])
    keep_freed_memory()
    timed(towers)
    fills, floors = [], []
    for number in range(rounds):
        floors.append(timed(towers) + timed(decoding))
        fills.append(timed(lambda number=number: fill(number)))
    fill_seconds = statistics.median(fills)
    faster = plain_seconds / fill_seconds
    ratio = statistics.median([f / floor for f, floor in zip(fills, floors, strict=True)])
    print(f"plain path                       {plain_seconds:8.1f} s")
    print(f"filling the cache                {fill_seconds:8.1f} s   {faster:.1f} times faster")
    floor = statistics.median(floors)
    print(f"its floor (towers + decoding)    {floor:8.1f} s   filling is {ratio:.2f} times it")


def compare_epochs(config_file: Path, folder: Path) -> None:
    """Steps through the same trainer, cached and live; of the cached epochs the first is left out."""
    live = epoch_seconds(config_file, folder / "live", ["training.feature_cache=off"], epochs=1)
    cached = epoch_seconds(config_file, folder / "cached", ["training.feature_cache=auto"], epochs=60)
    print(f"epoch with towers running        {live:8.2f} s")
    print(f"epoch from the cache             {cached:8.4f} s   {live / cached:.0f} times faster", flush=True)


def epoch_seconds(config_file: Path, folder: Path, overrides: list[str], epochs: int) -> float:
    """Median seconds of an epoch after the first, without evaluation and saving."""
    from transformers import TrainerCallback

    from edge_glass.alignment.task import AlignmentTask
    from edge_glass.config import load_config
    from edge_glass.training import MultimodalTrainer, TrainingPlan, training_arguments

    class Clock(TrainerCallback):
        def __init__(self) -> None:
            self.times: list[float] = []

        def on_epoch_begin(self, *args: object, **kwargs: object) -> None:
            self.start = time.perf_counter()

        def on_step_end(self, args: object, state: object, control: object, **kwargs: object) -> None:
            self.last = time.perf_counter()

        def on_epoch_end(self, *args: object, **kwargs: object) -> None:
            self.times.append(self.last - self.start)

    settings = [
        f"training.epochs={epochs}",
        "training.eval_epochs=1000",
        "training.warm_start=none",
        "training.report_to=[]",
    ]
    config = load_config(config_file, [*settings, *overrides])
    task = AlignmentTask(config, progress=False)
    plan = TrainingPlan.of(config, len(task.splits["train"]), kinds=task.row_kinds)
    arguments = training_arguments(config, plan, folder / "checkpoints", task.primary_metric, True)
    clock = Clock()
    MultimodalTrainer(task, task.model, arguments, callbacks=[clock]).train()
    return statistics.median(clock.times[1:] if len(clock.times) > 1 else clock.times)


if __name__ == "__main__":
    main()
