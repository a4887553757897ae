"""The ablation: one table in three forms and one plot, with failed and partial runs."""

from __future__ import annotations

import csv

import pytest
from PIL import Image

from edge_glass.core.errors import DataError
from edge_glass.reporting.ablation import (
    difference,
    group_variants,
    markdown_table,
    marks,
    mean_interval,
    plotted_costs,
    told_apart,
    write_ablation_report,
)


def rows() -> list[dict]:
    found = []
    for variant, base in (("base", 0.30), ("wide | <b>deep</b>", 0.40)):
        for seed in range(3):
            value = base + 0.01 * seed
            found.append(
                {
                    "variant": variant,
                    "seed": seed,
                    "metrics": {
                        "i2t_r1": {"value": value, "low": value - 0.05, "high": value + 0.05},
                        "i2t_medr": 10 - 20 * base,
                        "i2t_r1@64": 0.1,
                    },
                    "seconds": 100.0 + seed,
                    "samples_per_second": 400.0,
                    "trained_parameters": 1_705_985,
                    "peak_memory_bytes": 2**30,
                }
            )
    return [*found, {"variant": "broken", "seed": 0, "metrics": {}, "error": "DataError: <no rows>"}]


def test_all_forms(tmp_path, read_page):
    page = read_page(write_ablation_report(tmp_path / "ablation", rows()))
    assert "wide | <b>deep</b>" in page.text and "seed 0: DataError: <no rows>" in page.text
    # Student's quantile for three seeds is 4.303: 0.310 ± 4.303 × 0.01 / √3.
    for words in ("0.310", "0.285 – 0.335", "0.410", "1,705,985", "101", "1,024", "400"):
        assert words in page.text
    assert len(page.images()) == 1
    assert Image.open(tmp_path / "ablation" / "ablation.png").width >= 1600

    with (tmp_path / "ablation" / "ablation.csv").open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 7
    assert (lines[4]["variant"], lines[4]["seed"], lines[4]["i2t_r1"]) == (
        "wide | <b>deep</b>",
        "1",
        "0.41000000000000003",
    )
    assert (lines[0]["i2t_r1_low"], lines[0]["i2t_medr_low"], lines[6]["error"]) == (
        "0.25",
        "",
        "DataError: <no rows>",
    )

    tables = (tmp_path / "ablation" / "ablation.md").read_text(encoding="utf-8").split("\n\n")
    table = tables[0].splitlines()
    assert len(table) == 5
    assert len({line.replace("\\|", "").count("|") for line in table}) == 1, "every line has the same cells"
    assert "**0.410** [0.385, 0.435]" in table[3] and "**2**" in table[3]
    assert "&lt;b>" in table[3]
    assert tables[-1].splitlines()[0].startswith("| minus base |")


def test_chosen_metrics_only():
    table = markdown_table(group_variants(rows()), ["i2t_r1@64"])
    assert "at 64 numbers" in table and "median rank" not in table


def test_only_failures_and_nothing(tmp_path, read_page):
    page = read_page(write_ablation_report(tmp_path, [{"variant": "a", "seed": 0, "error": "x"}]))
    assert page.images() == [] and "Runs without numbers" in page.text
    with pytest.raises(DataError, match="got none"):
        write_ablation_report(tmp_path, [])


def runs(values: dict[str, list[float]], width: float | None = None) -> list[dict]:
    """Rows of one metric, a value per seed; `width`: half of the interval over the test queries."""
    return [
        {
            "variant": name,
            "seed": seed,
            "metrics": {
                "r1": value
                if width is None
                else {"value": value, "low": value - width, "high": value + width}
            },
        }
        for name, found in values.items()
        for seed, value in enumerate(found)
    ]


def test_the_interval_of_a_mean_is_students():
    found = mean_interval([0.30, 0.31, 0.32])
    assert (found.value, found.low, found.high) == pytest.approx(
        (0.31, 0.31 - 0.024841, 0.31 + 0.024841), abs=1e-6
    )


