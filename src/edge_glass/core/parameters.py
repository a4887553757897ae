"""The table of parameters: how many there are, and how many of them are trained."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from torch import nn


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
    """Format the rows and their sum as aligned text."""
    rows = list(rows)
    trained = sum(row.trained for row in rows)
    rows.append(ParameterCount("all", sum(row.total for row in rows), trained, ""))
    width = max(len("component"), *(len(row.component) for row in rows))
    lines = [f"{'component':<{width}}  {'total':>13}  {'trained':>13}  {'frozen':>13}  dtype"]
    for row in rows:
        counts = f"{row.total:>13,}  {row.trained:>13,}  {row.frozen:>13,}"
        lines.append(f"{row.component:<{width}}  {counts}  {row.dtype}".rstrip())
    return "\n".join(lines)
