"""The lessons run from top to bottom in their tiny form, and each .ipynb is the twin of its .py."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import jupytext
import pytest
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient

from patience import PATIENCE

ROOT = Path(__file__).parents[1]
NOTEBOOKS = ROOT / "notebooks"
LESSONS = sorted(file.stem for file in NOTEBOOKS.glob("*.py"))


@pytest.fixture
def kernel(tmp_path: Path) -> AsyncKernelManager:
    """A Python kernel of this interpreter, whatever kernels are installed for the user."""
    folder = tmp_path / "kernels" / "lesson"
    folder.mkdir(parents=True)
    command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    spec = {"argv": command, "display_name": "lesson", "language": "python"}
    (folder / "kernel.json").write_text(json.dumps(spec), encoding="utf-8")
    specs = KernelSpecManager(kernel_dirs=[str(folder.parent)])
    return AsyncKernelManager(kernel_name="lesson", kernel_spec_manager=specs)


def test_there_are_lessons() -> None:
    expected = {
        "01_vision_text_alignment",
        "02_pixmo_vision_text_alignment",
        "03_trm_vlm_qa_training",
        "04_trimodal_alignment",
        "detection_01_dataset_exploration",
        "detection_02_model_understanding",
        "detection_03_training_comparison",
        "detection_04_evaluation_analysis",
        "fine_tuning_vlm_for_object_detection",
    }
    assert expected <= set(LESSONS)


@pytest.mark.slow
@pytest.mark.parametrize("lesson", LESSONS)
def test_lesson_runs_in_tiny_form(
    lesson: str, kernel: AsyncKernelManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGE_GLASS_TINY", "1")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    # One from the folder of the notebooks, as Jupyter starts it, one from the root, as some editors do.
    folder = NOTEBOOKS if LESSONS.index(lesson) % 2 == 0 else ROOT
    notebook = jupytext.read(NOTEBOOKS / f"{lesson}.py")
    where = {"metadata": {"path": str(folder)}}
    waits = {"timeout": 6 * PATIENCE, "startup_timeout": PATIENCE, "iopub_timeout": PATIENCE}
    client = NotebookClient(notebook, km=kernel, resources=where, **waits)
    client.execute()  # raises CellExecutionError with the cell and its traceback
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    mime_types = {mime for output in outputs for mime in output.get("data", {})}
    assert {"image/png", "application/vnd.plotly.v1+json", "text/markdown"} <= mime_types


@pytest.mark.parametrize("lesson", LESSONS)
def test_ipynb_is_the_twin_of_its_py(lesson: str) -> None:
    script = jupytext.read(NOTEBOOKS / f"{lesson}.py")
    notebook = jupytext.read(NOTEBOOKS / f"{lesson}.ipynb")
    written, stored = ([(cell.cell_type, cell.source) for cell in book.cells] for book in (script, notebook))
    assert stored == written, f"{lesson}.ipynb is not its .py; `make notebooks` brings them together"


@pytest.mark.parametrize("lesson", LESSONS)
def test_stored_outputs_are_small_and_tell_nothing_of_the_machine(lesson: str) -> None:
    text = (NOTEBOOKS / f"{lesson}.ipynb").read_text(encoding="utf-8")
    assert len(text) < 300_000
    outputs = [cell.get("outputs", []) for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
    stored = json.dumps(outputs)
    for place in ("/tmp/", "/home/", "/root/", "/Users/", "site-packages", str(ROOT)):
        assert place not in stored, f"{lesson}.ipynb: an output names {place}"
    assert '"error"' not in stored
