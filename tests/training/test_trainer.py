"""The training loop with a real small task behind it."""

from __future__ import annotations

import logging
import os
import random
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from regression_task import Network, Regression, SignalAt, build, metrics, run, same_weights

from edge_glass.core.errors import CheckpointError, TrainingError
from edge_glass.training.callbacks import StopOnSignal
from edge_glass.training.checkpoint import find_checkpoint, list_checkpoints, problems, read_checkpoint
from edge_glass.training.loop import seed_step
from edge_glass.training.optimizers import build_optimizer
from edge_glass.training.saving import MODEL

MIXED: dict[str, Any] = {"dropout": 0.3, "training": {"epochs": 3, "logging_steps": 5, "eval_epochs": 0.75}}


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, torch.Tensor]]:
    """A run over MIXED that nothing disturbed: its folder and its weights."""
    folder = tmp_path_factory.mktemp("mixed")
    return folder, run(folder, **MIXED).model.state_dict()


def step_of(folder: Path) -> int:
    """The step a checkpoint is of."""
    return int(folder.name.removeprefix("step-"))


def newest(folder: Path) -> Path:
    """The newest whole checkpoint of a run."""
    found = find_checkpoint(folder / "checkpoints")
    assert found is not None
    return found


def weights_at(folder: Path, step: int) -> dict[str, torch.Tensor]:
    """The weights in a checkpoint of a run."""
    return read_checkpoint(folder / "checkpoints" / f"step-{step:06d}")[0][MODEL]


# The loop


def test_it_learns_and_logs(tmp_path: Path) -> None:
    trainer = run(tmp_path, training={"epochs": 20, "logging_steps": 4})
    lines = metrics(tmp_path)
    losses = [line["train/loss"] for line in lines if "train/loss" in line]
    assert losses[-1] < losses[0] / 5
    assert [line["step"] for line in lines if "train/loss" in line] == [1, *range(4, 81, 4)]
    assert [line["step"] for line in lines if "val/score" in line] == list(range(4, 81, 4))
    names = {name for line in lines for name in line}
    parts = {"loss", "mse", "lr", "grad_norm", "step", "epoch"}
    assert names == {"step", "epoch", "val/score"} | {f"train/{part}" for part in parts}
    assert trainer.state.global_step == 80
    # With equal batches the loss and its only part are the same mean.
    assert all(
        line["train/mse"] == pytest.approx(line["train/loss"]) for line in lines if "train/mse" in line
    )


def test_every_row_once_per_epoch(tmp_path: Path) -> None:
    task = Regression(rows=20)
    run(tmp_path, task, training={"epochs": 2})
    epochs = [[*chain(*task.seen[:3])], [*chain(*task.seen[3:])]]
    assert [len(batch) for batch in task.seen] == [8, 8, 4, 8, 8, 4]
    assert sorted(epochs[0]) == sorted(epochs[1]) == sorted(f"row{index}" for index in range(20))
    assert epochs[0] != epochs[1]


def test_rows_of_different_kinds_never_share_a_batch(tmp_path: Path) -> None:
    task = Regression(rows=20)
    task.row_kinds = np.array([0, 1] * 10)  # type: ignore[attr-defined]
    kinds = task.row_kinds  # type: ignore[attr-defined]
    sections: dict[str, Any] = {"dataset": {"batch_size": 4}, "training": {"max_steps": 12}}
    run(tmp_path, task, **sections)
    parities = [{int(kinds[int(name.removeprefix("row"))]) for name in batch} for batch in task.seen]
    assert all(len(each) == 1 for each in parities)
    assert sorted(map(len, task.seen[:6])) == [2, 2, 4, 4, 4, 4]
    assert sorted(chain(*task.seen[:6])) == sorted(chain(*task.seen[6:]))


