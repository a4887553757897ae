"""Every plot is drawn, says what it should, and steps aside when its data is missing."""

from __future__ import annotations

import json
import subprocess
import sys

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from edge_glass.reporting.curves import draw_loss_components, draw_training_curves, guessing_loss, smooth
from edge_glass.reporting.matryoshka import draw_mrl_performance
from edge_glass.reporting.plots import TrainingVisualizer
from edge_glass.reporting.run_folder import RunFolder
from edge_glass.reporting.space import choose_pairs, draw_embedding_space, draw_similarity_matrix, project
from edge_glass.reporting.style import STYLE

NAMES = {
    "training_curves.png",
    "loss_components.png",
    "lr_schedule.png",
    "embedding_space.png",
    "embedding_space_tsne.png",
    "similarity_matrix.png",
    "mrl_performance.png",
}


def drawn(draw, *arguments) -> Figure:
    """A figure drawn on in the house style, not written."""
    with matplotlib.rc_context(STYLE):
        figure = Figure()
        draw(*arguments, figure)
    return figure


def texts_of(figure: Figure) -> str:
    """All words on a figure."""
    found = []
    for axes in figure.axes:
        found += [axes.get_title(loc="left"), axes.get_xlabel(), *(text.get_text() for text in axes.texts)]
        found += [text.get_text() for text in axes.get_legend().get_texts()] if axes.get_legend() else []
        found += [label.get_text() for label in (*axes.get_yticklabels(), *axes.get_xticklabels())]
    return "\n".join(found)


def test_all_plots_of_a_finished_run(finished_run):
    visualizer = TrainingVisualizer(finished_run)
    paths = visualizer.plot_all()
    assert {path.name for path in paths} == NAMES
    assert visualizer.left_out == {}
    for path in paths:
        picture = Image.open(path)
        assert picture.width >= 1600, "sharp on screens of double density"
        assert np.asarray(picture.convert("L")).std() > 5, "an empty picture"
    assert {path.name for path in (finished_run / "plots").iterdir()} == NAMES


def test_an_empty_run_gives_reasons_instead_of_plots(tmp_path):
    visualizer = TrainingVisualizer(tmp_path)
    assert visualizer.plot_all() == []
    assert set(visualizer.left_out) == NAMES
    assert "learning rate" in visualizer.left_out["lr_schedule.png"]
    assert "embeddings" in visualizer.left_out["embedding_space.png"]
    assert "results.json" in visualizer.left_out["mrl_performance.png"]


def test_a_running_run_has_its_curves(tmp_path):
    (tmp_path / "metrics.jsonl").write_text(
        '{"step": 1, "train/loss": 3.0, "train/lr": 0.1}\n{"step": 2, "tra'
    )
    assert {path.name for path in TrainingVisualizer(tmp_path).plot_all()} == {
        "training_curves.png",
        "lr_schedule.png",
    }


def test_a_diverged_run_still_has_its_curves(tmp_path):
    names = ("train/loss", "train/lr", "train/loss_clip", "train/ln_batch", "val/i2t_r1", "val/mean_r1")
    rows = [{"step": step, **dict.fromkeys(names, float("nan"))} for step in range(60)]
    (tmp_path / "metrics.jsonl").write_text("\n".join(map(json.dumps, rows)))
    visualizer = TrainingVisualizer(tmp_path)
    drawn = {path.name for path in visualizer.plot_all()}
    assert drawn == {"training_curves.png", "loss_components.png", "lr_schedule.png"}
    assert not [reason for reason in visualizer.left_out.values() if "could not be drawn" in reason]


def test_a_failing_plot_is_told_and_does_not_stop_the_others(finished_run, monkeypatch, caplog):
    def fail(*_):
        raise RuntimeError("no such backend")

    visualizer = TrainingVisualizer(finished_run)
    monkeypatch.setattr("edge_glass.reporting.plots.draw_lr_schedule", fail)
    assert visualizer.plot_lr_schedule() is None
    assert "no such backend" in visualizer.left_out["lr_schedule.png"]
    assert "Traceback" in caplog.text


def test_plots_are_the_same_on_every_call(finished_run):
    visualizer = TrainingVisualizer(finished_run)
    for draw in (visualizer.plot_embedding_space, visualizer.plot_training_curves):
        assert draw().read_bytes() == draw().read_bytes()


