"""The modules of the house and what they import, read from their syntax trees."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

SRC = Path(__file__).parents[2] / "src"
PACKAGES = ("edge_glass", "edge_glass_scenes")


class Import(NamedTuple):
    """An import written in line `line` of module `module`; `imported` is a module, or a name in a package."""

    module: str
    line: int
    imported: str


def modules() -> dict[str, Path]:
    """Return every module of the house by its dotted name."""
    found = {}
    for package in PACKAGES:
        for path in sorted((SRC / package).rglob("*.py")):
            name = ".".join(path.relative_to(SRC).with_suffix("").parts)
            found[name.removesuffix(".__init__")] = path
    return found


def room_of(module: str) -> str:
    """Return the room of a module: `data` for `edge_glass.data.rows`, `__init__` for `edge_glass`."""
    first, *rest = module.split(".")
    if first != "edge_glass":
        return first
    return rest[0] if rest else "__init__"


def imports_of(module: str, source: str, is_package: bool = False) -> Iterator[Import]:
    """Yield what a module imports of the house: at its top, inside functions and under TYPE_CHECKING."""
    package = module.split(".") if is_package else module.split(".")[:-1]
    for node in ast.walk(ast.parse(source)):
        targets: list[str] = []
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            origin = ".".join([*above, *([node.module] if node.module else [])])
            # `from edge_glass import __version__` needs nothing of the house.
            names = [alias.name for alias in node.names if not alias.name.startswith("__")]
            targets = [f"{origin}.{name}" for name in names]
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if called in ("import_module", "__import__") and isinstance(node.args[0].value, str):
                targets = [node.args[0].value]
        for target in targets:
            if target.split(".")[0] in PACKAGES:
                yield Import(module, node.lineno, target)


def all_imports() -> list[Import]:
    """Return all imports of the house, each by the module it reaches."""
    known = modules()
    found = []
    for module, path in known.items():
        source = path.read_text(encoding="utf-8")
        for one in imports_of(module, source, is_package=path.name == "__init__.py"):
            name = one.imported
            found.append(one._replace(imported=name if name in known else name.rpartition(".")[0] or name))
    return found
