"""A run killed with SIGKILL twenty times over, against one that was left alone: are the weights bit-equal?

    python benchmarks/resume_under_kill.py                       # 20 kills with 0 workers, 20 with 2
    python benchmarks/resume_under_kill.py --tiny                # the toy size: a minute or two, no weights
    python benchmarks/resume_under_kill.py --workers 2 --augment # pictures decoded and augmented by workers

Every other kill hits the writing of a checkpoint (the process is held still to make sure that it does), the
others are spread evenly over the run, each at a random moment of a step. After each kill the real command
line goes on with `--resume`. What must be equal in the end: `model/heads.safetensors` byte for byte, every
line of `metrics.jsonl` and all of `results.json`, except for the clock. Prints a table and EQUAL or
DIFFERENT, and exits with 1 when they differ. Without `data/emoji` (edge-glass data build emoji) it is the toy
size.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

from machine import describe

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "resume"))
from killing import Run, kill_at_line, kill_while_saving

EMOJI = Path("data/emoji/train.parquet")
RANDOMNESS = [
    *("vision_encoder.head.dropout=0.2", "text_encoder.head.dropout=0.2", "dataset.text_dropout_prob=0.2"),
    *("training.eval_epochs=1", "training.report_to=[]"),
]
AUGMENT = ["training.feature_cache=off", "dataset.augmentation=crop_flip"]


def main() -> None:
    """Run, kill, compare, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 2])
    parser.add_argument("--config", type=Path, default=Path("configs/quickstart.yaml"))
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--augment", action="store_true", help="No cache: workers decode and augment.")
    parser.add_argument("--seed", type=int, default=None, help="Of the moments; default: new ones each time.")
    arguments = parser.parse_args()
    tiny = arguments.tiny or not EMOJI.exists()
    seed = arguments.seed if arguments.seed is not None else random.randrange(2**32)
    options = RANDOMNESS + AUGMENT * arguments.augment + ["training.epochs=20"] * tiny
    print(describe())
    print(f"{arguments.config}, {'toy size' if tiny else 'emoji'}, {' '.join(options)}, --seed {seed}\n")
    with tempfile.TemporaryDirectory() as folder:
        settings = {"config": arguments.config, "tiny": tiny, "threads": None}
        through = Run(Path(folder) / "through", options, **settings)
        start = time.perf_counter()
        through.finish(resume=False)
        print(f"left alone: {through.logged()} log lines, {time.perf_counter() - start:.0f} s\n")
        equal = True
        for workers in arguments.workers:
            run = Run(
                Path(folder) / f"killed{workers}", [*options, f"dataset.num_workers={workers}"], **settings
            )
            kills = kill_again_and_again(run, through, arguments.kills, random.Random(seed + workers))
            run.finish()
            same = {name: run.outcome()[name] == value for name, value in through.outcome().items()}
            words = ", ".join(f"{name} {'equal' if one else 'DIFFERENT'}" for name, one in same.items())
            print(f"{workers} workers, {kills} kills: {words}\n")
            equal = equal and all(same.values()) and kills == arguments.kills
    print("EQUAL" if equal else "DIFFERENT")
    sys.exit(0 if equal else 1)


def kill_again_and_again(run: Run, through: Run, kills: int, chance: random.Random) -> int:
    """Kill a run that many times; prints a line for each, and returns how many hit."""
    lines, step_seconds = through.logged(), seconds_between_lines(through)
    # Every other kill lies this far in the run; the last few lines are left for the way to the end.
    moments = iter(sorted(chance.uniform(0, lines - 2) for _ in range((kills + 1) // 2)))
    print("kill  hit                 lines  goes on from step  half-written  seconds")
    hits = 0
    for kill in range(kills):
        start, resume = time.perf_counter(), kill > 0
        if kill % 2 == 0:
            line = int(next(moments))
            hit = kill_at_line(run, line, resume=resume, chance=chance, within=step_seconds)
            what = f"after line {line}"
        else:
            hit, what = kill_while_saving(run, resume=resume), "while saving"
        hits += hit
        left = len(list((run.folder / "checkpoints").glob(".tmp-*")))
        newest = max(run.whole_steps(), default=0)
        seconds = time.perf_counter() - start
        found = f"{run.logged():>5}  {newest:>17}  {left:>12}  {seconds:>7.1f}"
        print(f"{kill + 1:>4}  {what if hit else 'came too late':<18}  {found}", flush=True)
    return hits


def seconds_between_lines(run: Run) -> float:
    """Median time from one log line to the next."""
    lines = [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]
    times = [line["time"] for line in lines]
    return statistics.median(after - before for before, after in pairwise(times))


if __name__ == "__main__":
    main()
