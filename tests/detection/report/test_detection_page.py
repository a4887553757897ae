"""The page of a detection run: right numbers, worst first, self-contained, safe with hostile words."""

from __future__ import annotations

import base64
import dataclasses
import io
import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from detection_run_folder import FAILURES, HOSTILE, build_detection_run, scene
from PIL import Image

from edge_glass.config.metrics import higher_is_better
from edge_glass.detection.measure.archive import DetectionRecord, load_detections, shown_rows
from edge_glass.detection.report.gallery import detection_gallery
from edge_glass.detection.report.matching import centres, count_outcomes, detections_of, outcome
from edge_glass.detection.report.summary import detection_lines
from edge_glass.detection.report.tables import metric_rows
from edge_glass.detection.report.wording import convention_sentence
from edge_glass.evaluation.results import read_results
from edge_glass.experiment.report import TrainingVisualizer, describe_run, metrics_table, write_report
from edge_glass.reporting.boxes import shown_boxes
from edge_glass.reporting.run_folder import RunFolder
from edge_glass.reporting.wording import metric_label

PLOTS = {
    "training_curves.png",
    "detection_metrics.png",
    "iou_histogram.png",
    "box_coordinates.png",
    "gradient_norms.png",
    "lr_schedule.png",
}


@pytest.fixture(scope="module")
def detected_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_detection_run(tmp_path_factory.mktemp("runs") / "tables")


@pytest.fixture(scope="module")
def page(detected_run: Path, read_page: Any) -> Any:
    return read_page(write_report(detected_run))


def record(number: int = 0, **changes: Any) -> DetectionRecord:
    made = scene(number)
    same = {"boxes": made.boxes.tolist(), "labels": made.labels}
    plain = DetectionRecord(
        id=f"r{number}", picture=None, width=made.size[0], height=made.size[1],
        true_boxes=made.boxes.tolist(), true_labels=made.labels, scores=None, text="", problem=None,
        ended=True, iou=1.0, **same,
    )  # fmt: skip
    return dataclasses.replace(plain, **changes)


# The page


def test_the_page_says_what_happened(page, detected_run):
    results = read_results(detected_run / "results.json")
    before, after = (results[part]["mean_iou"]["value"] for part in ("baseline", "metrics"))
    assert f"Improved: mean IoU {before:.3f} → {after:.3f} (+" in page.text
    found, right = (results["metrics"][name]["value"] for name in ("recall_50", "precision_50"))
    assert f"Of the 104 boxes on the pictures of the test split, {100 * found:.1f} in a hundred" in page.text
    assert f"of the boxes that the model draws, {100 * right:.1f} in a hundred are right" in page.text
    assert "2 of 80 answers cannot be read and count as nothing found: there is no box in it (2)" in page.text
    for metric in ("mean_iou", "f1_50", "f1_75", "unparsable", "never_ended", "boxes_per_picture", "map"):
        assert metric_label(metric) in page.text
        for part in ("metrics", "baseline"):
            entry = results[part][metric]
            assert f"{entry['low']:.3f} – {entry['high']:.3f}" in page.text, (part, metric)
    assert "3 min 20 s" in page.text and "2 left out: the box is <i>inverted</i> (2)" in page.text
    assert "since the model gives no scores" in page.text


def test_everything_is_inside_and_decodes(page):
    sources = page.images()
    assert len(sources) > 60
    for source in sources:
        kind, _, data = source.partition(";base64,")
        assert kind in ("data:image/png", "data:image/jpeg")
        Image.open(io.BytesIO(base64.b64decode(data))).verify()
    assert not [
        tag for tag, found in page.tags if tag in ("script", "link") and found.get("href") != "data:,"
    ]


def test_user_words_are_escaped_not_lost(page):
    assert page.text.count('<script>alert("x")</script>') >= 3
    assert "<em>tables</em>" in page.text and "<u>vision</u>" in page.text
    assert not {tag for tag, _ in page.tags} & {"em", "u", "script"}


def test_boxes_lie_where_they_are(page, detected_run):
    records = load_detections(detected_run, "test")
    worst = records[shown_rows(records).worst[0]]
    first = next(
        place for place, (_, a) in enumerate(page.tags) if str(a.get("class")).startswith("found-on")
    )
    boxes = [a for _, a in page.tags[first:] if str(a.get("class")).startswith("box ")]
    kind, style = (
        str(boxes[0]["class"]).split()[1],
        dict(p.split(": ") for p in boxes[0]["style"].split("; ")),
    )
    assert kind == "truth" if worst.true_boxes else "trained"
    x1, y1, x2, y2 = (worst.true_boxes or worst.boxes)[0]
    wanted = {"left": x1 / worst.width, "top": y1 / worst.height}
    wanted |= {"width": (x2 - x1) / worst.width, "height": (y2 - y1) / worst.height}
    for name, share in wanted.items():
        assert float(style[name].rstrip("%")) == pytest.approx(100 * share, abs=0.01), name


