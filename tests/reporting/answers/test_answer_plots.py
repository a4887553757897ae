"""Plots of runs of answers: what they show, and that they step aside when their data is missing."""

from __future__ import annotations

import json

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from edge_glass.experiment.visualizer import TrainingVisualizer
from edge_glass.instruction.report.curves import (
    draw_answer_loss_parts,
    draw_answer_metrics,
    draw_answer_training,
    same_series,
)
from edge_glass.instruction.report.types_plot import draw_answer_types
from edge_glass.reporting.run_folder import RunFolder
from edge_glass.reporting.style import STYLE, NothingToPlotError

NAMES = {
    "training_curves.png",
    "answer_metrics.png",
    "answer_types.png",
    "loss_components.png",
    "lr_schedule.png",
}


def drawn(draw, run) -> Figure:
    with matplotlib.rc_context(STYLE):
        figure = Figure()
        draw(run, figure)
    return figure


def titles(figure: Figure) -> list[str]:
    return [axes.get_title(loc="left") for axes in figure.axes]


def words_of(figure: Figure) -> str:
    found = [text.get_text() for axes in figure.axes for text in axes.texts]
    legends = [axes.get_legend() for axes in figure.axes if axes.get_legend()]
    return "\n".join([*found, *(text.get_text() for legend in legends for text in legend.get_texts())])


def run_of(folder, *rows: dict, config: str = "task: instruction") -> RunFolder:
    (folder / "config.yaml").write_text(config)
    (folder / "metrics.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return RunFolder(folder)


def test_all_plots_of_a_finished_run(answered_run):
    visualizer = TrainingVisualizer(answered_run)
    assert {path.name for path in visualizer.plot_all()} == NAMES
    assert visualizer.left_out == {}
    for name in NAMES:
        picture = Image.open(answered_run / "plots" / name)
        assert picture.width >= 1600 and np.asarray(picture.convert("L")).std() > 5


def test_an_empty_run_gives_reasons_instead_of_plots(tmp_path):
    visualizer = TrainingVisualizer(run_of(tmp_path))
    assert visualizer.plot_all() == []
    assert set(visualizer.left_out) == NAMES


def test_loss_and_token_accuracy(answered_run, tmp_path):
    figure = drawn(draw_answer_training, RunFolder(answered_run))
    assert titles(figure) == ["Loss", "Token accuracy"]
    assert "training" in words_of(figure) and "validation" in words_of(figure)
    assert titles(drawn(draw_answer_training, run_of(tmp_path, {"step": 1, "train/loss": 3.0}))) == ["Loss"]


def test_metrics_that_agree_share_a_line(answered_run):
    run = RunFolder(answered_run)
    names = ["vqa_accuracy", "exact_match", "token_f1", "rouge_l"]
    assert same_series(run, names) == [names[:3], names[3:]]
    figure = drawn(draw_answer_metrics, run)
    assert titles(figure) == ["Written answers", "VQA accuracy by type", "Never ended"]
    words = words_of(figure).replace("\n", " ")
    assert "VQA accuracy, exact match, token F1" in words and "ROUGE-L" in words
    assert "always the most frequent answer (test): 0." in words
    assert "color" in words and "yes-no" in words
    assert figure.axes[0].lines[0].get_xdata()[0] == 0, "the untouched model at step 0"


def test_without_types_and_ends_there_is_one_panel(tmp_path):
    run = run_of(
        tmp_path,
        {"step": 0, "val/loss": 4.0, "val/bleu": 0.0, "val/rouge_l": 0.1},
        {"step": 9, "val/loss": 1.0, "val/bleu": 0.2, "val/rouge_l": 0.4},
        config="task: instruction\nevaluation: {primary_metric: rouge_l}",
    )
    figure = drawn(draw_answer_metrics, run)
    assert titles(figure) == ["Written answers"]
    assert [line.get_label() for line in figure.axes[0].lines][:2] == ["ROUGE-L", "BLEU"]


def test_a_metric_that_was_never_finite(tmp_path):
    run = run_of(tmp_path, {"step": 0, "val/vqa_accuracy": float("nan"), "val/never_ended": float("nan")})
    assert titles(drawn(draw_answer_metrics, run)) == ["Written answers", "Never ended"]


def test_parts_of_the_loss_halting_and_gradients(answered_run, tmp_path):
    figure = drawn(draw_answer_loss_parts, RunFolder(answered_run))
    assert titles(figure) == ["Parts of the loss", "Halting", "Norm of the gradient"]
    assert "after the last supervision step" in words_of(figure)
    run = run_of(tmp_path, {"step": 1, "train/loss": 2.0, "train/loss_language": 1.5, "train/epoch": 0.1})
    figure = drawn(draw_answer_loss_parts, run)
    assert titles(figure) == ["Parts of the loss"] and "language" in words_of(figure)
    with pytest.raises(NothingToPlotError, match="no parts"):
        drawn(draw_answer_loss_parts, run_of(tmp_path, {"step": 1, "train/loss": 2.0}))


def test_bars_for_every_model_and_type(answered_run):
    figure = drawn(draw_answer_types, RunFolder(answered_run))
    axes = figure.axes[0]
    assert titles(figure) == ["VQA accuracy by type of answer"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["all", "color", "shape", "yes-no"]
    assert len(axes.patches) == 4 * 4
    for words in ("untouched model", "always the most frequent answer", "without the picture", "trained"):
        assert words in words_of(figure)
    trained = RunFolder(answered_run).results["metrics"]["vqa_accuracy/type/color"]["value"]
    assert any(bar.get_width() == pytest.approx(trained) for bar in axes.patches)


def results_of(folder, metrics: dict[str, float], primary: str) -> RunFolder:
    found = {name: {"value": value} for name, value in metrics.items()}
    results = {"split": "test", "task": "instruction", "metrics": found, "baseline": found}
    results |= {"verdict": {"metric": primary}, "seconds": 1.0, "samples": 1}
    (folder / "results.json").write_text(json.dumps(results))
    return RunFolder(folder)


def test_bars_without_types_companions_or_guesses(tmp_path):
    figure = drawn(draw_answer_types, results_of(tmp_path, {"token_f1": 0.5}, "token_f1"))
    assert titles(figure) == ["token F1"] and len(figure.axes[0].patches) == 2


def test_many_types_are_cut(tmp_path):
    metrics = {f"vqa_accuracy/type/kind {number:02d}": 0.5 for number in range(30)}
    run = results_of(tmp_path, {"vqa_accuracy": 0.5} | metrics, "vqa_accuracy")
    axes = drawn(draw_answer_types, run).axes[0]
    assert len(axes.get_yticks()) == 13 and "18 more types" in axes.get_xlabel()
