"""Imports point down only: cli → tasks → inference … → training … → encoders … → config, assets → errors.

The imports of every file are read from its syntax tree, with those inside functions and under TYPE_CHECKING.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2] / "src" / "edge_glass"

# Level of each room; a room may import rooms of lower levels only. New rooms have to be entered.
LEVELS = {
    "core": 0,
    "config": 1,
    "assets": 2,
    "encoders": 3,
    "decoders": 4,
    "vlm": 5,
    "data": 5,
    "training": 5,
    "evaluation": 5,
    "reporting": 6,
    "tasks": 7,
    "alignment": 8,
    "instruction": 8,
    "detection": 8,
    "experiment": 9,
    "corpora": 9,
    "api": 10,
    "cli": 11,
    "__init__": 11,
    "__main__": 12,
}


HEAVY = {"torch", "timm", "transformers", "sentence_transformers", "sklearn", "matplotlib", "pandas"} | {
    *("soundfile", "soxr", "ctranslate2", "pyarrow"),
}


class Import(NamedTuple):
    """One import of a module of this package, written at `file:line`."""

    file: str
    line: int
    room: str
    module: str

    @property
    def target(self) -> str:
        """The room imported from; the package itself counts as its top."""
        parts = self.module.split(".")
        return parts[1] if len(parts) > 1 else "__init__"


def imports_of(source: str, file: str, module: str) -> Iterator[Import]:
    """All imports of edge_glass modules in a source text; `module` is its dotted name."""
    package = module.split(".") if file.endswith("__init__.py") else module.split(".")[:-1]
    parts = module.split(".")
    room = parts[1] if len(parts) > 1 else "__init__"
    for node in ast.walk(ast.parse(source)):
        targets: list[str] = []
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            origin = ".".join([*above, *([node.module] if node.module else [])])
            # `from edge_glass import data` names a room; `from edge_glass import __version__` does not.
            names = [alias.name for alias in node.names if not alias.name.startswith("__")]
            targets = [f"{origin}.{name}" for name in names] if origin == "edge_glass" else [origin]
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if name in ("import_module", "__import__") and isinstance(node.args[0].value, str):
                targets = [node.args[0].value]
        for target in targets:
            if target.split(".")[0] == "edge_glass":
                yield Import(file, node.lineno, room, target)  # type: ignore[attr-defined]


def wrong_arrows(imports: list[Import]) -> list[str]:
    """One line per import that points up, sideways or to an unknown room."""
    lines = []
    for one in imports:
        if one.room == one.target:
            continue
        where = f"{one.file}:{one.line}: {one.room} imports {one.module}"
        unknown = [room for room in (one.room, one.target) if room not in LEVELS]
        if unknown:
            lines.append(f"{where}: {unknown[0]} is not in LEVELS")
        elif LEVELS[one.target] >= LEVELS[one.room]:
            way = "sideways" if LEVELS[one.target] == LEVELS[one.room] else "up"
            lines.append(f"{where}: the arrow points {way}")
    return lines


def all_imports() -> list[Import]:
    found: list[Import] = []
    for path in sorted(ROOT.rglob("*.py")):
        relative = path.relative_to(ROOT.parent)
        module = ".".join(relative.with_suffix("").parts).removesuffix(".__init__")
        found += imports_of(path.read_text(encoding="utf-8"), str(relative), module)
    return found


def test_arrows_point_down() -> None:
    imports = all_imports()
    assert imports
    assert wrong_arrows(imports) == []


def test_every_room_has_a_level() -> None:
    rooms = {path.stem for path in ROOT.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()}
    assert rooms <= set(LEVELS), f"give {rooms - set(LEVELS)} a level"


def test_imported_modules_exist() -> None:
    """Also those that only a function imports, which no test of that function may have run yet."""
    missing = [
        f"{one.file}:{one.line}: {one.module}"
        for one in all_imports()
        if not (base := ROOT.parent.joinpath(*one.module.split("."))).with_suffix(".py").is_file()
        and not base.is_dir()
        # `from edge_glass import load_config`: a name, not a module
        and one.module.count(".") != 1
    ]
    assert missing == []


@pytest.mark.parametrize(
    ("module", "source", "says"),
    [
        (
            "edge_glass.data.rows",
            "from edge_glass.training import trainer",
            "data imports edge_glass.training: the arrow points sideways",
        ),
        (
            "edge_glass.data.rows",
            "def f():\n    from ..training.trainer import x",
            "data imports edge_glass.training.trainer: the arrow points sideways",
        ),
        (
            "edge_glass.encoders.mrl",
            "import edge_glass.alignment.model.losses as l",
            "encoders imports edge_glass.alignment.model.losses: the arrow points up",
        ),
        (
            "edge_glass.config.loading",
            "from edge_glass import assets",
            "config imports edge_glass.assets: the arrow points up",
        ),
        (
            "edge_glass.reporting.html",
            "from edge_glass.tasks import measuring",
            "reporting imports edge_glass.tasks: the arrow points up",
        ),
        (
            "edge_glass.decoders.trm",
            "from edge_glass import load_config",
            "decoders imports edge_glass.load_config: load_config is not in LEVELS",
        ),
        (
            "edge_glass.decoders.trm",
            "if TYPE_CHECKING:\n    from ..cli import main",
            "decoders imports edge_glass.cli: the arrow points up",
        ),
        (
            "edge_glass.decoders.trm",
            "importlib.import_module('edge_glass.data.rows')",
            "decoders imports edge_glass.data.rows: the arrow points up",
        ),
        (
            "edge_glass.decoders.trm",
            "import edge_glass",
            "decoders imports edge_glass: the arrow points up",
        ),
    ],
)
def test_a_wrong_import_is_caught(module: str, source: str, says: str) -> None:
    found = wrong_arrows(list(imports_of(source, "made_up.py", module)))
    line = source.count("\n") + 1
    assert found == [f"made_up.py:{line}: {says}"]


@pytest.mark.parametrize(
    ("module", "source"),
    [
        (
            "edge_glass.alignment.task",
            "from edge_glass.tasks import measuring\nfrom edge_glass import core, data",
        ),
        (
            "edge_glass.data.rows",
            "from . import pictures\nfrom .pictures import x\nfrom edge_glass.data import pictures",
        ),
        ("edge_glass.training.environment", "from edge_glass import __version__"),
        ("edge_glass.data.rows", "import edge_glass_of_another_kind"),
    ],
)
def test_a_right_import_is_not(module: str, source: str) -> None:
    assert wrong_arrows(list(imports_of(source, "made_up.py", module))) == []


@pytest.mark.parametrize("module", ["edge_glass", "edge_glass.config", "edge_glass.assets", "edge_glass.cli"])
def test_heavy_libraries_wait_until_they_are_needed(module: str) -> None:
    code = f"import sys, {module}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert HEAVY & set(done.stdout.split()) == set()
