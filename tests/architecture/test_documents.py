"""Every path that README, CONTRIBUTING and docs/architecture.md name exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HOMES = (ROOT, ROOT / "docs", ROOT / "src/edge_glass", ROOT / "src/edge_glass/alignment")
DOCUMENTS = ("README.md", "CONTRIBUTING.md", "docs/architecture.md")
WRITTEN = re.compile(r"`([\w.{}-]+(?:/[\w.{}-]+)*/?)`|\]\(([^)#:]+)\)")
OF_A_RUN = ("runs/", "report.html")


def named_paths(text: str) -> list[str]:
    """Return the paths in a text: links, and what stands in `code` and has a slash or the name of a file."""
    text = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    found = [code or link for code, link in WRITTEN.findall(text)]
    return [one for one in found if "/" in one or one.endswith((".py", ".md", ".yaml"))]


def exists(path: str) -> bool:
    """Whether a path is there; of `encoders/NAME.py`, whether the folder has such files."""
    if path.endswith("NAME.py"):
        return any(any((home / path).parent.glob("[a-z]*.py")) for home in HOMES)
    return any((home / path).exists() for home in HOMES)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_named_paths_exist(document: str) -> None:
    paths = named_paths((ROOT / document).read_text(encoding="utf-8"))
    assert len(paths) > 5
    assert [path for path in paths if not path.startswith(OF_A_RUN) and not exists(path)] == []


def test_the_tree_names_every_room() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    tree = text[text.index("```text\nsrc/edge_glass/") :].split("```")[1]
    named = set(re.findall(r"^  (\w+)/", tree, flags=re.MULTILINE))
    rooms = {path.parent.name for path in (ROOT / "src/edge_glass").glob("*/__init__.py")}
    assert named == rooms


def test_a_path_that_is_not_there_is_found() -> None:
    text = "`edge-glass train` and `encoders/nowhere.py`, [here](docs/none.md), `data/samples.py`, `[B, N]`"
    assert [one for one in named_paths(text) if not exists(one)] == ["encoders/nowhere.py", "docs/none.md"]
