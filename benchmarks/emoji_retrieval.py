"""Held-out emoji: 300 names never seen in training, one caption each, five seeds.

    python benchmarks/emoji_retrieval.py [KEY=VALUE ...] [--config FILE] [--seeds 0 1 2 3 4]

Prints mean and spread of R@1 and R@10 both ways at every Matryoshka dimension, beside the untouched model and
the closed form on the same features.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import tempfile
import time
from pathlib import Path

from machine import describe

METRICS = ("i2t_r1", "i2t_r10", "t2i_r1", "t2i_r10")


def main() -> None:
    """Run all seeds and print one table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", type=Path, default=Path("configs/quickstart.yaml"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    arguments = parser.parse_args()
    logging.disable(logging.INFO)

    import edge_glass
    from edge_glass.config import load_config

    print(describe())
    results = []
    with tempfile.TemporaryDirectory() as folder:
        for seed in arguments.seeds:
            config = load_config(arguments.config, [f"seed={seed}", *arguments.overrides])
            start = time.perf_counter()
            results.append(
                edge_glass.train(config, output=Path(folder) / f"seed{seed}", progress=False).results
            )
            print(f"seed {seed}: {time.perf_counter() - start:.0f} s in all", flush=True)
    below = {name.partition("@")[2] for name in results[0]["metrics"] if "@" in name}
    dimensions = ["", *sorted(below, key=int, reverse=True)]
    print(f"\n{'':28s}" + "".join(f"{metric:>18s}" for metric in METRICS))
    for part in ("baseline", "closed_form", "metrics"):
        for dimension in dimensions:
            names = [f"{metric}@{dimension}" if dimension else metric for metric in METRICS]
            if all(names[0] in result.get(part, {}) for result in results):
                label = {"baseline": "untouched", "closed_form": "closed form", "metrics": "trained"}[part]
                cells = "".join(f"{spread(results, part, name):>18s}" for name in names)
                print(f"{label + ' ' + (dimension or 'full'):28s}{cells}")


def spread(results: list[dict], part: str, name: str) -> str:
    """Mean ± standard deviation over the seeds."""
    values = [result[part][name]["value"] for result in results]
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.fmean(values):.3f} ± {deviation:.3f}"


if __name__ == "__main__":
    main()
