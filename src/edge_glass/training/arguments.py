"""From the experiment file to `transformers.TrainingArguments`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from transformers import TrainingArguments

from edge_glass.config.schema import ExperimentConfig
from edge_glass.core import distributed
from edge_glass.training.sampler import batches_per_epoch

LOG_LINES = 200


@dataclass(frozen=True)
class TrainingPlan:
    """How many steps a run takes and how often it looks up."""

    steps_per_epoch: int
    total_steps: int
    eval_steps: int
    logging_steps: int

    @classmethod
    def of(
        cls,
        config: ExperimentConfig,
        rows: int,
        world_size: int | None = None,
        kinds: np.ndarray | None = None,
    ) -> TrainingPlan:
        """Plan for `rows` training rows of these kinds (see `EpochBatchSampler`).

        `world_size` is by default that of this run.
        """
        training = config.training
        global_batch = config.dataset.batch_size * (world_size or distributed.world_size())
        batches = max(1, batches_per_epoch(rows, global_batch, kinds))
        steps_per_epoch = math.ceil(batches / training.gradient_accumulation_steps)
        total = training.max_steps or steps_per_epoch * training.epochs
        eval_steps = min(total, max(1, round(steps_per_epoch * training.eval_epochs)))
        logging_steps = training.logging_steps or max(1, total // LOG_LINES)
        return cls(steps_per_epoch, total, eval_steps, logging_steps)


def training_arguments(
    config: ExperimentConfig,
    plan: TrainingPlan,
    checkpoints: Path,
    primary_metric: str,
    greater_is_better: bool,
    timeout_seconds: float = distributed.TIMEOUT_SECONDS,
) -> TrainingArguments:
    """Make `TrainingArguments` for one run; whatever is not set here keeps the library's default."""
    training, optimization = config.training, config.optimization
    on_cpu = training.device == "cpu" or not torch.cuda.is_available()
    precision = resolve_precision(training.precision, training.device)
    return TrainingArguments(
        output_dir=str(checkpoints),
        per_device_train_batch_size=config.dataset.batch_size,
        gradient_accumulation_steps=training.gradient_accumulation_steps,
        max_steps=plan.total_steps,
        learning_rate=optimization.lr,
        weight_decay=optimization.weight_decay,
        adam_beta1=optimization.betas[0],
        adam_beta2=optimization.betas[1],
        max_grad_norm=optimization.max_grad_norm,
        warmup_steps=optimization.warmup_ratio,
        lr_scheduler_type=_scheduler(optimization.schedule, optimization.warmup_ratio),
        logging_strategy="steps",
        logging_steps=plan.logging_steps,
        logging_first_step=True,
        logging_nan_inf_filter=False,
        eval_strategy="steps",
        eval_steps=plan.eval_steps,
        save_strategy="steps",
        save_steps=plan.eval_steps,
        load_best_model_at_end=True,
        metric_for_best_model=primary_metric,
        greater_is_better=greater_is_better,
        bf16=precision == "bf16",
        fp16=precision == "fp16",
        use_cpu=on_cpu,
        ddp_backend="gloo" if on_cpu and distributed.world_size() > 1 else None,
        ddp_timeout=math.ceil(timeout_seconds),
        ddp_find_unused_parameters=False,
        ddp_broadcast_buffers=False,
        dataloader_num_workers=config.dataset.num_workers,
        dataloader_persistent_workers=config.dataset.num_workers > 0,
        dataloader_pin_memory=torch.cuda.is_available() and training.device != "cpu",
        remove_unused_columns=False,
        label_names=[],
        seed=config.seed,
        report_to=[],
        disable_tqdm=True,
        log_level="error",
    )


def resolve_precision(precision: str, device: str) -> str:
    """Return bf16 for `auto` on a GPU that has it, else fp32; `fast` is bf16 on a CPU that has it too."""
    if precision not in ("auto", "fast"):
        return precision
    if device != "cpu" and torch.cuda.is_available():
        return "bf16" if torch.cuda.is_bf16_supported() else "fp32"
    return "bf16" if precision == "fast" and _cpu_has_bf16() else "fp32"


def _cpu_has_bf16() -> bool:
    """Say whether the CPU multiplies bfloat16 matrices: AMX or AVX-512 of Intel and AMD, or BF16 of ARM."""
    found = torch.cpu.get_capabilities()
    return any(found.get(name, False) for name in ("amx_bf16", "avx512_bf16", "bf16", "arm_bf16"))


def _scheduler(schedule: str, warmup_ratio: float) -> str:
    if schedule == "constant" and warmup_ratio > 0:
        return "constant_with_warmup"
    return schedule
