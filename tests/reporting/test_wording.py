"""Numbers and verdicts as sentences."""

from __future__ import annotations

import pytest

from edge_glass.alignment.report.sides import measured_sides
from edge_glass.alignment.report.tables import closed_form_sentence
from edge_glass.reporting.wording import (
    format_bytes,
    format_difference,
    format_mebibytes,
    format_seconds,
    format_value,
    headline,
    left_out_sentence,
    metric_label,
)


def results(status: str, difference: float, low: float, high: float, metric: str = "mean_r1") -> dict:
    verdict = {"status": status, "metric": metric, "difference": difference, "low": low, "high": high}
    return {
        "metrics": {"mean_r1": {"value": 0.36}, "i2t_medr": {"value": 3.0}},
        "baseline": {"mean_r1": {"value": 0.01}, "i2t_medr": {"value": 150.5}},
        "closed_form": {"mean_r1": {"value": 0.3}},
        "verdict": verdict,
        "closed_form_verdict": verdict,
    }


def test_headlines():
    assert (
        headline(results("improved", 0.35, 0.31, 0.39))
        == "Improved: mean R@1 0.010 → 0.360 (+0.350, 95 % interval 0.310 to 0.390)"
    )
    assert (
        headline(results("improved", -147.5, -160, -120.0, "i2t_medr"))
        == "Improved: picture → words median rank 150.5 → 3 (−147.5, 95 % interval −160 to −120)"
    )
    assert headline(results("worse", -0.02, -0.04, -0.01)).startswith("Worse: mean R@1")
    assert "0.000, 95 % interval −0.010 to 0.010" in headline(results("unchanged", 0.0, -0.01, 0.01))


@pytest.mark.parametrize(
    ("status", "rival", "words"),
    [
        (
            "improved",
            "worse",
            "Improved, but the nearest neighbour is better (0.410 to 0.360): mean R@1 0.010",
        ),
        (
            "improved",
            "improved",
            "Improved, and better than the strongest trivial rival (nearest neighbour, 0",
        ),
        (
            "improved",
            "unchanged",
            "Improved, but not told apart from the nearest neighbour (0.410 to 0.360):",
        ),
        ("worse", "worse", "Worse, and the nearest neighbour is better (0.410 to 0.360): mean R@1 0.010"),
        (
            "too_few",
            "too_few",
            "Too few to say, and not told apart from the nearest neighbour (0.410 to 0.36",
        ),
    ],
)
def test_the_headline_names_the_strongest_rival(status, rival, words):
    found = results(status, 0.35, 0.31, 0.39)
    found["verdict"]["strongest_rival"] = {"name": "nearest_neighbour", "value": 0.41, "status": rival}
    assert headline(found).startswith(words)


@pytest.mark.parametrize(
    ("status", "words"),
    [
        ("improved", "Training beat the closed form: mean R@1 0.360 against 0.300 (+0.060"),
        ("worse", "Training did not beat the closed form, which is better"),
        ("unchanged", "Training and the closed form cannot be told apart"),
    ],
)
def test_closed_form(status, words):
    assert closed_form_sentence(results(status, 0.06, 0.01, 0.1)).startswith(words)


def test_closed_form_not_measured():
    assert closed_form_sentence({"metrics": {}}) is None


def test_data_sentences():
    assert left_out_sentence("val", {"rows": 150, "rejected": {}}) == "val: 150 rows used, none left out"
    assert (
        left_out_sentence("train", {"rows": 1468, "rejected": {"broken": 2, "empty": 1}})
        == "train: 1,468 rows used, 3 left out: broken (2), empty (1)"
    )


def test_labels_and_numbers():
    assert metric_label("t2i_r10@256") == "words → picture R@10 at 256 numbers"
    assert metric_label("a2t_r1@128") == "sound → words R@1 at 128 numbers"
    assert [metric_label(f"{side}_medr") for side in ("t2a", "v2a", "a2v")] == [
        "words → sound median rank",
        "picture → sound median rank",
        "sound → picture median rank",
    ]
    assert measured_sides(["mean_r1", "a2t_r10@128", "i2t_r1", "loss"]) == ["i2t", "a2t"]
    assert [format_mebibytes(size) for size in (None, 3 * 2**30)] == ["–", "3,072"]
    assert metric_label("accuracy") == "accuracy"
    assert metric_label("token_f1") == "token F1"
    assert metric_label("vqa_accuracy/type/yes-no") == "VQA accuracy, yes-no"
    assert metric_label("bleu/source/easy-vqa") == "BLEU from easy-vqa"
    assert format_value("mean_r1", None) == format_value("mean_r1", float("nan")) == "–"
    assert format_difference("mean_r1", -0.0001) == "0.000"
    assert [format_seconds(s) for s in (3.21, 41, 200, 7500, None)] == [
        "3.2 s",
        "41 s",
        "3 min 20 s",
        "2 h 05 min",
        "–",
    ]
    assert [format_bytes(b) for b in (10, 312 * 2**20, 1.5 * 2**30)] == ["10 B", "312 MiB", "1.5 GiB"]
