"""What the processes of a run can ask each other."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from world import run_well

from edge_glass.core import distributed
from edge_glass.core.errors import ConfigError, DataError

DTYPES = [torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.bool, torch.uint8]


def on_main(fails: bool) -> str:
    """Rank 0 does something and the other hears of it."""

    def say() -> str:
        if fails:
            raise DataError("row 3: no picture")
        return f"said by {distributed.rank()}"

    try:
        return distributed.on_main(say)
    except DataError as error:
        return f"error {error}"


def ask() -> dict[str, Any]:
    """Everything at once, on this rank."""
    rank = distributed.rank()
    rows = {
        str(dtype): distributed.rows_from_all((torch.arange(6).reshape(3, 2)[: 3 * rank] % 2).to(dtype))
        for dtype in DTYPES
    }
    return {
        "who": (rank, distributed.world_size(), distributed.is_main(), distributed.is_local_main()),
        "agree": [distributed.agree(flag) for flag in (rank == 0, rank == 1, False, True)],
        "largest": distributed.largest(7 - rank),
        "from_main": distributed.from_main({"r1": 0.5 + rank}),
        "from_all": distributed.from_all(f"rank {rank}"),
        "rows": rows,
        "flat": distributed.rows_from_all(torch.arange(rank + 1)),
        "on_main": [on_main(False), on_main(True)],
        "none": distributed.rows_from_all(torch.empty(0, 5)),
    }


@pytest.fixture(scope="module")
def answers() -> list[dict[str, Any]]:
    """Of two ranks."""
    return run_well(ask)


def test_who_is_who(answers: list[dict[str, Any]]) -> None:
    assert [answer["who"] for answer in answers] == [(0, 2, True, True), (1, 2, False, False)]
    assert (distributed.rank(), distributed.world_size(), distributed.is_main()) == (0, 1, True)


def test_all_get_the_same_answers(answers: list[dict[str, Any]]) -> None:
    for answer in answers:
        assert answer["agree"] == [True, True, False, True]
        assert answer["largest"] == 7
        assert answer["from_main"] == {"r1": 0.5}
        assert answer["from_all"] == ["rank 0", "rank 1"]
        assert answer["on_main"] == ["said by 0", "error row 3: no picture"]


def test_rows_of_any_type_and_number(answers: list[dict[str, Any]]) -> None:
    for answer in answers:
        for dtype in DTYPES:
            expected = (torch.arange(6).reshape(3, 2) % 2).to(dtype)
            assert torch.equal(answer["rows"][str(dtype)], expected)
        assert answer["flat"].tolist() == [0, 0, 1]
        assert answer["none"].shape == (0, 5)


def test_alone_there_is_nobody_to_ask() -> None:
    answer: dict[str, Any] = ask()
    assert answer["agree"] == [True, False, False, True] and answer["from_all"] == ["rank 0"]
    assert answer["on_main"] == ["said by 0", "error row 3: no picture"]
    rows: Tensor = torch.ones(2, requires_grad=True)
    assert not distributed.rows_from_all(rows).requires_grad
    distributed.barrier()
    with distributed.processes("cpu"):
        assert distributed.world_size() == 1


@pytest.mark.parametrize("plan", ["DEEPSPEED", "MEGATRON_LM", "FSDP"])
def test_plans_of_another_launcher_are_refused(plan: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"ACCELERATE_USE_{plan}", "true")
    with (
        pytest.raises(ConfigError, match=r"torchrun.*\n.*training\.sharding=fsdp"),
        distributed.processes("cpu"),
    ):
        pass