def test_seeds_are_paired():
    """Seeds differ much, the variants by nearly the same at every seed: only pairing sees it."""
    first, second = group_variants(runs({"a": [0.1, 0.3, 0.5], "b": [0.12, 0.321, 0.519]}))
    mean, interval = difference(second, first, "r1")
    assert mean == pytest.approx(0.02) and 0 < interval.low < interval.high < 0.03
    assert first.interval("r1").high > second.interval("r1").low
    assert marks([first, second], "r1") == ["", "best"]


def test_only_common_seeds_are_compared():
    rows = runs({"a": [0.1, 0.2], "b": [0.5, 0.6, 0.7]})
    first, second = group_variants(rows[1:])
    mean, interval = difference(second, first, "r1")
    assert (mean, interval) == (pytest.approx(0.4), None)
    lonely = group_variants([rows[0], rows[4]])
    assert difference(lonely[1], lonely[0], "r1") is None


def test_what_cannot_be_told_apart_is_marked():
    noisy = group_variants(runs({"a": [0.30, 0.36, 0.33], "b": [0.35, 0.33, 0.34], "c": [0.10, 0.12, 0.11]}))
    assert marks(noisy, "r1") == ["even", "best", ""]
    assert "0.330 [0.255, 0.405] ≈" in markdown_table(noisy, ["r1"])


@pytest.mark.parametrize(("width", "apart"), [(None, False), (0.08, False), (0.04, True)])
def test_one_seed_is_judged_by_the_intervals_over_queries(width, apart):
    first, second = group_variants(runs({"a": [0.3], "b": [0.4]}, width))
    assert told_apart(second, first, "r1") is apart
    assert marks([first, second], "r1") == ["" if apart else "even", "best"]


def test_seeds_that_all_agree_are_no_evidence():
    """A deterministic start gives the same number for every seed; that is no interval of width 0."""
    first, second = group_variants(runs({"a": [0.30] * 3, "b": [0.31] * 3}, 0.05))
    assert first.interval("r1") is None and difference(second, first, "r1")[1] is None
    assert marks([first, second], "r1") == ["even", "best"]


def test_lower_is_better_for_ranks():
    rows = runs({"a": [9.0, 8.0, 8.5], "b": [3.0, 3.5, 3.2]})
    for row in rows:
        row["metrics"] = {"i2t_medr": row["metrics"]["r1"]}
    assert marks(group_variants(rows), "i2t_medr") == ["", "best"]


def test_metrics_of_answers(tmp_path, read_page):
    found = []
    for variant, value in (("trm", 0.98), ("plain", 0.97)):
        for seed in range(3):
            numbers = {
                "vqa_accuracy": {
                    "value": value + seed * value / 1000,
                    "low": value - 0.01,
                    "high": value + 0.01,
                },
                "never_ended": 1 - value + seed * value / 1000,
                "vqa_accuracy/type/yes-no": value - 0.1,
            }
            found.append({"variant": variant, "seed": seed, "metrics": numbers})
    page = read_page(write_ablation_report(tmp_path / "all", found))
    assert "VQA accuracy" in page.text and "never ended" in page.text and "yes-no" not in page.text
    variants = group_variants(found)
    assert marks(variants, "vqa_accuracy") == marks(variants, "never_ended") == ["best", ""]
    assert "VQA accuracy, yes-no" in markdown_table(variants, ["vqa_accuracy/type/yes-no"])


def test_costs_have_panels_only_where_they_differ(tmp_path):
    found = rows()[:6]
    write_ablation_report(tmp_path / "same", found)
    for row in found[3:]:
        row["trained_parameters"] = 9_000_000
    write_ablation_report(tmp_path / "other", found)
    pictures = [(tmp_path / name / "ablation.png").read_bytes() for name in ("same", "other")]
    assert pictures[0] != pictures[1]
    assert [name for name, _ in plotted_costs(group_variants(found))] == ["trained_parameters"]
