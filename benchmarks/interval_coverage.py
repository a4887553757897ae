"""How often do 95 % intervals hold the truth, and how often are two equally good models told apart?

    .venv/bin/python benchmarks/interval_coverage.py            # 2,000 trials each
    .venv/bin/python benchmarks/interval_coverage.py --short    # 200

For each shape and number of groups: the share of trials in which the interval holds the true difference,
and in which it says "improved" when that is 0; beside them the middle 95 % of the draws.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np

from edge_glass.evaluation.intervals import TAIL, estimate_mean

GROUPS = (2, 3, 5, 10, 20, 50)
SAMPLES = 1000

Rows = tuple[np.ndarray, np.ndarray]
"""Differences of two models on each row, and the group of each row."""


def _alone(values: np.ndarray) -> Rows:
    return values, np.arange(len(values))


def _unequal(generator: np.random.Generator, groups: int) -> Rows:
    sizes = generator.geometric(0.3, groups)
    units = np.repeat(np.arange(groups), sizes)
    return generator.normal(0, 0.3, groups)[units] + generator.normal(0, 1, len(units)), units


SHAPES: dict[str, Callable[[np.random.Generator, int], Rows]] = {
    "normal": lambda draw, n: _alone(draw.normal(0, 1, n)),
    "skewed both ways": lambda draw, n: _alone(draw.exponential(1, n) - draw.exponential(0.5, n) - 0.5),
    "exponential": lambda draw, n: _alone(draw.exponential(1, n) - 1),
    "right or wrong": lambda draw, n: _alone((draw.random(n) < 0.5) * 1.0 - (draw.random(n) < 0.5)),
    "rarely different": lambda draw, n: _alone((draw.random(n) < 0.05) * 1.0 - (draw.random(n) < 0.05)),
    "unequal groups": _unequal,
}


def main() -> None:
    """Measure and print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--short", action="store_true")
    trials = 200 if parser.parse_args().short else 2000
    print("| differences | " + " | ".join(f"{count} groups" for count in GROUPS) + " |")
    print("|---" * (len(GROUPS) + 1) + "|")
    for shape, draw in SHAPES.items():
        cells = []
        for groups in GROUPS:
            generator = np.random.default_rng(groups)
            held = improved = middle = 0
            for trial in range(trials):
                values, units = draw(generator, groups)
                found = estimate_mean(values, units, SAMPLES, trial, bounds=(-1.0, 1.0))
                interval, ends = found.interval(), np.quantile(found.draws, [TAIL, 1 - TAIL])
                held += interval.low <= 0 <= interval.high
                improved += interval.low > 0
                middle += ends[0] <= 0 <= ends[1]
            cells.append(f"{held / trials:.3f}, {improved / trials:.3f} ({middle / trials:.3f})")
        print(f"| {shape} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
