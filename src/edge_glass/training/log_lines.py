"""How callbacks add to the line that the trainer is about to log."""

from __future__ import annotations

from collections.abc import Mapping

from transformers import TrainerState


def is_training_line(logs: Mapping[str, float]) -> bool:
    """Whether a line is about training steps: of `MultimodalTrainer`, or of the library's trainers."""
    return "train/loss" in logs or "loss" in logs


def extend_line(state: TrainerState, logs: dict[str, float], values: Mapping[str, float]) -> None:
    """Add values to a line: for the callbacks that come later, and in the history where there is one."""
    logs.update(values)
    history = state.log_history
    if history and history[-1].get("step") == state.global_step and is_training_line(history[-1]):
        history[-1].update(values)
