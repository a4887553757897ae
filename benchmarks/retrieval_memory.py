"""Ranking against 100,000 candidates: peak memory and time.

    python benchmarks/retrieval_memory.py [--candidates 100000] [--queries 4000] [--dimensions 512]

Memory does not depend on the number of queries, which are compared in chunks.
"""

from __future__ import annotations

import argparse
import resource
import time

import numpy as np
from machine import describe


def main() -> None:
    """Rank random embeddings and print the peak of this process."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--candidates", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=4_000)
    parser.add_argument("--dimensions", type=int, default=512)
    arguments = parser.parse_args()

    from edge_glass.alignment.measure.retrieval import ranks

    print(describe())
    before = peak()
    generator = np.random.default_rng(0)
    candidates = generator.standard_normal((arguments.candidates, arguments.dimensions), dtype=np.float32)
    queries = candidates[: arguments.queries]
    groups = np.arange(arguments.candidates)
    start = time.perf_counter()
    found = ranks(queries, candidates, groups[: arguments.queries], groups)
    seconds = time.perf_counter() - start
    assert (found == 1).all()
    print(f"{arguments.queries:,} queries x {arguments.candidates:,} candidates x {arguments.dimensions}")
    print(f"{seconds:.1f} s; peak {peak():.2f} GB, of which {before:.2f} GB before (imports)")


def peak() -> float:
    """Peak resident memory of this process in GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


if __name__ == "__main__":
    main()
