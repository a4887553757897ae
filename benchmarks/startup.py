"""How long `edge-glass --help` and `import edge_glass` take.

python benchmarks/startup.py [--runs 10]
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

from machine import describe

COMMANDS = {
    "edge-glass --help": [str(Path(sys.executable).with_name("edge-glass")), "--help"],
    "edge-glass train --help": [str(Path(sys.executable).with_name("edge-glass")), "train", "--help"],
    "import edge_glass": [sys.executable, "-c", "import edge_glass"],
    "python alone": [sys.executable, "-c", ""],
}


def main() -> None:
    """Time each command as a whole process."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=10)
    runs = parser.parse_args().runs
    print(describe())
    for name, command in COMMANDS.items():
        times = [seconds(command) for _ in range(runs + 1)][1:]
        print(f"{name:26s} median {statistics.median(times):.3f} s, slowest {max(times):.3f} s")


def seconds(command: list[str]) -> float:
    """Wall time of one run."""
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
