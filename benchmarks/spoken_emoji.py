"""Spoken emoji names: 300 names and three voices never heard in training, three seeds.

    edge-glass data build emoji --speech
    python benchmarks/spoken_emoji.py [KEY=VALUE ...] [--seeds 0 1 2]

Prints mean and spread of R@1 and R@10 in all six directions, beside the untouched model and the closed form;
and whether pictures and words pay for the third modality: the paired difference to `configs/quickstart.yaml`,
the model of two, with its 95 % interval over the test emoji.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
import time
from pathlib import Path
from typing import Any

from emoji_retrieval import spread
from machine import describe

DIRECTIONS = ("a2t", "t2a", "a2v", "v2a", "i2t", "t2i")


def main() -> None:
    """Run all seeds and print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    arguments = parser.parse_args()
    logging.disable(logging.INFO)
    print(describe())
    three, two, differences = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        for seed in arguments.seeds:
            start = time.perf_counter()
            run = Path(folder) / f"three-{seed}"
            three.append(_train("configs/trimodal_emoji.yaml", run, seed, arguments.overrides))
            pair = Path(folder) / f"two-{seed}"
            two.append(_train("configs/quickstart.yaml", pair, seed, []))
            differences.append(_difference(run, pair))
            print(f"seed {seed}: {time.perf_counter() - start:.0f} s in all", flush=True)
    for part, label in (("baseline", "untouched"), ("closed_form", "closed form"), ("metrics", "trained")):
        print(f"\n{label:12s}" + "".join(f"{direction:>16s}" for direction in DIRECTIONS))
        for measure in ("r1", "r10", "r1@512", "r1@256", "r1@128"):
            names = [f"{direction}_{measure}" for direction in DIRECTIONS]
            print(f"{measure:12s}" + "".join(f"{spread(three, part, name):>16s}" for name in names))
    print("\ntwo modalities: " + ", ".join(f"{n} {spread(two, 'metrics', n)}" for n in ("i2t_r1", "t2i_r1")))
    for seed, lines in zip(arguments.seeds, differences, strict=True):
        print(f"seed {seed}, three minus two: {lines}")


def _train(config: str, folder: Path, seed: int, overrides: list[str]) -> dict[str, Any]:
    import edge_glass
    from edge_glass.config import load_config

    loaded = load_config(Path(config), [f"seed={seed}", *overrides])
    return edge_glass.train(loaded, output=folder, progress=False).results


def _difference(three: Path, two: Path) -> str:
    """Paired bootstrap of the difference between two runs, over the test emoji."""
    from edge_glass.alignment.measure.archive import load_archive
    from edge_glass.alignment.measure.metrics import estimate_retrieval
    from edge_glass.alignment.measure.retrieval import retrieval_hits

    estimates = []
    for folder in (three, two):
        archive = load_archive(folder, "test")
        result = retrieval_hits(
            archive.image_embeddings, archive.text_embeddings, archive.image_groups, archive.text_groups
        )
        estimates.append(estimate_retrieval(result))
    found = {name: estimates[0][name].minus(estimates[1][name]) for name in ("i2t_r1", "t2i_r1", "mean_r1")}
    return ", ".join(f"{n} {d.value:+.3f} [{d.low:+.3f}, {d.high:+.3f}]" for n, d in found.items())


if __name__ == "__main__":
    main()
