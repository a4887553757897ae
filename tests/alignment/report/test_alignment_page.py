"""The page: right words, right numbers, self-contained, and safe with hostile captions."""

from __future__ import annotations

import base64
import io
import json
import shutil

import pytest
from PIL import Image

from edge_glass.alignment.report.tables import dimension_rows, folded_rows, metric_rows
from edge_glass.core.errors import DataError
from edge_glass.experiment.report import write_report
from edge_glass.reporting.run_folder import RunFolder
from edge_glass.reporting.tables import cells, flatten
from edge_glass.reporting.wording import metric_label


@pytest.fixture(scope="module")
def page(finished_run, read_page):
    return read_page(write_report(finished_run))


def test_the_page_says_what_happened(page, finished_run):
    results = RunFolder(finished_run).results
    value = results["metrics"]["mean_r1"]["value"]
    rival = results["verdict"]["strongest_rival"]
    words = (
        f"Improved, and better than the strongest trivial rival (closed form, {rival['value']:.3f}): mean R@1"
    )
    assert f"→ {value:.3f} (+" in page.text and words in page.text
    assert "Training beat the closed form" in page.text
    assert "guessing would give R@1 0.0250" in page.text
    assert "1,468 rows used, 3 left out: <i>cannot be decoded</i> (2), caption is empty (1)" in page.text
    assert "3 min 20 s" in page.text and "20/s" in page.text
    for metric in ("i2t_r5", "t2i_r10", "mean_r1"):
        for model in ("metrics", "baseline", "closed_form"):
            entry = results[model][metric]
            assert f"{entry['low']:.3f} – {entry['high']:.3f}" in page.text, (model, metric)
    assert "3,371,040" in page.text and "frozen" in page.text
    assert "packages.torch" in page.text
    assert "contrastive: 0.25" in page.text


def test_all_pictures_are_inside_and_decode(page):
    sources = page.images()
    assert len(sources) > 40
    for source in sources:
        kind, _, data = source.partition(";base64,")
        assert kind == "data:image/png"
        Image.open(io.BytesIO(base64.b64decode(data))).verify()


def test_user_words_are_escaped_not_lost(page):
    assert '<script>alert("x")</script>' in page.text
    assert "<em>emoji</em>" in page.text and "<u>vision</u>" in page.text and "<2.0>" in page.text
    assert "</pre><script>" in page.text
    assert not {tag for tag, _ in page.tags} & {"em", "u"}


def test_the_metrics_csv_is_written_beside_it(page, finished_run):
    assert (finished_run / "metrics.csv").read_text(encoding="utf-8").startswith("step,epoch,time,")


def test_a_model_made_worse_and_not_better_than_the_closed_form(tmp_path, make_run, read_page):
    folder = make_run(tmp_path / "run", noise=9.0, baseline_noise=0.5, closed_noise=0.5)
    found = read_page(write_report(folder))
    assert "Worse, and the closed form is better (" in found.text
    assert "Training did not beat the closed form" in found.text
    assert "Worst: furthest down the list" in found.text
    assert len([a for _, a in found.tags if "missed" in str(a.get("class"))]) >= 8
    assert ("section", {"class": "card verdict worse"}) in found.tags


def test_a_run_that_was_killed(tmp_path, read_page):
    (tmp_path / "metrics.jsonl").write_text('{"step": 7, "epoch": 0.5, "train/loss": 3.0}\n{"step": 8, "tr')
    found = read_page(write_report(tmp_path))
    assert "no results.json" in found.text and "step 7, epoch 0.50" in found.text
    assert "embedding_space.png is left out: the run holds no embeddings" in found.text
    assert len(found.images()) == 1


def test_an_empty_folder_and_a_missing_one(tmp_path, read_page):
    assert "no results.json" in read_page(write_report(tmp_path)).text
    with pytest.raises(DataError, match="no such run folder"):
        write_report(tmp_path / "absent")


def test_results_without_extras(tmp_path, finished_run, read_page):
    """Only what DESIGN fixes: no closed form, no data counts, no archive."""
    results = json.loads((finished_run / "results.json").read_text(encoding="utf-8"))
    for key in ("closed_form", "closed_form_verdict", "data"):
        del results[key]
    del results["rivals"], results["verdict"]["strongest_rival"]  # as in files of earlier versions
    (tmp_path / "results.json").write_text(json.dumps(results))
    found = read_page(write_report(tmp_path))
    assert "Improved" in found.text and "closed form" not in found.text and "guessing" not in found.text