def test_the_loss_stands_beside_its_guessing_level(finished_run):
    run = RunFolder(finished_run)
    value, words = guessing_loss(run)
    assert value == pytest.approx(1.25 * np.log(64))
    assert words == "guessing: 1.25 × ln(64) = 5.20"
    figure = drawn(draw_training_curves, run)
    assert words in texts_of(figure)
    assert "untouched model: 0.020" in texts_of(figure)
    assert any(np.allclose(line.get_ydata(), value) for line in figure.axes[0].lines)
    parts = drawn(draw_loss_components, run)
    assert "ln(64) = 4.16" in texts_of(parts)
    assert len(parts.axes) == 4


@pytest.mark.parametrize("config", ["losses: {kind: siglip}", "losses: 3", "{}", ""])
def test_no_guessing_level_when_it_is_not_known(tmp_path, config):
    (tmp_path / "config.yaml").write_text(config)
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "train/loss": 3.0, "train/ln_batch": 4.0}')
    run = RunFolder(tmp_path)
    assert guessing_loss(run) is None
    figure = drawn(draw_training_curves, run)
    assert "guessing" not in texts_of(figure)


def test_smoothing_has_no_lag_and_passes_over_gaps():
    line = np.arange(100.0)
    np.testing.assert_allclose(smooth(line, 10)[5:-5], line[5:-5])
    gappy = line.copy()
    gappy[50] = np.nan
    assert smooth(gappy, 10)[50] == pytest.approx(50.0)
    assert np.isnan(smooth(np.full(5, np.nan), 3)).all()


def test_mrl_performance_shows_all_models_with_their_numbers(finished_run):
    run = RunFolder(finished_run)
    figure = drawn(draw_mrl_performance, run)
    assert len(figure.axes) == 4
    words = texts_of(figure)
    for label in ("untouched", "closed form", "trained", "guessing", "32", "8"):
        assert label in words
    trained = next(line for line in figure.axes[0].lines if line.get_label() == "trained")
    metrics = run.results["metrics"]
    np.testing.assert_allclose(trained.get_ydata(), [metrics[n]["value"] for n in ("i2t_r1", "i2t_r1@8")])
    np.testing.assert_array_equal(trained.get_xdata(), [32, 8])


def test_hostile_captions_are_drawn_as_words(finished_run):
    run = RunFolder(finished_run)
    figure = drawn(draw_similarity_matrix, run)
    assert "<script>" in texts_of(figure)
    space = drawn(draw_embedding_space, run)
    assert "PCA of 40 pairs" in texts_of(space)


def test_pairs_are_one_of_each_group_and_always_the_same(finished_run):
    archive = RunFolder(finished_run).archive
    pairs, again = choose_pairs(archive, 10), choose_pairs(archive, 10)
    assert len(pairs.images) == len(pairs.texts) == 10
    np.testing.assert_array_equal(pairs.images, again.images)
    np.testing.assert_allclose(np.linalg.norm(pairs.texts, axis=1), 1, rtol=1e-5)
    # The right caption is the nearest for nearly all: rows were not mixed up.
    assert ((pairs.images @ pairs.texts.T).argmax(axis=1) == np.arange(10)).mean() > 0.8


def test_projections():
    points = np.random.default_rng(0).normal(size=(30, 5)) * np.array([9, 3, 1, 1, 1])
    flat = project(points, "pca")
    assert flat.shape == (30, 2)
    assert abs(np.corrcoef(flat[:, 0], points[:, 0])[0, 1]) > 0.99
    assert project(points[:, :1], "pca").shape == (30, 2)
    assert project(points, "tsne").shape == (30, 2)


def test_no_pyplot_state_is_touched(finished_run):
    code = (
        "import sys; from edge_glass.reporting.plots import TrainingVisualizer; "
        "import edge_glass.reporting.report, edge_glass.reporting.ablation; "
        "assert 'matplotlib' not in sys.modules and 'sklearn' not in sys.modules; "
        f"TrainingVisualizer({str(finished_run)!r}).plot_lr_schedule(); "
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_a_matryoshka_loss_that_is_off_is_not_drawn(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "train/loss_clip": 3.0, "train/loss_mrl": 0.0}')
    words = texts_of(drawn(draw_loss_components, RunFolder(tmp_path)))
    assert "full embedding" in words and "Matryoshka" not in words