def test_rows_before_a_resume_are_not_fetched_again(tmp_path: Path) -> None:
    run(tmp_path, signal_at=6)
    fetched: list[Any] = []
    task = Regression()
    get = task.train_dataset.__getitem__
    task._rows.__class__ = type(
        "Counting", (type(task._rows),), {"__getitem__": lambda _, key: fetched.append(key) or get(key)}
    )
    run(tmp_path, task, resume=newest(tmp_path))
    assert [epoch for epoch, _ in fetched] == [1] * 16 + [2] * 32


def test_only_matrices_decay() -> None:
    model = Network()
    optimizer = build_optimizer("adamw", model, lr=0.05, betas=(0.9, 0.95), weight_decay=0.3)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    decays = {
        names[id(parameter)]: group["weight_decay"]
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    assert decays.keys() == dict(model.named_parameters()).keys()
    assert {name for name, decay in decays.items() if decay > 0} == {"body.0.weight", "body.3.weight"}
    assert set(decays.values()) == {0.3, 0.0}


@pytest.mark.parametrize(("rows", "batch", "accumulation"), [(32, 2, 4), (32, 4, 2), (24, 2, 4), (20, 2, 4)])
def test_accumulation_changes_nothing(tmp_path: Path, rows: int, batch: int, accumulation: int) -> None:
    """A mean over 8 rows is the mean of 4 means over 2; also in the last, smaller group of an epoch."""
    whole = run(tmp_path / "whole", Regression(rows), dataset={"batch_size": 8})
    parts = run(
        tmp_path / "parts",
        Regression(rows),
        dataset={"batch_size": batch},
        training={"epochs": 3, "gradient_accumulation_steps": accumulation},
    )
    assert whole.state.global_step == parts.state.global_step
    for name, value in whole.model.state_dict().items():
        torch.testing.assert_close(parts.model.state_dict()[name], value, rtol=1e-9, atol=1e-12)
    for one, other in zip(metrics(tmp_path / "whole"), metrics(tmp_path / "parts"), strict=True):
        for name in one.keys() - {"epoch", "train/epoch"}:
            assert other[name] == pytest.approx(one[name], rel=1e-6)  # logged sums are float32


def test_dropout_is_a_function_of_seed_and_step(tmp_path: Path) -> None:
    torch.manual_seed(1)
    one = run(tmp_path / "one", dropout=0.5)
    torch.manual_seed(2)
    other = run(tmp_path / "other", dropout=0.5)
    seeded = run(tmp_path / "seeded", dropout=0.5, seed=1)
    assert same_weights(one.model.state_dict(), other.model.state_dict())
    assert not same_weights(one.model.state_dict(), seeded.model.state_dict())


def test_every_step_has_a_seed_of_its_own() -> None:
    def draws(seed: int, step: int, on_cpu: bool = True) -> tuple[float, ...]:
        seed_step(seed, step, on_cpu)
        return (*torch.rand(3).tolist(), random.random())

    assert draws(3, 5) == draws(3, 5) == draws(3, 5, on_cpu=False)
    assert len({draws(3, step) for step in range(20)}) == 20
    assert draws(3, 5) != draws(4, 5)


@pytest.mark.parametrize("greater", [True, False])
def test_the_best_weights_are_loaded_at_the_end(tmp_path: Path, greater: bool) -> None:
    task = Regression()
    task.greater_is_better = greater
    trainer = run(tmp_path, task, training={"epochs": 9, "keep_checkpoints": 1})
    scores = {line["step"]: line["val/score"] for line in metrics(tmp_path) if "val/score" in line}
    best = (max if greater else min)(scores, key=lambda step: scores[step])
    assert best != max(scores), "with this seed the last step would be the best: nothing is tested"
    assert same_weights(trainer.model.state_dict(), weights_at(tmp_path, best))
    assert task.evaluate(trainer.model, "val")["score"] == scores[best]
    assert {step_of(path) for path in list_checkpoints(tmp_path / "checkpoints")} == {best, max(scores)}


# Numbers that are not


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path: Path) -> None:
    clean = Regression()
    every_step = {"epochs": 1, "eval_epochs": 0.25, "keep_checkpoints": 9}
    run(tmp_path / "clean", clean, training=every_step)
    bad_step = next(step for step, ids in enumerate(clean.seen, 1) if "row5" in ids)
    assert bad_step > 1, "with this seed the first step is the bad one: nothing is saved before it"
    with pytest.raises(TrainingError) as caught:
        run(tmp_path / "bad", Regression(bad=[5]), training=every_step)
    message = str(caught.value)
    assert message.startswith(f"step {bad_step}: the loss is nan; samples row")
    assert "row5" in message and caught.value.exit_code == 3
    assert step_of(newest(tmp_path / "bad")) == bad_step - 1
    assert same_weights(
        weights_at(tmp_path / "bad", bad_step - 1), weights_at(tmp_path / "clean", bad_step - 1)
    )
    before = [line for line in metrics(tmp_path / "clean") if line["step"] < bad_step]
    assert metrics(tmp_path / "bad") == before