def test_the_worst_pictures_stand_first(page, detected_run):
    shown = detection_gallery(RunFolder(detected_run))
    ious = [float(one.iou) for one in shown.worst]
    assert ious == sorted(ious) and ious[0] == 0.0 and float(shown.best[0].iou) > 0.9
    assert len(shown.worst + shown.drawn + shown.best) == 60 and shown.count == 80
    order = [page.text.index(words) for words in ("The worst", "Drawn at random", "The best")]
    assert order == sorted(order)
    assert shown.names and shown.before
    lost = next(one for one in shown.worst if one.identifier == "test-4")
    assert lost.picture is None and lost.outcome == "nothing" and lost.found == "nothing"
    unread = next(one for one in shown.worst if one.outcome == "unparsable")
    assert unread.problem == "there is no box in it" and not unread.ended and len(unread.text) <= 500
    assert "\x07" not in unread.text
    kinds = {box.kind for one in shown.worst for box in one.boxes}
    assert kinds == {"truth", "trained", "untouched"}


def test_every_plot_is_drawn_and_explained(page, detected_run):
    assert {path.name for path in (detected_run / "plots").iterdir()} == PLOTS
    assert len([tag for tag, _ in page.tags if tag == "figcaption"]) == len(PLOTS)
    assert "is left out" not in page.text


def test_other_tasks_have_no_place_here(page):
    for words in ("R@1", "embedding", "closed form", "VQA"):
        assert words not in page.text


def test_answers_over_training(page):
    assert "val-3" in page.text and "step 100" in page.text and "never ended" in page.text


# Parts of a run


def test_an_unfinished_run_gives_what_there_is(tmp_path, read_page, detected_run):
    for name in ("config.yaml", "metrics.jsonl"):
        (tmp_path / name).write_text((detected_run / name).read_text())
    page = read_page(write_report(tmp_path))
    assert "no results.json" in page.text and "mean IoU" not in page.text
    assert "iou_histogram.png is left out: the evaluation left no boxes yet" in page.text
    assert (tmp_path / "plots" / "detection_metrics.png").exists()


@pytest.fixture
def without_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    """They take seconds and are looked at above."""
    monkeypatch.setattr(TrainingVisualizer, "plot_all", lambda self: [])


def test_broken_records_do_not_stop_the_page(tmp_path, read_page, detected_run, caplog, without_plots):
    run = tmp_path / "run"
    shutil.copytree(detected_run, run)
    (run / "evaluation" / "test_detections.jsonl").write_text("{}\n")
    page = read_page(write_report(run))
    assert "Improved" in page.text and "The worst" not in page.text and "id is missing" in caplog.text


def test_a_run_without_scores_or_earlier_boxes(tmp_path, read_page, without_plots):
    run = build_detection_run(tmp_path / "run", pictures=8)
    path = run / "evaluation" / "test_detections.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for row in rows:
        row |= {"scores": None, "untouched_boxes": None, "untouched_iou": None}
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    page = read_page(write_report(run))
    assert "untouched model" in page.text, "its metrics are known"
    assert not [a for _, a in page.tags if a.get("id") == "show-untouched"]


def test_plots_say_why_they_are_left_out(tmp_path):
    (tmp_path / "config.yaml").write_text("task: detection")
    visualizer = TrainingVisualizer(tmp_path)
    assert visualizer.plot_all() == [] and set(visualizer.left_out) == PLOTS
    assert "no metrics of boxes" in visualizer.left_out["detection_metrics.png"]
    assert "no norms of gradients" in visualizer.left_out["gradient_norms.png"]


def test_directions_of_metrics(detected_run):
    rows = {row.label: row for row in metric_rows(RunFolder(detected_run))}
    assert rows["mean IoU"].primary and next(iter(rows)) == "mean IoU"
    assert [cell.best for cell in rows["unparsable answers"].cells] == [False, True]
    assert not any(cell.best or cell.share for cell in rows["boxes per picture"].cells)
    assert not higher_is_better("unparsable") and higher_is_better("val/mean_iou")


# What happened on a picture


def test_outcomes_are_what_was_done_to_the_answers(detected_run):
    found = {row: outcome(one) for row, one in enumerate(detections_of(RunFolder(detected_run)))}
    wanted = {**FAILURES, 19: "ghost"}  # an empty picture
    assert {row: found[row] for row in wanted} == wanted
    assert {found[row] for row in found.keys() - wanted.keys()} == {"right"}
    counts = count_outcomes(detections_of(RunFolder(detected_run)))
    assert counts[0] == ("right", "all found, none too many", 74) and sum(c for _, _, c in counts) == 80


