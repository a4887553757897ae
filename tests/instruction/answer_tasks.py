"""Tiny experiments of the task instruction, made without a file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import edge_glass.instruction.data.sources as conversation_sources
from edge_glass.config import ExperimentConfig
from edge_glass.config.overrides import merged
from edge_glass.instruction.data.table import InstructionTable

SIZE = {"width": 32, "heads": 2, "layers": 2}
TRM: dict[str, Any] = {"kind": "trm", "vocabulary": 300, "size": SIZE}
LORA: dict[str, Any] = {"kind": "causal_lm", "mode": "lora", "lora": {"rank": 4}}
PERCEIVER = {"num_latents": 3, "depth": 1, "num_heads": 2}

Tables = dict[str, InstructionTable]


def tiny_config(decoder: dict[str, Any] | None = None, **sections: Any) -> ExperimentConfig:
    """One epoch of the generated rows; further sections are merged over that."""
    raw: dict[str, Any] = {
        "name": "x",
        "task": "instruction",
        "tiny": True,
        "dataset": {"batch_size": 8, "max_question_length": 256, "max_answer_length": 64},
        "vision_encoder": {"pooling_type": "grid", "grid_size": 2},
        "generation": {"max_new_tokens": 6, "batch_size": 8},
        "optimization": {"lr": 0.003},
        "training": {"epochs": 1, "device": "cpu", "logging_steps": 1, "report_to": []},
        "evaluation": {"validation_rows": 5, "test_rows": 9, "bootstrap_samples": 100},
    }
    raw = merged(raw, sections) | {"decoder": decoder or TRM}
    if raw["vision_encoder"]["pooling_type"] != "grid":
        del raw["vision_encoder"]["grid_size"]
    return ExperimentConfig.model_validate(raw)


@contextmanager
def generated(change: Callable[[Tables], Tables]) -> Iterator[None]:
    """Other rows than the generated ones."""
    real = conversation_sources.generated_conversations
    conversation_sources.generated_conversations = lambda sounds=False: change(real(sounds))
    try:
        yield
    finally:
        conversation_sources.generated_conversations = real