@pytest.mark.parametrize("max_grad_norm", [1.0, 0.0])
@pytest.mark.parametrize("accumulation", [1, 2])
def test_a_gradient_that_is_not_finite_stops_the_run(
    tmp_path: Path, max_grad_norm: float, accumulation: int
) -> None:
    trainer = build(
        tmp_path,
        Regression(explode=[5]),
        optimization={"lr": 0.05, "max_grad_norm": max_grad_norm},
        training={"epochs": 2, "eval_epochs": 0.25, "gradient_accumulation_steps": accumulation},
    )
    with pytest.raises(TrainingError, match=r"step \d+: the gradient norm is nan; samples .*row5") as caught:
        trainer.train()
    assert f"({8 * accumulation} in all)" in str(caught.value) or accumulation == 1
    step = trainer.state.global_step
    assert all(torch.isfinite(value).all() for value in trainer.model.state_dict().values())
    if step:
        assert same_weights(trainer.model.state_dict(), weights_at(tmp_path, step))


# Stopping and going on


@pytest.mark.parametrize("step", range(1, 13))
def test_stopped_in_any_step_it_goes_on_bit_equal(
    mixed: tuple[Path, dict[str, torch.Tensor]], tmp_path: Path, step: int
) -> None:
    """Also in the middle of an epoch, between two log lines, and in the very last step."""
    stopped = run(tmp_path, signal_at=step, **MIXED)
    assert stopped.state.global_step == step
    assert step_of(newest(tmp_path)) == step
    resumed = run(tmp_path, resume=newest(tmp_path), **MIXED)
    assert same_weights(resumed.model.state_dict(), mixed[1])
    assert metrics(tmp_path) == metrics(mixed[0])


@pytest.mark.parametrize("accumulation", [1, 3])
def test_stopped_again_and_again(tmp_path: Path, accumulation: int) -> None:
    options: dict[str, Any] = {
        "dropout": 0.3,
        "dataset": {"batch_size": 2},
        "training": {"epochs": 2, "logging_steps": 4, "gradient_accumulation_steps": accumulation},
    }
    through = run(tmp_path / "through", **options)
    resume = None
    for step in (2, 3, 7, 8):
        run(tmp_path / "stopped", signal_at=step, resume=resume, **options)
        resume = newest(tmp_path / "stopped")
    resumed = run(tmp_path / "stopped", resume=resume, **options)
    assert same_weights(resumed.model.state_dict(), through.model.state_dict())
    assert metrics(tmp_path / "stopped") == metrics(tmp_path / "through")


def test_workers_do_not_change_the_weights(
    mixed: tuple[Path, dict[str, torch.Tensor]], tmp_path: Path
) -> None:
    """Also when a run goes on with another number of them."""
    run(tmp_path, signal_at=6, **MIXED, dataset={"batch_size": 8, "num_workers": 2})
    resume = newest(tmp_path)
    resumed = run(tmp_path, resume=resume, **MIXED, dataset={"batch_size": 8, "num_workers": 1})
    assert same_weights(resumed.model.state_dict(), mixed[1])
    assert metrics(tmp_path) == metrics(mixed[0])


