"""The smallest contrastive model and task, for tests with several ranks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from edge_glass.alignment.model.loss import AlignmentLoss
from edge_glass.core.errors import CheckpointError
from edge_glass.encoders.mrl import MRLProjection
from edge_glass.training.task import Batch, Report

WIDTH = 10
DIMENSIONS = [8, 4, 2]


class Towers(nn.Module):
    """Two heads and the loss between them; the first weights are always the same."""

    def __init__(self, head: str = "linear", dropout: float = 0.0, **loss: Any) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.x_head, self.y_head = (
                MRLProjection(WIDTH, DIMENSIONS[0], DIMENSIONS, head, hidden_dim=12, dropout=dropout)
                for _ in range(2)
            )
        self.loss = AlignmentLoss(DIMENSIONS, **loss)
        self.double()

    def forward(
        self, batch: Mapping[str, Tensor], step: int = 0, diagnostics: bool = False
    ) -> tuple[Tensor, Report]:
        """Loss of a batch of this rank's rows."""
        x, y = self.x_head(batch["x"]), self.y_head(batch["y"])
        return self.loss(x, y, batch["x_group"], batch["y_group"], step, diagnostics)

    def trainable_state_dict(self) -> dict[str, Any]:
        """All of it."""
        return self.state_dict()

    def load_trainable_state_dict(self, state: Mapping[str, Any]) -> None:
        """Strictly."""
        if state.keys() != self.state_dict().keys():
            raise CheckpointError("weights do not fit the model")
        self.load_state_dict(dict(state))


def rows(count: int, seed: int = 0, groups: int = 0) -> dict[str, Tensor]:
    """`count` pairs whose sides resemble each other; `groups` > 0: so many different ones on either side."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(count, WIDTH, generator=generator, dtype=torch.float64)
    y = x + 0.3 * torch.randn(count, WIDTH, generator=generator, dtype=torch.float64)
    own = torch.arange(count)
    x_group = torch.randint(0, groups, (count,), generator=generator) if groups else own
    y_group = torch.randint(0, groups, (count,), generator=generator) if groups else own
    return {"x": x, "y": y, "x_group": x_group, "y_group": y_group}


class Pairs(Dataset):
    """Rows drawn from (epoch, index), as augmented pictures are."""

    def __init__(self, length: int) -> None:
        self.length = length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Any]:
        epoch, index = key
        one = {name: value[0] for name, value in rows(1, 1000 * epoch + index).items()}
        return one | {
            "id": f"row{index}",
            "x_group": torch.tensor(index // 2),
            "y_group": torch.tensor(index),
        }


class Contrast:
    """See `edge_glass.training.Task`. Its metric is a function of the weights that jumps about."""

    primary_metric = "score"
    greater_is_better = True

    def __init__(self, length: int) -> None:
        self.train_dataset = Pairs(length)
        self.sizes: list[int] = []

    def collate(self, items: Sequence[Any]) -> Batch:
        """Stack; nothing becomes a batch of no rows."""
        if not items:
            return {"ids": [], **{name: value[:0] for name, value in rows(1).items()}}
        names = ("x", "y", "x_group", "y_group")
        stacked = {name: torch.stack([item[name] for item in items]) for name in names}
        return {"ids": [item["id"] for item in items], **stacked}

    def loss(self, model: nn.Module, batch: Batch, *, step: int, diagnostics: bool) -> tuple[Tensor, Report]:
        """The model's."""
        self.sizes.append(len(batch["ids"]))
        return model(batch, step, diagnostics)

    def evaluate(self, model: nn.Module, split: str) -> dict[str, float]:
        """`score` in [-1, 1]: equal for equal weights only. The heads are called by themselves."""
        with torch.no_grad():
            total = float(model.x_head(rows(4)["x"]).sum() + model.y_head(rows(4)["y"]).sum())  # type: ignore
        return {"score": float(torch.sin(torch.tensor(1000.0 * total, dtype=torch.float64)))}
