"""Every option of the experiment file does something: some code outside of config reads it.

An option that nothing reads is a lie to the user: it validates, is written into the run folder, and changes
nothing. Reading means an attribute of that name, `….warmup_ratio`, or the whole section it stands in,
`losses.pairs.model_dump()`, whose values then are arguments by name; what config/ itself does (checks, toy
settings) does not count.
"""

from __future__ import annotations

import ast
from pathlib import Path

from edge_glass.config.fields import walk
from edge_glass.config.schema import TASKS, config_class

ROOT = Path(__file__).parents[2] / "src" / "edge_glass"


def attributes_read(source: str) -> set[str]:
    """Names of all attributes that a source text loads."""
    return {
        node.attr
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load)
    }


def sections_read(source: str) -> set[str]:
    """Names of all sections that a source text takes as a whole: no argument chooses among their keys."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Call(ast.Attribute(ast.Attribute(attr=name) | ast.Name(id=name), "model_dump"), [], []):
                found.add(name)
    return found


def test_every_option_is_read() -> None:
    read: set[str] = set()
    whole: set[str] = set()
    for path in ROOT.rglob("*.py"):
        if path.relative_to(ROOT).parts[0] != "config":
            source = path.read_text(encoding="utf-8")
            read |= attributes_read(source)
            whole |= sections_read(source)
    paths = {key: key.split(".") for task in TASKS.names() for key, _ in walk(config_class(task))}
    unread = [key for key, path in paths.items() if path[-1] not in read and not whole & set(path[-2:-1])]
    assert unread == [], f"nothing reads {', '.join(unread)}"


def test_only_loading_counts_as_reading() -> None:
    assert attributes_read("x = config.training.epochs\nself.lr = 3\nf(seed=1)\n'config.name'") == {
        "training",
        "epochs",
    }


def test_only_a_section_as_a_whole_counts_as_read() -> None:
    source = "a.pairs.model_dump().items()\nperceiver.model_dump()\nb.head.model_dump(include={'x'})\nb.c"
    assert sections_read(source) == {"pairs", "perceiver"}
