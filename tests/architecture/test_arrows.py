"""Imports point down only: cli → api → experiment → wings → tasks → … → encoders → assets → config → core.

The imports of every file are read from its syntax tree, with those inside functions and under TYPE_CHECKING.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable

import pytest
from house import Import, all_imports, imports_of, modules, room_of

# Level of each room; a room may import rooms of lower levels only. New rooms have to be entered.
LEVELS = {
    "core": 0,
    "config": 1,
    "migrating": 1,
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
    "edge_glass_scenes": 8,
    "experiment": 9,
    "corpora": 9,
    "api": 10,
    "cli": 11,
    "__init__": 11,
    "__main__": 12,
}


# The package beside the toolkit stands on less than its level allows, and only corpora use it.
SCENES = "edge_glass_scenes"
SCENES_USE = ("core", "assets", "data")
USE_SCENES = "corpora"

HEAVY = {"torch", "timm", "transformers", "sentence_transformers", "sklearn", "matplotlib", "pandas"} | {
    *("soundfile", "soxr", "ctranslate2", "pyarrow"),
}


def wrong_arrows(imports: Iterable[Import]) -> list[str]:
    """One line for each import that points up, sideways or to an unknown room."""
    lines = []
    for one in imports:
        room, target = room_of(one.module), room_of(one.imported)
        if room == target:
            continue
        where = f"{one.module}:{one.line}: {room} imports {one.imported}"
        unknown = [name for name in (room, target) if name not in LEVELS]
        if unknown:
            lines.append(f"{where}: {unknown[0]} is not in LEVELS")
        elif LEVELS[target] >= LEVELS[room]:
            way = "sideways" if LEVELS[target] == LEVELS[room] else "up"
            lines.append(f"{where}: the arrow points {way}")
        elif (room == SCENES and target not in SCENES_USE) or (target == SCENES and room != USE_SCENES):
            lines.append(f"{where}: only {USE_SCENES} use scenes, scenes only {SCENES_USE}")
    return lines


def test_arrows_point_down() -> None:
    imports = all_imports()
    assert imports
    assert wrong_arrows(imports) == []


def test_every_room_has_a_level() -> None:
    assert {room_of(module) for module in modules()} == set(LEVELS)


def test_imported_modules_exist() -> None:
    """Also those that only a function imports, which no test of that function may have run yet."""
    known = modules()
    assert [one for one in all_imports() if one.imported not in known] == []


@pytest.mark.parametrize(
    ("module", "source", "says"),
    [
        (
            "edge_glass.data.rows",
            "from edge_glass.training import trainer",
            "data imports edge_glass.training.trainer: the arrow points sideways",
        ),
        (
            "edge_glass.data.rows",
            "def f():\n    from ..training.trainer import x",
            "data imports edge_glass.training.trainer.x: the arrow points sideways",
        ),
        (
            "edge_glass.encoders.mrl",
            "import edge_glass.alignment.model.loss as l",
            "encoders imports edge_glass.alignment.model.loss: the arrow points up",
        ),
        (
            "edge_glass.config.loading",
            "from edge_glass import assets",
            "config imports edge_glass.assets: the arrow points up",
        ),
        (
            "edge_glass.reporting.page",
            "from edge_glass.tasks import finding",
            "reporting imports edge_glass.tasks.finding: the arrow points up",
        ),
        (
            "edge_glass.decoders.blocks",
            "from edge_glass import load_config",
            "decoders imports edge_glass.load_config: load_config is not in LEVELS",
        ),
        (
            "edge_glass.decoders.blocks",
            "if TYPE_CHECKING:\n    from ..cli import main",
            "decoders imports edge_glass.cli.main: the arrow points up",
        ),
        (
            "edge_glass.decoders.blocks",
            "importlib.import_module('edge_glass.data.rows')",
            "decoders imports edge_glass.data.rows: the arrow points up",
        ),
        (
            "edge_glass_scenes.emoji_scenes",
            "from edge_glass.corpora.emoji import build_emoji",
            "edge_glass_scenes imports edge_glass.corpora.emoji.build_emoji: the arrow points up",
        ),
        (
            "edge_glass_scenes.emoji_scenes",
            "import edge_glass.training.loop",
            "edge_glass_scenes imports edge_glass.training.loop: "
            "only corpora use scenes, scenes only ('core', 'assets', 'data')",
        ),
        (
            "edge_glass.experiment.run",
            "import edge_glass_scenes.emoji_scenes",
            "experiment imports edge_glass_scenes.emoji_scenes: "
            "only corpora use scenes, scenes only ('core', 'assets', 'data')",
        ),
        (
            "edge_glass.decoders.blocks",
            "import edge_glass",
            "decoders imports edge_glass: the arrow points up",
        ),
    ],
)
def test_a_wrong_import_is_caught(module: str, source: str, says: str) -> None:
    found = wrong_arrows(imports_of(module, source))
    line = source.count("\n") + 1
    assert found == [f"{module}:{line}: {says}"]


@pytest.mark.parametrize(
    ("module", "source"),
    [
        (
            "edge_glass.alignment.task",
            "from edge_glass.tasks import finding\nfrom edge_glass import core, data",
        ),
        (
            "edge_glass.data.rows",
            "from . import pictures\nfrom .pictures import x\nfrom edge_glass.data import pictures",
        ),
        ("edge_glass_scenes.emoji_scenes", "from edge_glass import assets, data"),
        ("edge_glass.corpora.building", "from edge_glass_scenes import emoji_scenes"),
        ("edge_glass.training.environment", "from edge_glass import __version__"),
        ("edge_glass.data.rows", "import edge_glass_of_another_kind"),
    ],
)
def test_a_right_import_is_not(module: str, source: str) -> None:
    assert wrong_arrows(imports_of(module, source)) == []


@pytest.mark.parametrize("module", ["edge_glass", "edge_glass.config", "edge_glass.assets", "edge_glass.cli"])
def test_heavy_libraries_wait_until_they_are_needed(module: str) -> None:
    code = f"import sys, {module}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert HEAVY & set(done.stdout.split()) == set()
