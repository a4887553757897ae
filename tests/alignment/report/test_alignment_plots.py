"""Every plot is drawn, says what it should, and steps aside when its data is missing."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from edge_glass.alignment.report.plots import (
    embedding_space,
    loss_components,
    mrl_performance,
    similarity_matrix,
    training_curves,
)
from edge_glass.alignment.report.plots.training_curves import complete_loss, guessing_loss
from edge_glass.alignment.report.sides import archive_of, pairs_of
from edge_glass.alignment.report.space import choose_pairs, project
from edge_glass.experiment.report import TrainingVisualizer
from edge_glass.reporting.curves import smooth
from edge_glass.reporting.run_folder import RunFolder
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
    monkeypatch.setattr("edge_glass.reporting.plots.lr_schedule.draw", fail)
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
    figure = drawn(training_curves.draw, run)
    assert words in texts_of(figure)
    assert "untouched model: 0.020" in texts_of(figure)
    assert any(np.allclose(line.get_ydata(), value) for line in figure.axes[0].lines)
    parts = drawn(loss_components.draw, run)
    assert "ln(64) = 4.16" in texts_of(parts)
    assert len(parts.axes) == 4


@pytest.mark.parametrize("config", ["losses: {kind: siglip}", "losses: 3", "{}", ""])
def test_no_guessing_level_when_it_is_not_known(tmp_path, config):
    (tmp_path / "config.yaml").write_text(config)
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "train/loss": 3.0, "train/ln_batch": 4.0}')
    run = RunFolder(tmp_path)
    assert guessing_loss(run) is None
    figure = drawn(training_curves.draw, run)
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
    figure = drawn(mrl_performance.draw, run)
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
    figure = drawn(similarity_matrix.draw, run)
    assert "<script>" in texts_of(figure)
    space = drawn(embedding_space.draw, run)
    assert "PCA of 40 pairs" in texts_of(space)


def test_pairs_are_one_of_each_group_and_always_the_same(finished_run):
    archive = archive_of(RunFolder(finished_run))
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
        "import sys; from edge_glass.experiment.report import TrainingVisualizer; "
        "import edge_glass.reporting.ablation; "
        "assert 'matplotlib' not in sys.modules and 'sklearn' not in sys.modules; "
        f"TrainingVisualizer({str(finished_run)!r}).plot_lr_schedule(); "
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)


def test_a_matryoshka_loss_that_is_off_is_not_drawn(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "train/loss_clip": 3.0, "train/loss_mrl": 0.0}')
    words = texts_of(drawn(loss_components.draw, RunFolder(tmp_path)))
    assert "full embedding" in words and "Matryoshka" not in words


def test_all_plots_of_a_run_with_sounds(run_with_sounds):
    visualizer = TrainingVisualizer(run_with_sounds)
    assert {path.name for path in visualizer.plot_all()} == NAMES
    assert visualizer.left_out == {}


def test_recall_of_six_directions_can_be_told_apart(run_with_sounds):
    figure = drawn(training_curves.draw, RunFolder(run_with_sounds))
    lines = [line for line in figure.axes[1].lines if "R@1" in str(line.get_label())]
    assert len(lines) == 7 and len({line.get_color() for line in lines}) == 7
    words = texts_of(figure)
    assert "sound → picture R@1" in words and "summed over the pairs" in words
    assert "best" in str(lines[-1].get_label())


def test_the_guessing_level_is_summed_over_the_pairs(tmp_path, make_pair_rows):
    run = pair_run(
        tmp_path, make_pair_rows(), "losses: {contrastive: 0.25, mrl: 1.0, pairs: {audio_text: 0.5}}"
    )
    value, words = guessing_loss(run)
    assert value == pytest.approx(1.25 * 2.5 * np.log(64)) and "3 pairs" in words


def test_only_batches_with_every_pair_stand_in_the_loss(tmp_path, make_pair_rows):
    """Of the others the sum has fewer terms: 0.2 here, and it must not look like a better step."""
    rows = make_pair_rows(mixed=True)
    for row in rows:
        if row["step"] % 3 == 0 and "train/loss" in row:
            row["train/loss"] = 0.2
    run = pair_run(tmp_path, rows, "losses: {contrastive: 0.25, mrl: 1.0}")
    steps, values, others = complete_loss(run)
    assert others and len(steps) == 67 and values.min() > 1.0
    figure = drawn(training_curves.draw, run)
    assert "batches with every modality" in texts_of(figure)
    assert guessing_loss(run)[0] == pytest.approx(1.25 * 3 * np.log(64))


def test_every_pair_has_its_loss_and_temperature(run_with_sounds):
    run = RunFolder(run_with_sounds)
    figure = drawn(loss_components.draw, run)
    by_title = {axes.get_title(loc="left"): axes for axes in figure.axes}
    assert set(by_title) >= {"Loss of each pair", "Temperature of each pair", "Matryoshka loss of each pair"}
    temperatures = [line for line in by_title["Temperature of each pair"].lines if line.get_alpha() is None]
    ends = [float(line.get_ydata()[-1]) for line in temperatures]
    np.testing.assert_allclose(
        ends, [run.series(f"train/temperature_{pair}")[1][-3:].mean() for pair in pairs_of(run)], rtol=0.05
    )
    assert len(set(np.round(ends, 4))) == 3
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == ["pictures and words", "sounds and words", "pictures and sounds"]


def test_mrl_performance_has_a_panel_for_every_direction(run_with_sounds):
    figure = drawn(mrl_performance.draw, RunFolder(run_with_sounds))
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert len(titles) == len(set(titles)) == 12
    assert titles[:3] == ["picture → words, R@1", "sound → words, R@1", "picture → sound, R@1"]
    guess = [
        next(line.get_ydata()[0] for line in axes.lines if line.get_label() == "guessing")
        for axes in figure.axes[:2]
    ]
    assert guess == pytest.approx([1 / 40, 1 / 30]), "only rows with a sound are compared"


def test_the_space_shows_three_modalities_or_says_why_not(run_with_sounds, monkeypatch):
    run = RunFolder(run_with_sounds)
    words = texts_of(drawn(embedding_space.draw, run))
    assert "Pictures, words and sounds in one space (PCA of 30 rows)" in words and "sound–words" in words
    assert [len(cloud.get_offsets()) for cloud in drawn(embedding_space.draw, run).axes[0].collections
            if len(cloud.get_offsets()) > 1] == [30, 30, 30]  # fmt: skip
    pairs = choose_pairs(archive_of(run), 100, with_sounds=True)
    cosines = pairs.sounds @ pairs.texts.T
    assert (cosines.argmax(axis=1) == np.arange(30)).mean() > 0.5, "rows of the three belong together"
    archive = archive_of(run)
    few = dataclasses.replace(
        archive,
        audio_embeddings=archive.audio_embeddings[:2],
        audio_groups=archive.audio_groups[:2],
        audio_ids=archive.audio_ids[:2],
    )
    monkeypatch.setattr(RunFolder, "evaluated", lambda *_: few)
    assert "fewer than three rows have a sound too" in texts_of(drawn(embedding_space.draw, run))


def test_histograms_of_all_pairs(run_with_sounds):
    titles = texts_of(drawn(similarity_matrix.draw, RunFolder(run_with_sounds)))
    for words in ("Words and pictures (30", "Words and sounds (30", "Sounds and pictures (30"):
        assert words in titles


def pair_run(folder, rows, config: str) -> RunFolder:
    """A run folder that holds nothing but logged numbers and a config."""
    (folder / "config.yaml").write_text(config)
    (folder / "metrics.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return RunFolder(folder)
