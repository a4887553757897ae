"""The page of a run of answers: right words, right numbers, self-contained, and safe with hostile words."""

from __future__ import annotations

import base64
import dataclasses
import io
import json
import shutil

import pytest
from PIL import Image

from edge_glass.evaluation.results import read_results
from edge_glass.experiment.report import write_report
from edge_glass.instruction.measure.archive import load_answers, picture_of, save_answers
from edge_glass.instruction.report.companions import answers_of
from edge_glass.instruction.report.gallery import answer_gallery, graded_histories
from edge_glass.instruction.report.tables import metric_rows, mistakes, part_rows
from edge_glass.reporting.run_folder import RunFolder


@pytest.fixture(scope="module")
def page(answered_run, read_page):
    return read_page(write_report(answered_run))


def rewrite_results(folder, **changes) -> None:
    results = read_results(folder / "results.json") | changes
    (folder / "results.json").write_text(json.dumps(results), encoding="utf-8")


def test_the_page_says_what_happened(page, answered_run):
    results = RunFolder(answered_run).results
    before, after = (results[part]["vqa_accuracy"]["value"] for part in ("baseline", "metrics"))
    assert f"Improved: VQA accuracy {before:.3f} → {after:.3f} (+" in page.text
    assert f"Of the 120 questions of the test split, {100 * after:.1f} in a hundred" in page.text
    frequent = results["most_frequent_answer"]["metrics"]["vqa_accuracy"]["value"]
    assert f"most often in training would reach {frequent:.3f}" in page.text
    for metric in ("vqa_accuracy", "token_f1", "never_ended", "vqa_accuracy/type/color"):
        for part in ("metrics", "baseline"):
            entry = results[part][metric]
            assert f"{entry['low']:.3f} – {entry['high']:.3f}" in page.text, (part, metric)
    assert "3 min 20 s" in page.text and "4,000 samples, 20/s" in page.text
    assert "2 left out: the answer has <i>300</i> tokens, more than 256 (2)" in page.text
    assert "3,371,040" in page.text and "frozen" in page.text and "packages.torch" in page.text
    assert "task: instruction" in page.text


def test_runs_it_is_compared_with(page, answered_run):
    blind = read_results(answered_run / "compared" / "blind" / "results.json")["metrics"]["vqa_accuracy"]
    assert f"without the picture, the model reaches {blind['value']:.3f}" in page.text
    assert "The picture adds the rest (+0." in page.text
    assert "this run (trm)" in page.text and "plain decoder, same size" in page.text
    assert "4,799,000" in page.text and "8,170,040" in page.text
    assert "plain decoder, same compute" in page.text and "no result yet" in page.text


def test_all_pictures_are_inside_and_decode(page):
    sources = page.images()
    assert len(sources) > 60
    for source in sources:
        kind, _, data = source.partition(";base64,")
        assert kind == "data:image/png"
        Image.open(io.BytesIO(base64.b64decode(data))).verify()


def test_user_words_are_escaped_not_lost(page):
    assert '<script>alert("x")</script>' in page.text
    assert "<em>shapes</em>" in page.text and "<u>vision</u>" in page.text
    assert not {tag for tag, _ in page.tags} & {"em", "u"}


def test_every_plot_has_a_word_of_explanation(page):
    captions = [tag for tag, _ in page.tags if tag == "figcaption"]
    assert len(captions) == 5
    assert "no plot" not in page.text and "is left out" not in page.text


def test_retrieval_has_no_place_here(page):
    assert "R@1" not in page.text and "embedding" not in page.text and "closed form" not in page.text


def test_wrong_answers_stand_first_and_are_marked(page, answered_run):
    run = RunFolder(answered_run)
    shown = answer_gallery(run)
    assert shown.wrong_count + shown.right_count == 120
    assert [one.trained.right for one in shown.wrong + shown.right] == [False] * len(shown.wrong) + [
        True
    ] * len(shown.right)
    assert shown.never_ended == sum(not record.ended for record in answers_of(run)) > 0
    cards = [a["class"] for _, a in page.tags if str(a.get("class")).startswith("qa ")]
    assert cards.index("qa right") == len(shown.wrong) and "never ended" in page.text
    assert {one.answer_type for one in shown.wrong[:3]} == {"color", "shape", "yes-no"}
    without = [one for one in shown.wrong + shown.right if one.picture is None]
    assert without, "rows that name no picture"


def test_long_answers_are_cut_for_the_page_only(answered_run):
    shown = answer_gallery(RunFolder(answered_run))
    assert max(len(one.untouched.text) for one in shown.wrong) <= 400


def test_control_characters_are_made_visible(tmp_path):
    (tmp_path / "config.yaml").write_text("task: instruction")
    line = {"step": 0, "samples": [{"question": "a\x00b", "reference": "c", "answer": "\x0f\x0f x\n"}]}
    (tmp_path / "samples.jsonl").write_text(json.dumps(line))
    history = graded_histories(RunFolder(tmp_path))[0]
    assert (history.question, history.answers[0][1].text) == ("a\ufffdb", "\ufffd\ufffd x")


def test_answers_over_training(answered_run):
    histories = graded_histories(RunFolder(answered_run))
    assert len(histories) == 8
    assert [step for step, _ in histories[0].answers] == [0, 20, 40, 60, 80, 100]
    assert histories[0].answers[0][1].ended is False and not histories[0].answers[0][1].right
    assert all(history.answers[-1][1].right for history in histories)


