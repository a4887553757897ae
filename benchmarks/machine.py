"""The machine a benchmark ran on, in one line."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path


def describe() -> str:
    """Processor, cores, memory, load and the versions that matter."""
    name = platform.processor() or platform.machine()
    with Path("/proc/cpuinfo").open(encoding="utf-8") as stream:
        for line in stream:
            if line.startswith("model name"):
                name = line.partition(":")[2].strip()
                break
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    packages = ", ".join(f"{package} {version(package)}" for package in ("torch", "transformers", "timm"))
    load = f"load {os.getloadavg()[0]:.1f}"
    hardware = f"{name}, {os.cpu_count()} cores, {memory:.0f} GiB, {load}"
    return f"{hardware}; Python {platform.python_version()}, {packages}"