@pytest.mark.parametrize("training", [{"epochs": 3}, {"epochs": 3, "max_steps": 10}, {"max_steps": 2}])
def test_a_run_killed_after_its_last_step_takes_no_other(tmp_path: Path, training: dict[str, Any]) -> None:
    through = run(tmp_path, training=training, dropout=0.3, optimization={"lr": 0.05, "schedule": "constant"})
    lines, steps = metrics(tmp_path), list_checkpoints(tmp_path / "checkpoints")
    task = Regression()
    options: dict[str, Any] = {"dropout": 0.3, "optimization": {"lr": 0.05, "schedule": "constant"}}
    resumed = run(tmp_path, task, resume=newest(tmp_path), training=training, **options)
    assert task.seen == []
    assert same_weights(resumed.model.state_dict(), through.model.state_dict())
    assert metrics(tmp_path) == lines and list_checkpoints(tmp_path / "checkpoints") == steps


EARLY: dict[str, Any] = {"epochs": 30, "early_stopping_patience": 3}


def test_early_stopping(tmp_path: Path) -> None:
    trainer = run(tmp_path, training=EARLY)
    scores = [line["val/score"] for line in metrics(tmp_path) if "val/score" in line]
    assert trainer.state.global_step < 120, "it never stopped early"
    best = scores.index(max(scores))
    assert len(scores) == best + 1 + 3
    assert same_weights(trainer.model.state_dict(), weights_at(tmp_path, 4 * (best + 1)))


def test_a_run_killed_after_stopping_early_stays_stopped(tmp_path: Path) -> None:
    through = run(tmp_path, training=EARLY)
    lines = metrics(tmp_path)
    task = Regression()
    resumed = run(tmp_path, task, resume=newest(tmp_path), training=EARLY)
    assert task.seen == []
    assert same_weights(resumed.model.state_dict(), through.model.state_dict())
    assert metrics(tmp_path) == lines


def test_patience_survives_a_resume(tmp_path: Path) -> None:
    through = run(tmp_path / "through", training=EARLY)
    last = through.state.global_step
    for step in (last - 11, last - 8, last - 5, last - 1):
        folder = tmp_path / str(step)
        run(folder, signal_at=step, training=EARLY)
        resumed = run(folder, resume=newest(folder), training=EARLY)
        assert resumed.state.global_step == last, f"stopped at {step}"
        assert same_weights(resumed.model.state_dict(), through.model.state_dict())


def test_more_patience_lets_a_stopped_run_go_on(tmp_path: Path) -> None:
    stopped = run(tmp_path, training=EARLY)
    more = EARLY | {"early_stopping_patience": 6}
    resumed = run(tmp_path, resume=newest(tmp_path), training=more)
    assert resumed.state.global_step > stopped.state.global_step


@pytest.mark.parametrize(
    "changed", [{"lr": 0.2}, {"weight_decay": 0.5}, {"betas": (0.5, 0.6)}, {"schedule": "constant"}]
)
def test_new_settings_of_the_optimizer_are_used(tmp_path: Path, changed: dict[str, Any]) -> None:
    """As in a run that had them all along, from the step on at which it is resumed."""
    old = {"lr": 0.05, "warmup_ratio": 0.0}
    run(tmp_path, signal_at=4, optimization=old)
    start = newest(tmp_path)
    resumed = run(tmp_path, resume=start, training={"logging_steps": 1}, optimization=old | changed)
    options = resumed.optimizer.param_groups[0]
    fresh = build(tmp_path / "other", Regression(), optimization=old | changed)
    fresh._prepare()
    for name in ("betas", "weight_decay", "initial_lr"):
        assert options[name] == fresh.optimizer.param_groups[0][name]
    rates = {line["step"]: line["train/lr"] for line in metrics(tmp_path) if "train/lr" in line}
    share = fresh.lr_scheduler.lr_lambdas[0]
    assert {step: rates[step] for step in range(5, 13)} == {
        step: fresh.args.learning_rate * share(step - 1) for step in range(5, 13)
    }


