"""`import edge_glass` is quick, and leads to everything public: eight verbs, errors, building blocks."""

from __future__ import annotations

import inspect
import pydoc
import subprocess
import sys
from pathlib import Path

import pytest

import edge_glass
from edge_glass.config import dump_config
from edge_glass.core import errors

VERBS = ("load_config", "train", "evaluate", "inspect", "overfit", "ablate", "merge", "load")
QUICKSTART = Path(__file__).parents[2] / "configs" / "quickstart.yaml"


@pytest.mark.parametrize("name", sorted(edge_glass._HOMES))
def test_building_blocks_are_there(name: str) -> None:
    found = getattr(edge_glass, name)
    assert found.__name__ == name and inspect.getdoc(found)
    assert name in dir(edge_glass)


@pytest.mark.parametrize("name", VERBS)
def test_verbs_explain_themselves(name: str) -> None:
    verb = getattr(edge_glass, name)
    text = inspect.getdoc(verb)
    assert text is not None
    assert all(part in text for part in ("Args:", "Raises:", "Example:", ">>> ", f"edge_glass.{name}("))
    described = text.split("Args:")[1].split("Raises:")[0]
    assert all(f"{parameter}: " in described for parameter in inspect.signature(verb).parameters)
    assert name in dir(edge_glass)


def test_help_leads_to_the_verbs() -> None:
    page = pydoc.plain(pydoc.render_doc(edge_glass))
    for name in VERBS:
        assert f"    {name}(" in page and f"edge_glass.{name}(" in page
    assert "class EdgeGlassError(" in page and "class VisionEncoder(" not in page


def test_every_error_is_public() -> None:
    for name, kind in inspect.getmembers(errors, inspect.isclass):
        assert getattr(edge_glass, name) is kind and name in edge_glass.__all__


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'edge_glass' has no attribute 'trainer'"):
        _ = edge_glass.trainer


def test_importing_loads_nothing_heavy() -> None:
    """And neither does looking at the names."""
    code = "import edge_glass, sys; dir(edge_glass), edge_glass.train; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "edge_glass.api" in loaded and not loaded & {"torch", "pydantic", "yaml", "rich", "click", "numpy"}


def test_a_path_will_do_for_an_experiment(tmp_path: Path) -> None:
    written = tmp_path / "toy.yaml"
    written.write_text(dump_config(edge_glass.load_config(QUICKSTART, tiny=True)))
    with pytest.raises(edge_glass.ConfigError, match="`ablation` section"):
        edge_glass.ablate(str(written), tmp_path)
    with pytest.raises(edge_glass.ConfigError, match=r"nowhere\.yaml"):
        edge_glass.train(tmp_path / "nowhere.yaml")


def test_a_folder_without_a_model_is_named(tmp_path: Path) -> None:
    for verb in (edge_glass.load, edge_glass.merge, edge_glass.evaluate):
        with pytest.raises(edge_glass.CheckpointError, match=str(tmp_path)):
            verb(tmp_path)
