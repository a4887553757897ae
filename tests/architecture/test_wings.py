"""Every task stands alone: using one loads no module of another, and nobody else asks which task it is."""

from __future__ import annotations

import ast
import subprocess
import sys

import pytest
from house import modules, room_of

from edge_glass.tasks.registry import TASKS

WINGS = ("alignment", "detection", "instruction")

# The registry says what a task's name stands for; a task's own file may say its name.
MAY_ASK = ("edge_glass.tasks.registry", "edge_glass.tasks.finding", "edge_glass.experiment.tasks")

# Files that still ask.
ASKING = ("edge_glass.experiment.visualizer",)


def test_every_task_is_a_wing() -> None:
    assert tuple(TASKS.names()) == WINGS


@pytest.mark.parametrize("wing", WINGS)
def test_a_wing_loads_no_other(wing: str) -> None:
    own = [name for name in modules() if name.startswith(f"edge_glass.{wing}.")]
    assert len(own) > 10
    load = "for name in sys.argv[1:]: importlib.import_module(name)"
    code = f"import importlib, sys\n{load}\nprint(*sys.modules)"
    command = [sys.executable, "-c", code, f"edge_glass.experiment.tasks.{wing}", *own]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    loaded = {room_of(name) for name in done.stdout.split() if name.startswith("edge_glass.")}
    assert wing in loaded and not loaded & (set(WINGS) - {wing})
    kinds = {name for name in done.stdout.split() if name.startswith("edge_glass.experiment.tasks.")}
    assert kinds == {f"edge_glass.experiment.tasks.{wing}"}


def questions(source: str) -> list[int]:
    """Return the lines that ask which task it is: `config.task == …`, `task in (…)`, `match config.task`."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Compare):
            asked = [node.left, *node.comparators]
        elif isinstance(node, ast.Match):
            asked = [node.subject]
        else:
            continue
        names = {getattr(one, "attr", getattr(one, "id", None)) for one in asked}
        if "task" in names and not any(isinstance(one, ast.Constant) and one.value is None for one in asked):
            found.append(node.lineno)
    return found


def test_nobody_asks_which_task_it_is() -> None:
    asked = [
        f"{name}:{line}"
        for name, path in modules().items()
        if not name.startswith((*MAY_ASK, *ASKING))
        for line in questions(path.read_text(encoding="utf-8"))
    ]
    assert asked == []


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ('if config.task == "detection": ...', [1]),
        ('x = 1\ny = self.run.task != "alignment"', [2]),
        ('if task in ("detection", "instruction"): ...', [1]),
        ('match config.task:\n    case "detection": ...', [1]),
        ("if task is None: ...", []),
        ("kind = task_kind(config.task)", []),
    ],
)
def test_a_question_is_found(source: str, lines: list[int]) -> None:
    assert questions(source) == lines
