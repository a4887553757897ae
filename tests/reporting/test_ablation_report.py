"""The ablation: one table in three forms and one plot, with failed and partial runs."""

from __future__ import annotations

import csv

import pytest
from PIL import Image

from edge_glass.errors import DataError
from edge_glass.reporting.ablation import group_variants, markdown_table, write_ablation_report


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
    for words in ("0.310", "± 0.010", "0.410", "1,705,985", "1 min 41 s", "1.0 GiB", "400"):
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

    table = (tmp_path / "ablation" / "ablation.md").read_text(encoding="utf-8").splitlines()
    assert len(table) == 5
    assert len({line.replace("\\|", "").count("|") for line in table}) == 1, "every line has the same cells"
    assert "**0.410** ± 0.010" in table[3] and "**2**" in table[3]
    assert "&lt;b>" in table[3]


def test_chosen_metrics_only():
    table = markdown_table(group_variants(rows()), ["i2t_r1@64"])
    assert "at 64 numbers" in table and "median rank" not in table


def test_only_failures_and_nothing(tmp_path, read_page):
    page = read_page(write_ablation_report(tmp_path, [{"variant": "a", "seed": 0, "error": "x"}]))
    assert page.images() == [] and "Runs without numbers" in page.text
    with pytest.raises(DataError, match="no rows"):
        write_ablation_report(tmp_path, [])
