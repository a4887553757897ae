"""Directions of metrics."""

from __future__ import annotations


def higher_is_better(metric: str) -> bool:
    """Direction of a metric by its name: losses, median ranks and shares of bad answers are better when low.

    A part of the split does not count: `exact_match/type/hair loss` is an exact match.
    """
    whole = metric.removeprefix("train/").removeprefix("val/")
    base = whole.split("/", 1)[0].split("@", 1)[0]
    return not (base.endswith(("medr", "loss", "never_ended", "unparsable")) or base.startswith("loss"))
