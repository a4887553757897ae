"""Run folders made at a1cb8ce give a full report: all plots that they have data for, and the page."""

from __future__ import annotations

import base64
import shutil
from pathlib import Path

import pytest

from edge_glass.experiment.report import describe_run, write_report
from edge_glass.reporting.run_folder import RunFolder
from edge_glass.reporting.wording import metric_label

MADE = Path(__file__).parent / "made_by_a1cb8ce"
PLOTS = {
    "alignment": {
        *("training_curves", "mrl_performance", "similarity_matrix", "embedding_space"),
        *("embedding_space_tsne", "loss_components", "lr_schedule"),
    },
    "instruction": {"training_curves", "answer_metrics", "answer_types", "loss_components", "lr_schedule"},
    "detection": {
        *("training_curves", "detection_metrics", "iou_histogram", "gradient_norms", "lr_schedule"),
    },
}
"""Task → plots of its finished run; that of detection found no box, so it has no centres to compare."""
EXAMPLES = {"alignment": "Drawn at random", "instruction": "Answers over training", "detection": "The worst"}


@pytest.mark.parametrize("task", PLOTS)
def test_a_finished_run_has_its_plots_numbers_and_examples(task: str, tmp_path: Path) -> None:
    run = Path(shutil.copytree(MADE / task / "finished", tmp_path / "run"))

    page = write_report(run).read_text(encoding="utf-8")

    drawn = {path.stem: path.read_bytes() for path in (run / "plots").glob("*.png")}
    assert set(drawn) == PLOTS[task]
    for name, data in drawn.items():
        assert base64.b64encode(data).decode("ascii") in page, name
    assert "The numbers" in page and ' primary"' in page, "the row of the metric that decides is marked"
    assert EXAMPLES[task] in page
    assert metric_label(RunFolder(run).results["verdict"]["metric"]) in describe_run(run)


@pytest.mark.parametrize("task", PLOTS)
def test_a_half_finished_run_has_its_curves(task: str, tmp_path: Path) -> None:
    run = Path(shutil.copytree(MADE / task / "half", tmp_path / "run"))

    page = write_report(run).read_text(encoding="utf-8")

    assert "no result yet" in page
    assert {"training_curves", "lr_schedule"} <= {path.stem for path in (run / "plots").glob("*.png")}
