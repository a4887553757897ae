"""Gradients as training sees them: how large they are in each part of a model, and whether they are there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from edge_glass.core import distributed
from edge_glass.core.errors import TrainingError
from edge_glass.training import sharding
from edge_glass.training.log_lines import extend_line, is_training_line

_SHOWN = 8  # names in a message


class GradNormCallback(TrainerCallback):
    """Logs the gradient norm of each component: `train/grad_norm/vision`, `train/grad_norm/llm`, ...

    The norms are those before clipping, of one step, as the trainer's own `grad_norm`: their squares add up
    to its square. In the library's trainers, TRL's among them, the names are `grad_norm/COMPONENT`. Callbacks
    that write logs see them when they stand behind this one; the trainer's history has them always.

    Args:
        component: From a parameter's name to its component.
        every: Steps between two measurements; the newest goes into the next line. By default the steps that
            are logged are measured.
    """

    def __init__(self, component: Callable[[str], str], every: int | None = None) -> None:
        self.component, self.every = component, every
        self._measured: tuple[int, dict[str, float]] | None = None

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        step = state.global_step + 1
        if self._is_due(args, state, step):
            self._measured = step, component_norms(kwargs["model"], self.component)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        if logs is None or not is_training_line(logs) or self._measured is None:
            return
        (step, norms), self._measured = self._measured, None
        prefix = "train/" if "train/loss" in logs else ""
        scale = 1.0
        if step == state.global_step and 0 < args.max_grad_norm < logs.get(f"{prefix}grad_norm", 0.0):
            clipped = sum(norm**2 for norm in norms.values()) ** 0.5
            scale = float(logs[f"{prefix}grad_norm"]) / clipped if clipped > 0 else 1.0
        extend_line(state, logs, {f"{prefix}grad_norm/{name}": scale * norm for name, norm in norms.items()})

    def _is_due(self, args: TrainingArguments, state: TrainerState, step: int) -> bool:
        if self.every is not None:
            return step == 1 or step % self.every == 0
        if args.logging_strategy != "steps":
            return True  # which step ends an epoch is not known before
        return step % max(1, state.logging_steps) == 0 or (step == 1 and args.logging_first_step)


def component_norms(model: nn.Module, component: Callable[[str], str]) -> dict[str, float]:
    """Return norms of the gradients that are there, by component, in the order of the model.

    Every rank calls it: with FSDP it is a collective.
    """
    gradients: dict[str, list[Tensor]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and parameter.grad is not None:
            gradients.setdefault(component(name), []).append(parameter.grad)
    return {name: _norm(parts) for name, parts in gradients.items()}


def _norm(gradients: Sequence[Tensor]) -> float:
    """Return the norm of whole and of sharded tensors together."""
    total = 0.0
    for sharded in (False, True):
        parts = [each for each in gradients if hasattr(each, "full_tensor") == sharded]
        if parts:
            total += float(sharding.whole(torch.nn.utils.get_total_norm(parts))) ** 2
    return total**0.5


class GradientCheck(TrainerCallback):
    """Before the weights change for the first time: what is trained has gradients, what is frozen has none.

    A gradient of zeros is one: that of LoRA's A is zero as long as B is. Gradients that DeepSpeed keeps
    elsewhere are not looked for.

    Raises:
        TrainingError: On every rank, with the names of the parameters.
    """

    def __init__(self) -> None:
        self._checked = False

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._checked = getattr(args, "deepspeed", None) is not None

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if self._checked:
            return
        self._checked = True
        problems = _of_all_ranks(gradient_problems(kwargs["model"], finite=not args.fp16))
        if problems:
            raise TrainingError(f"step {state.global_step + 1}: {'; '.join(problems)}.\n{_ADVICE}")


_MISSING, _NOT_FINITE, _FROZEN = "no gradient", "a gradient that is not finite", "a gradient"
_KINDS = {_MISSING: "trained", _NOT_FINITE: "trained", _FROZEN: "frozen"}
_ADVICE = (
    "The weights were not changed by this step. Where there is no gradient, something between a parameter "
    "and the loss is detached (re-entrant checkpointing, a part in no_grad), or no row of this step uses it."
)


def gradient_problems(model: nn.Module, finite: bool = True) -> dict[str, list[str]]:
    """Name parameters whose gradient is not as it should be, by what they have.

    Args:
        model: After a backward pass.
        finite: Look at the values too; with fp16 the first gradients may overflow, which is looked after.
    """
    problems: dict[str, list[str]] = {kind: [] for kind in _KINDS}
    for name, parameter in model.named_parameters():
        gradient = parameter.grad
        if not parameter.requires_grad:
            problems[_FROZEN] += [name] if gradient is not None else []
        elif gradient is None:
            problems[_MISSING].append(name)
        elif finite and not _is_finite(gradient):
            problems[_NOT_FINITE].append(name)
    return problems


def _is_finite(gradient: Tensor) -> bool:
    """Say whether this rank's part of it is finite."""
    own = gradient.to_local() if hasattr(gradient, "to_local") else gradient
    return bool(torch.isfinite(own).all())


def _of_all_ranks(problems: dict[str, list[str]]) -> list[str]:
    """Return what any rank found, as half sentences: how many parameters have what, and some names."""
    found = distributed.from_all(problems)
    said = []
    for kind, what in _KINDS.items():
        names = list(dict.fromkeys(name for one in found for name in one[kind]))
        if names:
            some = ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")
            said.append(f"{len(names)} {what} parameter(s) with {kind}: {some}")
    return said
