"""Tables on the terminal."""

from __future__ import annotations

from edge_glass.alignment.report.summary import directions_table
from edge_glass.evaluation.results import read_results
from edge_glass.experiment.report import describe_run, metrics_table


def test_two_modalities(finished_run):
    results = read_results(finished_run / "results.json")
    names = [line.split()[0] for line in directions_table(results).splitlines()]
    assert names == ["test", "i2t_r1", "i2t_r5", "i2t_r10", "t2i_r1", "t2i_r5", "t2i_r10"]
    words = describe_run(finished_run)
    assert "--audio" not in words and "sound" not in words
    assert metrics_table(results | {"rows": 40}).splitlines()[1].split()[-1] == "t2i_r10"


def test_all_directions_of_three_modalities(run_with_sounds):
    (run_with_sounds / "index").mkdir(exist_ok=True)
    results = read_results(run_with_sounds / "results.json")
    table = directions_table(results)
    lines = {line.split()[0]: line for line in table.splitlines()}
    for side, words in {"a2t": "sound → words", "t2a": "words → sound", "a2v": "sound → picture"}.items():
        for measure, name in (("r1", "R@1"), ("r10", "R@10")):
            entry = results["metrics"][f"{side}_{measure}"]
            assert lines[f"{side}_{measure}"].endswith(f"{words} {name}")
            assert (
                f"{entry['value']:.3f} [{entry['low']:.3f}, {entry['high']:.3f}]"
                in lines[f"{side}_{measure}"]
            )
    assert "mean R@1 of the 6 directions" in lines["mean_r1"]
    assert max(map(len, table.splitlines())) <= 110
    words = describe_run(run_with_sounds)
    assert words.splitlines()[-1].endswith(f"edge-glass search {run_with_sounds} --audio question.wav")


def test_an_evaluation_of_three_modalities_has_a_row_per_dimension_and_direction(run_with_sounds):
    results = read_results(run_with_sounds / "results.json") | {"rows": 40}
    lines = metrics_table(results).splitlines()
    assert lines[0] == "test: 40 rows" and len(lines) == 2 + 2 * 7
    entry = results["metrics"]["a2t_r10@8"]
    row = next(line for line in lines if line.split()[:2] == ["8", "a2t"])
    assert "sound → words" in row and row.endswith(f"[{entry['low']:.3f}, {entry['high']:.3f}]")
    assert max(map(len, lines)) <= 110
