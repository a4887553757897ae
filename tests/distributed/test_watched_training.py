"""On two gloo processes: time budgets that end together, and gradients that are looked at together."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch
from towers import Towers, rows
from transformers import TrainerControl, TrainerState, TrainingArguments
from world import run_well

from edge_glass.core import distributed
from edge_glass.core.errors import TrainingError
from edge_glass.detection.iou_callback import IoUEvalCallback, within
from edge_glass.training.gradients import GradientCheck, component_norms
from edge_glass.training.sharding import shard


def first_part(name: str) -> str:
    """`x_head.weight` → `x_head`."""
    return name.partition(".")[0]


def late(items: int, budget: float, pause: float) -> list[int]:
    """What a rank gets whose items take so long."""
    taken = []
    for item in within(range(items), budget):
        taken.append(item)
        time.sleep(pause)
    return taken


def check(model: torch.nn.Module, folder: str) -> str:
    """What the check says of a model after a backward pass."""
    args = TrainingArguments(output_dir=folder, use_cpu=True)
    callback, state, control = GradientCheck(), TrainerState(), TrainerControl()
    callback.on_train_begin(args, state, control)
    try:
        callback.on_pre_optimizer_step(args, state, control, model=model)
    except TrainingError as error:
        return str(error).splitlines()[0]
    return "sound"


def watch(folder: str) -> dict[str, Any]:
    """Everything at once, on this rank."""
    rank = distributed.rank()
    found: dict[str, Any] = {
        "own length": late(3 + 2 * rank, 60.0, 0.0),
        "nothing": late(2 * rank, 60.0, 0.0),
        "one is late": late(50, 0.5, 0.2 * rank),
    }
    model = Towers("mlp")
    shard(model, torch.device("cpu"))
    mine = slice(4 * rank, 4 + 4 * rank)
    model({name: value[mine] for name, value in rows(8).items()})[0].backward()
    found["norms"] = component_norms(model, first_part)
    found["sound"] = check(model, folder)
    callback = IoUEvalCallback(lambda model, seconds: {"mean_iou": float(rank), "seconds": seconds}, 2, 9.0)
    control, state = TrainerControl(), TrainerState(global_step=2)
    callback.on_step_end(TrainingArguments(output_dir=folder, use_cpu=True), state, control, model=model)
    found["logs"] = {"loss": 1.0}
    callback.on_log(None, state, control, logs=found["logs"])  # type: ignore[arg-type]
    found["cut"] = all(hasattr(each, "full_tensor") for each in model.parameters() if each.ndim)
    name, broken = next((name, each) for name, each in model.named_parameters() if each.ndim == 2)
    if rank == 1:
        broken.grad.to_local().view(-1)[0] = float("nan")  # type: ignore[union-attr]
    found["broken"], found["name"] = check(model, folder), name
    if rank == 0:
        broken.grad = None
    found["different"] = check(model, folder)
    return found


def test_ranks_agree(tmp_path: Path) -> None:
    ranks = run_well(watch, str(tmp_path))
    assert [rank["own length"] for rank in ranks] == [[0, 1, 2], [0, 1, 2, 3, 4]]
    assert [rank["nothing"] for rank in ranks] == [[], [0, 1]]
    taken = [rank["one is late"] for rank in ranks]
    assert taken[0] == taken[1] and 1 <= len(taken[0]) < 50
    plain = Towers("mlp")
    plain(rows(8))[0].backward()
    expected = component_norms(plain, first_part)
    for rank in ranks:
        for name, norm in rank["norms"].items():
            if name != "loss":  # its scalar is kept whole and averaged by the trainer
                torch.testing.assert_close(norm, expected[name], rtol=1e-6, atol=0.0)
        assert rank["norms"].keys() == expected.keys()
        assert rank["sound"] == "sound" and rank["cut"]
        assert rank["logs"] == {"loss": 1.0, "val_iou/mean_iou": 0.0, "val_iou/seconds": 9.0}
        name = rank["name"]
        finite = f"1 trained parameter(s) with a gradient that is not finite: {name}"
        assert rank["broken"] == f"step 1: {finite}."
        assert rank["different"] == f"step 1: 1 trained parameter(s) with no gradient: {name}; {finite}."
