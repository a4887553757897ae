"""No circle among modules: whoever reads a file can read what it imports first, and come to an end.

Imports inside functions and under TYPE_CHECKING count: a circle that is hidden from Python is not hidden
from a reader.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from graphlib import CycleError, TopologicalSorter

import pytest
from house import all_imports

# Circles that are still to be opened, by the import that goes first.
OPENING = {
    ("edge_glass.training.saving", "edge_glass.training.loop"),
    ("edge_glass_scenes.packages.marks", "edge_glass_scenes.packages.print_blocks"),
}


def circle(graph: Mapping[str, Iterable[str]]) -> list[str]:
    """Return the modules of a circle, the first one again at the end; empty when there is none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        found: list[str] = error.args[1]
        return found[::-1]
    return []


def test_no_circle() -> None:
    graph: dict[str, set[str]] = {}
    for one in all_imports():
        # `from edge_glass.data import X` in a package's own __init__ reaches the package itself
        if one.imported != one.module and (one.module, one.imported) not in OPENING:
            graph.setdefault(one.module, set()).add(one.imported)
    assert circle(graph) == []


@pytest.mark.parametrize(
    ("graph", "found"),
    [
        ({"a": ["b"], "b": ["c"], "d": ["c"]}, set()),
        ({"a": ["b"], "b": ["c"], "c": ["b"]}, {"b", "c"}),
    ],
)
def test_a_circle_is_found(graph: dict[str, list[str]], found: set[str]) -> None:
    assert set(circle(graph)) == found