def test_the_commonest_mistakes(answered_run):
    found = mistakes(RunFolder(answered_run))
    counts = [one.count for one in found]
    assert counts == sorted(counts, reverse=True) and min(counts) > 1
    assert all(one.reference != one.answer for one in found)


def test_rows_of_the_tables(answered_run):
    run = RunFolder(answered_run)
    rows = metric_rows(run)
    assert [row.label for row in rows] == [
        "VQA accuracy",
        "exact match",
        "token F1",
        "ROUGE-L",
        "never ended",
    ]
    assert [row.primary for row in rows] == [True, False, False, False, False]
    assert rows[0].cells[2].best and rows[-1].cells[2].best and rows[-1].cells[2].share is None
    assert [cell.text for cell in rows[-1].cells][1] == "–", "guesses are not written"
    parts = part_rows(run, "type", "vqa_accuracy")
    assert [(row.label, row.note) for row in parts] == [
        ("all", "120 questions"),
        ("color", "40 questions"),
        ("shape", "40 questions"),
        ("yes-no", "40 questions"),
    ]
    assert [len(row.cells) for row in parts] == [4] * 4


def test_captions_have_graded_scores_and_no_types(tmp_path, make_answers, read_page):
    """Long answers, a graded metric, one source, no types, no companions."""
    folder = make_answers(tmp_path / "run", pictures=20, blind=None)
    results = read_results(folder / "results.json")
    for part in ("metrics", "baseline"):
        results[part] = {name: one for name, one in results[part].items() if "/" not in name}
    results["verdict"]["metric"] = "rouge_l"
    results.pop("most_frequent_answer")
    (folder / "results.json").write_text(json.dumps(results), encoding="utf-8")
    records = [
        dataclasses.replace(one, answer_type="", picture=None, score=0.1 + 0.013 * row, ended=True)
        for row, one in enumerate(load_answers(folder, "test"))
    ]
    save_answers(folder, "test", records, {})
    page = read_page(write_report(folder))
    assert "Improved: ROUGE-L" in page.text and "ROUGE-L 0.100" in page.text
    assert "The commonest mistakes" not in page.text
    assert "in a hundred are" not in page.text and "most frequent" not in page.text
    assert "Compared with" not in page.text and "By type" not in page.text and "By source" not in page.text
    assert "60 answers;\nall of them ended" in page.text and "Lowest scores" in page.text
    shown = answer_gallery(RunFolder(folder))
    assert len(shown.wrong) + len(shown.right) == 60
    assert shown.wrong[0].trained == dataclasses.replace(
        shown.wrong[0].trained, right=None, score="ROUGE-L 0.100"
    )
    assert shown.right[0].identifier == "test-59"
    assert {history.answers[0][1].right for history in graded_histories(RunFolder(folder))} == {None}
    assert len(page.images()) == 5, "plots only"


def test_a_run_that_was_killed(tmp_path, answered_run, read_page):
    for name in ("config.yaml", "metrics.jsonl", "samples.jsonl"):
        shutil.copy(answered_run / name, tmp_path / name)
    (tmp_path / "samples.jsonl").open("a").write('{"step": 7, "samp')
    page = read_page(write_report(tmp_path))
    assert "no results.json" in page.text and "Answers over training" in page.text
    assert "answer_types.png is left out: results.json is not there yet" in page.text
    assert "embedding" not in page.text


def test_an_empty_run_of_answers(tmp_path, read_page):
    (tmp_path / "config.yaml").write_text("task: instruction")
    text = read_page(write_report(tmp_path)).text
    assert "no results.json" in text and "holds no metrics of written answers yet" in text


def test_odd_samples_and_half_a_surrogate_pair(tmp_path, answered_run, read_page):
    shutil.copytree(answered_run, tmp_path / "run")
    lines = [
        '{"step": 0, "samples": "none"}',
        '{"step": 1, "samples": [3, {"question": "\\ud83d?", "answer": null}]}',
    ]
    (tmp_path / "run" / "samples.jsonl").write_text("\n".join(lines))
    assert "Answers over training" in read_page(write_report(tmp_path / "run")).text


def test_broken_answers_cost_the_gallery_only(tmp_path, answered_run, read_page, caplog):
    shutil.copytree(answered_run, tmp_path / "run")
    (tmp_path / "run" / "evaluation" / "test_answers.jsonl").write_text("{")
    text = read_page(write_report(tmp_path / "run")).text
    assert "Improved" in text and "test_answers.jsonl:1: not JSON" in caplog.text
    assert "The commonest mistakes" not in text


def test_a_model_that_got_worse(tmp_path, make_answers, read_page):
    folder = make_answers(tmp_path / "run", pictures=20, skill=0.05, untouched=0.9, blind=0.8)
    page = read_page(write_report(folder))
    assert "no less than the trained model: nothing useful was learned" in page.text
    assert "Worse: VQA accuracy" in page.text and "the picture only disturbs" in page.text
    assert ("section", {"class": "card verdict worse"}) in page.tags


def test_pictures_that_are_shown_were_kept(answered_run):
    shown = answer_gallery(RunFolder(answered_run))
    kept = {path.stem for path in (answered_run / "evaluation" / "test_pictures").iterdir()}
    assert kept and all(picture_of(answered_run, "test", name) for name in kept)
    assert shown.pictures