def test_outcomes_one_by_one():
    two = record(1)
    far = [[0.0, 0.0, 2.0, 2.0], *two.boxes[1:]]
    assert outcome(two) == "right"
    assert outcome(dataclasses.replace(two, labels=two.labels[::-1])) == "name"
    assert outcome(dataclasses.replace(two, boxes=far)) == "off"
    assert outcome(dataclasses.replace(two, boxes=far[:1], labels=["x"])) == "few"
    assert outcome(record(9)) == "right", "nothing there, nothing found"
    cut = dataclasses.replace(two, problem="cut off behind the second box")
    assert outcome(cut) == "right", "what was read counts"
    assert (
        outcome(dataclasses.replace(two, labels=[" ".join([one.upper(), ""]) for one in two.labels]))
        == "right"
    )


def changed(how: Any, count: int = 40) -> SimpleNamespace:
    """A run whose boxes are those of the truth, changed."""
    records = []
    for number in range(0, 2 * count, 2):  # one box each
        one = record(number, iou=0.1)
        boxes = np.array(one.true_boxes).reshape(-1, 4)
        records.append(dataclasses.replace(one, boxes=how(boxes, one.width, one.height).tolist()))
    kept = [one for one in records if one.true_boxes]
    return SimpleNamespace(evaluated=lambda *_: kept)


def test_another_convention_is_recognised():
    def swapped(boxes, width, height):
        return boxes[:, [1, 0, 3, 2]] / [height, width, height, width] * [width, height, width, height]

    assert "x and y are swapped" in convention_sentence(changed(swapped))
    scaled = convention_sentence(changed(lambda boxes, width, height: boxes * [0.45, 0.43, 0.45, 0.43]))
    assert "at 0.45 times their x and 0.43 times their y" in scaled and "another resize" in scaled
    assert convention_sentence(changed(lambda boxes, width, height: boxes)) is None
    generator = np.random.default_rng(0)
    noise = convention_sentence(changed(lambda boxes, w, h: generator.uniform(0, 60, boxes.shape)))
    constant = convention_sentence(changed(lambda boxes, w, h: np.array([[0, 0, w, h]]) * 0.5))
    assert noise is None and constant is None
    assert convention_sentence(changed(swapped, count=5)) is None, "too few to say so"


def test_pairs_are_those_next_to_each_other():
    one = record(1)
    other = dataclasses.replace(one, boxes=one.boxes[::-1])
    assert np.allclose(centres([other]).found, centres([other]).true) and len(centres([other])) == 2
    assert len(centres([dataclasses.replace(one, boxes=one.boxes[:1])])) == 0


def test_boxes_on_a_page_are_cut_at_the_rim():
    boxes = shown_boxes("trained", [[-10, 5, 50, 300], [float("nan")] * 4], (100, 100), ["a", "b"], [0.5, 1])
    assert len(boxes) == 1 and boxes[0].words == "a 0.50"
    assert boxes[0].style == "left: 0.000%; top: 5.000%; width: 50.000%; height: 95.000%"
    assert boxes[0].places == "high low" and "x -10 to 50" in boxes[0].hint


# The terminal


def test_the_terminal_says_the_same(detected_run):
    text = describe_run(detected_run)
    results = read_results(detected_run / "results.json")["metrics"]["mean_iou"]
    assert "Improved: mean IoU" in text and f"{results['value']:.3f} [{results['low']:.3f}" in text
    assert "74        all found, none too many" in text and "2         the answer cannot be read" in text
    assert f"edge-glass detect {detected_run}" in text and f"edge-glass merge {detected_run}" in text
    picture = text.partition("detect ")[2].split()[1]
    assert Path(picture).is_file()


def test_all_metrics_of_one_evaluation(detected_run):
    text = metrics_table(read_results(detected_run / "results.json") | {"rows": 80})
    assert text.startswith("test: 80 rows") and "COCO mAP" in text and "R@1" not in text


def test_lines_of_what_was_found():
    def found(**changes: Any) -> SimpleNamespace:
        plain = {"boxes": np.array([[1.4, 2, 3, 4]]), "labels": ["face"], "scores": [0.5], "text": "[…]"}
        return SimpleNamespace(**{**plain, "problem": None, "cut_off": False, **changes})

    nothing = {"boxes": np.zeros((0, 4)), "labels": [], "scores": []}
    lines = detection_lines(
        ["a.png", "b.png", "c.png", "d.png"],
        [
            found(),
            found(**nothing),
            found(**nothing, problem="no box in it", text=HOSTILE),
            found(cut_off=True, scores=None),
        ],
    )
    assert lines[:3] == ["a.png: 1 box", "  face 0.50  [1, 2, 3, 4]", "b.png: nothing found"]
    assert (
        lines[3].startswith("c.png: the answer cannot be read: no box in it: '<script>")
        and "\x07" not in lines[3]
    )
    assert lines[4:] == ["d.png: 1 box; the answer is cut off", "  face  [1, 2, 3, 4]"]
