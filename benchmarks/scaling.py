"""Two processes on two cores against one process with two threads, from cached features.

    edge-glass data build emoji --speech
    python benchmarks/scaling.py [--config FILE] [--rounds 3] [KEY=VALUE ...]

Both see the same global batches. Prints samples/s of the steps alone (the first ones and the evaluations left
out) and the ratio of each round; the two take turns, because machines are noisy.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from machine import describe

WARM_UP_STEPS = 20


def main() -> None:
    """Run the rounds and print one line each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", default="configs/quickstart.yaml")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--batch", type=int, default=512, help="rows of a global batch")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    arguments = parser.parse_args()
    print(describe())
    ratios = []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(arguments.rounds):
            rates = [_rate(arguments, Path(folder) / f"{number}-{ranks}", ranks) for ranks in (1, 2)]
            ratios.append(rates[1] / rates[0])
            print(
                f"round {number}: 1 process {rates[0]:,.0f} samples/s, 2 processes {rates[1]:,.0f}, "
                f"ratio {ratios[-1]:.2f}",
                flush=True,
            )
    print(f"median ratio {statistics.median(ratios):.2f}")


def _rate(arguments: argparse.Namespace, folder: Path, ranks: int) -> float:
    """Samples a second of the training steps."""
    launch = [sys.executable, "-m", "edge_glass"]
    if ranks > 1:
        launch = [
            sys.executable,
            "-m",
            "torch.distributed.run",
            f"--nproc_per_node={ranks}",
            "-m",
            "edge_glass",
        ]
    settings = [
        f"dataset.batch_size={arguments.batch // ranks}",
        f"training.num_threads={2 // ranks}",
        f"training.epochs={arguments.epochs}",
        f"training.eval_epochs={arguments.epochs}",
        "training.logging_steps=1",
        "training.device=cpu",
        *arguments.overrides,
    ]
    threads = {"OMP_NUM_THREADS": str(2 // ranks)}
    subprocess.run(
        [*launch, "-q", "train", arguments.config, "--output", str(folder), *settings],
        env=os.environ | threads,
        check=True,
        capture_output=True,
    )
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    steps = [line for line in lines if "train/loss" in line and line["step"] >= WARM_UP_STEPS]
    # Rows an epoch are the same for both, whatever the last batch of an epoch is.
    rows = (steps[-1]["epoch"] - steps[0]["epoch"]) * json.loads((folder / "results.json").read_text())[
        "data"
    ]["train"]["rows"]
    return rows / (steps[-1]["time"] - steps[0]["time"])


if __name__ == "__main__":
    main()
