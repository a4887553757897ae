"""The trainer on two ranks: the curve of one process, exact resume, and one answer to every signal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from training_runs import KILL, TERM, Run, checkpoints, execute, metrics
from world import Died, run_ranks, run_well

MIXED: dict[str, Any] = {"batch_size": 4, "dropout": 0.3}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    """A run of two ranks that nothing disturbed: its folder and what each rank says."""
    folder = tmp_path_factory.mktemp("undisturbed")
    return folder, run_well(execute, Run(folder, **MIXED))


def same_weights(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Bit-equal."""
    return all(torch.equal(one["weights"][name], other["weights"][name]) for name in one["weights"])


@pytest.mark.parametrize("sharded", [False, True])
@pytest.mark.parametrize("accumulation", [1, 2])
def test_two_ranks_draw_the_curve_of_one(tmp_path: Path, sharded: bool, accumulation: int) -> None:
    """With a last batch of one row, of which the second rank has nothing."""
    options: dict[str, Any] = {"accumulation": accumulation, "head": "residual"}
    alone = execute(Run(tmp_path / "one", batch_size=8, **options))
    ranks = run_well(execute, Run(tmp_path / "two", batch_size=4, sharded=sharded, **options))
    assert alone["sizes"] == [8, 8, 1] * 4
    assert [rank["sizes"] for rank in ranks] == [[4, 4, 1] * 4, [4, 4, 0] * 4]
    assert ranks[0]["wrapped"] == ("FSDPTowers" if sharded else "DistributedDataParallel")
    for rank in ranks:
        assert rank["step"] == alone["step"]
        assert Path(rank["best"]).name == Path(alone["best"]).name
        for name, value in alone["weights"].items():
            torch.testing.assert_close(rank["weights"][name], value, rtol=1e-7, atol=1e-9)
    for one, two in zip(metrics(tmp_path / "one"), metrics(tmp_path / "two"), strict=True):
        assert two == pytest.approx(one, rel=1e-4, abs=1e-6)
    assert checkpoints(tmp_path / "one") == checkpoints(tmp_path / "two")


def test_all_ranks_end_with_the_best_weights(undisturbed: tuple[Path, list[dict[str, Any]]]) -> None:
    _, (one, other) = undisturbed
    assert same_weights(one, other)
    assert one["best"] == other["best"] is not None


@pytest.mark.slow
@pytest.mark.parametrize("sharded", [False, True])
def test_killed_and_resumed_it_is_bit_equal(tmp_path: Path, sharded: bool) -> None:
    options = MIXED | {"sharded": sharded}
    through = run_well(execute, Run(tmp_path / "through", **options))
    folder = tmp_path / "killed"
    died = run_ranks(execute, Run(folder, **options, signals=[(0, 8, KILL), (1, 8, KILL)]))
    assert all(isinstance(rank, Died) and "-9" in str(rank) for rank in died)
    assert checkpoints(folder)[-1] == "step-000006"
    resumed = run_well(execute, Run(folder, **options, resume=True))
    assert all(same_weights(one, other) for one, other in zip(through, resumed, strict=True))
    assert metrics(folder) == metrics(tmp_path / "through")


def test_a_signal_to_one_rank_stops_both(
    undisturbed: tuple[Path, list[dict[str, Any]]], tmp_path: Path
) -> None:
    stopped = run_well(execute, Run(tmp_path, **MIXED, signals=[(1, 5, TERM)]))
    assert [(rank["step"], rank["received"]) for rank in stopped] == [(5, TERM)] * 2
    assert checkpoints(tmp_path) == ["step-000002", "step-000004", "step-000005"]
    resumed = run_well(execute, Run(tmp_path, **MIXED, resume=True))
    assert all(same_weights(one, other) for one, other in zip(undisturbed[1], resumed, strict=True))
    assert metrics(tmp_path) == metrics(undisturbed[0])


def test_a_signal_to_both_ranks_counts_once(tmp_path: Path) -> None:
    """The second one to arrive is no "again to stop at once"."""
    stopped = run_well(execute, Run(tmp_path, **MIXED, signals=[(0, 5, TERM), (1, 5, TERM)]))
    assert [(rank["step"], rank["received"]) for rank in stopped] == [(5, TERM)] * 2
