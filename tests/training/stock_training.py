"""The library's own trainer over a small network with parts: for callbacks that have to work in it too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset
from transformers import Trainer, TrainerCallback, TrainingArguments


class Parts(nn.Module):
    """An eye, a frozen middle and a mouth, with dropout; gives the library a loss."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.eye = nn.Linear(4, 8)
        self.middle = nn.Linear(8, 8)
        self.mouth = nn.Sequential(nn.Dropout(0.2), nn.Linear(8, 1))
        self.unused = nn.Linear(2, 2)
        self.middle.requires_grad_(False)
        self.unused.requires_grad_(False)

    def forward(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """`[B, 4]` and `[B]` → mean squared error."""
        guess = self.mouth(self.middle(self.eye(x)).relu()).squeeze(-1)
        return {"loss": (guess - y).square().mean(), "guess": guess}


class Rows(Dataset):
    """24 rows of a line, large enough that gradients are clipped."""

    def __len__(self) -> int:
        return 24

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        x = torch.randn(4, generator=torch.Generator().manual_seed(index))
        return {"x": x, "y": 10 * x.sum()}


def stock_trainer(
    folder: Path, *callbacks: TrainerCallback, model: nn.Module | None = None, **options: Any
) -> Trainer:
    """Three steps an epoch, every one of them logged."""
    arguments = {
        "per_device_train_batch_size": 8,
        "num_train_epochs": 2,
        "logging_steps": 1,
        "learning_rate": 0.05,
        "use_cpu": True,
        "report_to": [],
        "disable_tqdm": True,
        "save_strategy": "no",
        "logging_nan_inf_filter": False,
        "remove_unused_columns": False,
    }
    args = TrainingArguments(output_dir=str(folder), **{**arguments, **options})
    return Trainer(model or Parts(), args, train_dataset=Rows(), callbacks=list(callbacks))
