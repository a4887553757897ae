"""Runs of answering models as training leaves them, without the training: weights are random."""

from __future__ import annotations

from pathlib import Path

import torch

from edge_glass.config import ExperimentConfig, dump_config, load_config
from edge_glass.instruction.model.folder import save_answering_model
from edge_glass.instruction.task import InstructionTask

CONFIGS = Path(__file__).parents[1] / "configs"
QUESTIONS = ("what colour is it?", "what shape is it?", "what is it?")


def toy_config(name: str = "easy_vqa_trm", *overrides: str) -> ExperimentConfig:
    """An experiment of configs/ in the toy size."""
    own = ("training.num_threads=1", "training.report_to=[]", "evaluation.compare_with=[]")
    return load_config(CONFIGS / f"{name}.yaml", [*own, *overrides], tiny=True)


def changed_task(config: ExperimentConfig, size: float = 0.3) -> InstructionTask:
    """A task whose model is no longer the untouched one: noise was added to all that is trained."""
    task = InstructionTask(config, progress=False)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in task.model.parameters():
            if parameter.requires_grad:
                parameter += size * torch.randn(parameter.shape, generator=generator)
    task.model.eval()
    return task


def write_answering_run(folder: Path, name: str = "easy_vqa_trm", *overrides: str) -> InstructionTask:
    """Write config.yaml and model/ of such a run; gives its task, with the model that was saved."""
    task = changed_task(toy_config(name, *overrides))
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(dump_config(task.config), encoding="utf-8")
    save_answering_model(task.model, task.config, folder / "model", task.canary(task.model))
    return task
