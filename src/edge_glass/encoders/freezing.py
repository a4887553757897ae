"""Freezing an encoder for good, and the table of what is trained."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from torch import nn


class FreezableModule(nn.Module):
    """A module that, once frozen, has no gradients and stays in eval mode whatever its parent does.

    `model.train()` would otherwise switch dropout and drop-path on and let batch norm drift, so that the
    features in training are not those of inference.
    """

    def __init__(self) -> None:
        super().__init__()
        self.frozen = False

    def freeze(self) -> Self:
        """Stop gradients and hold eval mode."""
        self.eval()
        self.requires_grad_(False)
        self.frozen = True
        return self

    def train(self, mode: bool = True) -> Self:
        """Switch mode, except that a frozen module stays in eval mode, untouched at every step."""
        return self if self.frozen else super().train(mode)


@dataclass(frozen=True)
class ParameterCount:
    """One row of the parameter table."""

    component: str
    total: int
    trained: int
    dtype: str

    @property
    def frozen(self) -> int:
        """Parameters without gradient."""
        return self.total - self.trained


def count_parameters(component: str, module: nn.Module) -> ParameterCount:
    """Count the parameters of `module`, each once."""
    parameters = list(module.parameters())
    return ParameterCount(
        component=component,
        total=sum(parameter.numel() for parameter in parameters),
        trained=sum(parameter.numel() for parameter in parameters if parameter.requires_grad),
        dtype="+".join(sorted({str(parameter.dtype).removeprefix("torch.") for parameter in parameters}))
        or "-",
    )


def format_parameter_table(rows: Iterable[ParameterCount]) -> str:
    """The rows and their sum as aligned text."""
    rows = list(rows)
    trained = sum(row.trained for row in rows)
    rows.append(ParameterCount("all", sum(row.total for row in rows), trained, ""))
    width = max(len("component"), *(len(row.component) for row in rows))
    lines = [f"{'component':<{width}}  {'total':>13}  {'trained':>13}  {'frozen':>13}  dtype"]
    for row in rows:
        counts = f"{row.total:>13,}  {row.trained:>13,}  {row.frozen:>13,}"
        lines.append(f"{row.component:<{width}}  {counts}  {row.dtype}".rstrip())
    return "\n".join(lines)
