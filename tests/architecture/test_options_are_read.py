"""Every option of the experiment file does something: some code outside of config reads it.

An option that nothing reads is a lie to the user: it validates, is written into the run folder, and changes
nothing. Reading means an attribute of that name, `….warmup_ratio`; what config/ itself does (checks, toy
settings) does not count.
"""

from __future__ import annotations

import ast
from pathlib import Path

from edge_glass.config.fields import walk

ROOT = Path(__file__).parents[2] / "src" / "edge_glass"


def attributes_read(source: str) -> set[str]:
    """Names of all attributes that a source text loads."""
    return {
        node.attr
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load)
    }


def test_every_option_is_read() -> None:
    read: set[str] = set()
    for path in ROOT.rglob("*.py"):
        if path.relative_to(ROOT).parts[0] != "config":
            read |= attributes_read(path.read_text(encoding="utf-8"))
    unread = [key for key, _ in walk() if key.rpartition(".")[2] not in read]
    assert unread == [], f"nothing reads {', '.join(unread)}"


def test_only_loading_counts_as_reading() -> None:
    assert attributes_read("x = config.training.epochs\nself.lr = 3\nf(seed=1)\n'config.name'") == {
        "training",
        "epochs",
    }