def test_going_back_to_an_earlier_step(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """With other settings: what was done after that step is dropped, from the log and from the disk."""
    options: dict[str, Any] = {"training": {"epochs": 3, "keep_checkpoints": 5}}
    first = run(tmp_path, **options)
    with caplog.at_level(logging.WARNING, logger="edge_glass"):
        again = run(
            tmp_path,
            resume=tmp_path / "checkpoints/step-000004",
            training={"epochs": 3, "keep_checkpoints": 1},
        )
    assert "step-000012 is deleted: training goes on from step 4" in caplog.text
    assert same_weights(first.model.state_dict(), again.model.state_dict())
    assert len({line["step"] for line in metrics(tmp_path) if "train/loss" in line}) == 12


def test_with_the_newest_broken_the_others_are_not_thrown_away(tmp_path: Path) -> None:
    """One checkpoint is kept, the newest is broken: what is written next must not be pruned in its favour."""
    through = run(tmp_path / "through", training={"epochs": 3})
    folder = tmp_path / "broken"
    run(folder, signal_at=11, training={"epochs": 3, "keep_checkpoints": 3})
    (folder / "checkpoints/step-000011" / MODEL).unlink()
    run(folder, resume=newest(folder), signal_at=9, training={"epochs": 3, "keep_checkpoints": 1})
    assert step_of(newest(folder)) == 9
    resumed = run(folder, resume=newest(folder), training={"epochs": 3, "keep_checkpoints": 1})
    assert same_weights(resumed.model.state_dict(), through.model.state_dict())


def test_the_best_checkpoint_was_damaged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The run still ends: with the last weights, and it says so."""
    trainer = run(tmp_path, training={"epochs": 9})
    best = trainer.state.best_global_step
    assert best is not None and best < 36
    last = weights_at(tmp_path, 36)
    os.truncate(tmp_path / f"checkpoints/step-{best:06d}" / MODEL, 10)
    with caplog.at_level(logging.WARNING, logger="edge_glass"):
        resumed = run(tmp_path, resume=newest(tmp_path), training={"epochs": 9})
    assert f"step-{best:06d}, the best so far, is skipped: {MODEL} has 10 bytes" in caplog.text
    assert same_weights(resumed.model.state_dict(), last)


def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    run(tmp_path, signal_at=3)
    trainer = build(tmp_path, Regression())
    trainer.model.extra = torch.nn.Linear(2, 2).double()
    with pytest.raises(CheckpointError, match="do not fit"):
        trainer.train(resume_from_checkpoint=str(newest(tmp_path)))


def test_a_second_signal_stops_at_once(tmp_path: Path) -> None:
    """In the middle of a step; what was saved before is whole."""
    stop = StopOnSignal()
    trainer = build(tmp_path, Regression(), stop, SignalAt(6), SignalAt(6))
    with pytest.raises(KeyboardInterrupt), stop.listening():
        trainer.train()
    assert step_of(newest(tmp_path)) == 4
    assert problems(newest(tmp_path)) is None


def test_nothing_in_a_checkpoint_is_pickled(tmp_path: Path) -> None:
    run(tmp_path)
    suffixes = {file.suffix for file in newest(tmp_path).iterdir()}
    assert suffixes == {".json", ".safetensors"}


def test_the_network_of_the_tests_is_a_function_of_nothing() -> None:
    """The comparisons above rest on it."""
    torch.manual_seed(5)
    assert same_weights(Network().state_dict(), Network().state_dict())