def test_stale_pages_are_replaced_whole(tmp_path, finished_run):
    shutil.copy(finished_run / "results.json", tmp_path / "results.json")
    (tmp_path / "report.html").write_text("old")
    write_report(tmp_path)
    assert (tmp_path / "report.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    assert not [p for p in tmp_path.rglob(".*") if p.is_file()]


def test_rows_mark_the_best_number_in_the_metrics_direction():
    entry = {"value": 0.5, "low": 0.4, "high": 0.6}
    results = {
        "metrics": {
            "i2t_r1": entry,
            "i2t_medr": {"value": 2.0},
            "i2t_r1@8": {"value": 0.25},
            "extra": {"value": 7},
        },
        "baseline": {"i2t_r1": {"value": 0.1}, "i2t_medr": {"value": 90.0}, "i2t_r1@8": {"value": 0.25}},
        "verdict": {"metric": "i2t_r1"},
    }
    rows = metric_rows(results)
    assert [row.label for row in rows] == ["picture → words R@1", "picture → words median rank", "extra"]
    assert [[cell.best for cell in row.cells] for row in rows] == [
        [False, True],
        [False, True],
        [False, True],
    ]
    assert [row.primary for row in rows] == [True, False, False]
    assert (rows[0].cells[1].interval, rows[0].cells[1].share) == ("0.400 – 0.600", 0.5)
    assert rows[1].cells[0].share is None
    by_dimension = dimension_rows(results, "i2t_r1", [32, 8], 32)
    assert [(row.label, [cell.best for cell in row.cells]) for row in by_dimension] == [
        ("32", [False, True]),
        ("8", [False, False]),
    ]


def test_nested_environments_are_flattened():
    assert flatten({"a": {"b": 1, "c": None}, "d": [1, 2]}) == [("a.b", "1"), ("a.c", "–"), ("d", "1, 2")]


@pytest.fixture(scope="module")
def page_with_sounds(run_with_sounds, read_page):
    return read_page(write_report(run_with_sounds))


def test_a_run_with_sounds_shows_every_direction(page_with_sounds, run_with_sounds):
    text, results = page_with_sounds.text, RunFolder(run_with_sounds).results
    for side in ("i2t", "t2i", "a2t", "t2a", "v2a", "a2v", "mean"):
        for measure in ("r1", "r5", "r10", "medr"):
            assert metric_label(f"{side}_{measure}") in text
        for model in ("metrics", "baseline", "closed_form"):
            entry = results[model][f"{side}_r1"]
            assert f"{entry['low']:.3f} – {entry['high']:.3f}" in text, (side, model)
    assert "Mean is over the 6 directions" in text
    assert "40 pictures, 30 sounds and 40 captions" in text
    assert "0.0250 (picture → words, words → picture) and 0.0333 (sound → words," in text
    for title in ("From words to pictures", "From pictures to words"):
        assert title in text
    for title in ("From sounds to pictures", "From sounds to words"):
        assert title in text.partition("From pictures to words")[2]
    assert "♪ sound of" in text and "<b>39</b>.flac" in text
    assert "loss and its own temperature" in text and "The same goes for sounds" in text


def test_a_run_without_sounds_does_not_speak_of_them(page):
    assert "The numbers" in page.text.partition("<em>emoji</em> · alignment")[2]
    assert "sound" not in page.text.partition("<em>emoji</em> · alignment")[2].lower()
    assert "Mean is over" not in page.text and "median ranks" not in page.text


def test_only_measured_directions_have_a_gallery(tmp_path, run_with_sounds, read_page):
    folder = tmp_path / "run"
    shutil.copytree(run_with_sounds, folder)
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    for part in ("metrics", "baseline", "closed_form"):
        results[part] = {k: v for k, v in results[part].items() if not k.startswith(("v2a", "a2v"))}
    (folder / "results.json").write_text(json.dumps(results))
    text = read_page(write_report(folder)).text
    assert "From sounds to words" in text and "From sounds to pictures" not in text
    assert "picture → sound" not in text and "Mean is over the 4 directions" in text


def test_a_deciding_metric_is_never_folded_away(run_with_sounds):
    results = RunFolder(run_with_sounds).results
    shown, folded = folded_rows(results)
    assert (len(shown), len(folded)) == (14, 14)
    shown, folded = folded_rows({**results, "verdict": {"metric": "a2t_r5"}})
    assert (len(shown), len(folded)) == (28, 0)
    assert [row.label for row in shown if row.primary] == ["sound → words R@5"]


@pytest.mark.parametrize(
    ("values", "best"),
    [([0.2, 0.7], [False, True]), ([0.5, 0.5], [False, False]), ([0.00004, 0.0], [False, False])],
)
def test_only_a_difference_that_can_be_read_is_marked(values, best):
    found = cells([{"bleu": {"value": value}} for value in values], "bleu")
    assert [cell.best for cell in found] == best
