"""Can this setup learn a handful of rows by heart? If not, no amount of data will help.

The first thing to try with any new setup: data, prompt, labels, model, learning rate and reading of the
answers are all in it, and it takes minutes. What it proves is that they fit together, not that training on
all rows will help.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any

import torch

from edge_glass.config.schema import ExperimentConfig
from edge_glass.core.passes import moved, parts
from edge_glass.core.progress import progress_bar
from edge_glass.tasks.registry import task_kind
from edge_glass.tasks.text_generation import autocast
from edge_glass.training.optimizers import build_optimizer

logger = logging.getLogger(__name__)

EVERY = 25  # steps between two measurements
WARMUP = 10
BY_HEART = 0.05  # nats per token: a model that is so sure knows the answer


@dataclass(frozen=True)
class Course:
    """What was measured at one step: the loss per supervised token and the metrics of written answers."""

    step: int
    metrics: dict[str, float]


@dataclass(frozen=True)
class Overfit:
    """The outcome of `overfit`.

    Attributes:
        learned: Whether the primary metric went above `enough`.
        metric: Its name.
        enough: What the metric had to reach.
        courses: From the untouched model to the end.
        seconds: How long it took.
        samples: Written answers beside the right ones, at the end.
        reason: Why it was not learned, in words; empty where it was.
    """

    learned: bool
    metric: str
    enough: float
    courses: list[Course]
    seconds: float
    samples: list[dict[str, Any]]
    reason: str

    def lines(self) -> list[str]:
        """Return the outcome as lines of text."""
        first, last = self.courses[0].metrics, self.courses[-1].metrics
        lines = [
            f"{self.metric} {first[self.metric]:.3f} → {last[self.metric]:.3f}, loss {first['loss']:.3f} → "
            f"{last['loss']:.4f} after {self.courses[-1].step} steps and {self.seconds:.0f} s"
        ]
        if self.learned:
            return [*lines, f"learned: {self.metric} is above {self.enough:g}; the setup fits together"]
        lines += [f"not learned: {self.reason}", "answers at the end:"]
        for sample in self.samples[:3]:
            lines += [
                f"  {sample['id']}: {sample['answer'][:160]}",
                f"    expected: {sample['reference'][:160]}",
            ]
        return lines


def overfit(
    config: ExperimentConfig,
    rows: int,
    steps: int,
    enough: float,
    progress: bool,
) -> Overfit:
    """Learn a few training rows by heart; see `edge_glass.overfit`."""
    torch.manual_seed(config.seed)
    task = task_kind(config.task).on_few_rows(config, rows)
    started = time.monotonic()
    courses = [Course(0, task.evaluate(task.model, "val"))]
    metric = task.primary_metric
    with progress_bar("learning by heart", steps, progress) as advance:
        for step, _ in zip(range(1, steps + 1), _training(task), strict=False):
            advance(1)
            if step % EVERY and step != steps:
                continue
            courses.append(Course(step, task.evaluate(task.model, "val")))
            metrics = courses[-1].metrics
            logger.info("step %d: loss %.4f, %s %.3f", step, metrics["loss"], metric, metrics[metric])
            if metrics[metric] > enough or not math.isfinite(metrics["loss"]):
                break
    learned = courses[-1].metrics[metric] > enough
    reason = "" if learned else _reason(courses, metric)
    return Overfit(learned, metric, enough, courses, time.monotonic() - started, task.samples, reason)


def _training(task: Any) -> Iterator[None]:
    """Train a step at a time: all rows, in parts of the batch size, weighted by supervised tokens."""
    config, model = task.config, task.model
    optimization = config.optimization
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = build_optimizer(
        optimization.optimizer, model, lr=optimization.lr, betas=optimization.betas, weight_decay=0.0
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / WARMUP))
    rows = range(len(task.splits["train"]))
    batches = [_batch(task, part) for part in parts(rows, config.dataset.batch_size)]
    total = max(1, sum(map(task.weight, batches)))
    for step in count():
        model.train()
        optimizer.zero_grad()
        for batch in batches:
            with autocast(config, model.device):
                mean, _ = task.loss(model, batch, step=step, diagnostics=False)
            (mean * (task.weight(batch) / total)).backward()
        if optimization.max_grad_norm:
            torch.nn.utils.clip_grad_norm_(trained, optimization.max_grad_norm)
        optimizer.step()
        schedule.step()
        yield


def _batch(task: Any, rows: Any) -> dict[str, Any]:
    dataset = task.train_dataset
    keys = [(0, row) for row in rows]
    items = dataset.__getitems__(keys) if hasattr(dataset, "__getitems__") else [dataset[key] for key in keys]
    return moved(task.collate(items), task.model.device)


def _reason(courses: list[Course], metric: str) -> str:
    """Return the likeliest cause, from what the numbers say."""
    first, last = courses[0].metrics, courses[-1].metrics
    if not math.isfinite(last["loss"]):
        return "the loss is not finite any more; lower optimization.lr"
    if last["loss"] > 2 * max(first["loss"], 0.1):
        return "the loss rose; lower optimization.lr"
    if last["loss"] > 0.8 * first["loss"]:
        return (
            "the loss hardly fell: optimization.lr is far too low or too high, or too little is trained "
            "(vlm.mode and lora, decoder.mode)"
        )
    if last.get("never_ended", 0.0) > 0.2:
        return (
            f"{last['never_ended']:.0%} of the answers never ended: generation.max_new_tokens is too small, "
            "or the end of the answers is not trained (see `inspect`)"
        )
    if last.get("unparsable", 0.0) > 0.2:
        return f"{last['unparsable']:.0%} of the answers cannot be read as boxes (see them below)"
    if last["loss"] < BY_HEART:
        return (
            "the right answers are known by heart (the loss is near 0), but others are written: the prompt "
            "of training is not that of generation, or answers are read in another way (see `inspect`)"
        )
    if last["loss"] < 0.98 * courses[max(0, len(courses) - 3)].metrics["loss"]:
        return f"the loss is still falling and {metric} may follow; give it more --steps"
    return (
        f"the loss stands at {last['loss']:.3f}: try a larger model, more of it trained, or another "
        "optimization.lr"
    )
