"""One process with the whole batch, and several processes with parts of it: the same losses and gradients."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel
from towers import DIMENSIONS, Towers, rows
from world import run_well

from edge_glass.alignment.model.loss import AlignmentLoss
from edge_glass.core import distributed
from edge_glass.core.errors import ConfigError
from edge_glass.core.gathering import Shares, gather_rows, zero_touching

# How many rows each of two ranks has: equal shares, the ragged end of an epoch, a rank without rows, one row.
SHARES = [(4, 4), (2, 1), (3, 0), (0, 3), (1, 0)]
LOSSES: list[dict[str, Any]] = [
    {"kind": kind, "sample_single_mrl_dim": sampled, "contrastive": 0.25, "mrl": 0.8}
    for kind, sampled in product(["infonce", "siglip"], [False, True])
] + [{"kind": "infonce", "contrastive": 1.0, "mrl": 0.0}]
CASES = [
    (loss, shares, groups, head)
    for loss, shares in product(LOSSES, SHARES)
    for groups, head in [(0, "linear"), (3, "mlp"), (3, "residual")]
]


def measure(model: Towers, batch: dict[str, Tensor], wrap: bool) -> dict[str, Any]:
    """Loss, report and gradients after one backward pass."""
    called = DistributedDataParallel(model, broadcast_buffers=False) if wrap else model
    loss, report = called(batch, step=3, diagnostics=True)
    loss.backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    return {"loss": loss.detach(), **report, "gradients": gradients}


def measure_all(cases: list[Any]) -> list[dict[str, Any]]:
    """Every case on this rank's share of the rows."""
    found = []
    for loss, shares, groups, head in cases:
        start = sum(shares[: distributed.rank()])
        mine = slice(start, start + shares[distributed.rank()])
        batch = {name: value[mine] for name, value in rows(sum(shares), groups=groups).items()}
        found.append(measure(Towers(head, **loss), batch, wrap=True))
    return found


@pytest.fixture(scope="module")
def on_two_ranks() -> list[list[dict[str, Any]]]:
    """What each of two ranks found, for every case."""
    return run_well(measure_all, CASES)


@pytest.mark.parametrize("number", range(len(CASES)), ids=lambda number: str(CASES[number]))
def test_two_ranks_equal_one(on_two_ranks: list[list[dict[str, Any]]], number: int) -> None:
    loss, shares, groups, head = CASES[number]
    alone = measure(Towers(head, **loss), rows(sum(shares), groups=groups), wrap=False)
    for rank in on_two_ranks:
        torch.testing.assert_close(rank[number], alone, rtol=1e-9, atol=1e-12)
    assert torch.equal(on_two_ranks[0][number]["loss"], on_two_ranks[1][number]["loss"])
    if sum(shares) > 1 and loss["kind"] == "infonce" and not groups:
        assert all(gradient.abs().max() > 0 for gradient in alone["gradients"].values() if gradient.ndim != 1)


def test_the_temperature_of_three_ranks_equals_that_of_one() -> None:
    case = ({"kind": "siglip", "mrl": 1.0}, (3, 0, 4), 4, "linear")
    alone = measure(Towers("linear", kind="siglip", mrl=1.0), rows(7, groups=4), wrap=False)
    for (found,) in run_well(measure_all, [case], world_size=3):
        torch.testing.assert_close(found, alone, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("kind", ["infonce", "siglip"])
def test_no_rows_at_all(kind: str) -> None:
    """Alone and together: a loss of zero, and a zero gradient for every parameter."""
    batch = rows(0)
    alone = measure(Towers(kind=kind), batch, wrap=False)
    together = run_well(measure_all, [({"kind": kind}, (0, 0), 0, "residual")])
    for found in (alone, *(rank[0] for rank in together)):
        gradients = found.pop("gradients")
        assert found["loss"] == 0 and all(torch.isfinite(value) for value in found.values())
        assert all(gradient is not None and not gradient.any() for gradient in gradients.values())


def evaluate_alone() -> tuple[float, float]:
    """Rank 1 measures in eval mode while rank 0 does something else."""
    model = Towers("mlp").eval()
    if distributed.rank() == 0:
        return 0.0, 0.0
    loss, report = model(rows(5))
    return loss.item(), report["ln_batch"].item()


def test_in_eval_mode_nobody_is_asked() -> None:
    alone, report = Towers("mlp").eval()(rows(5))
    assert run_well(evaluate_alone)[1] == (alone.item(), report["ln_batch"].item())


# Gathering


def gather_uneven(shares: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Rows gathered, and the gradient of a sum in which rank r weighs every row (r + 1) times its number."""
    own = distributed.rank()
    x = (torch.arange(3.0) + 100 * own).expand(shares[own], 3).clone().requires_grad_()
    gathered = gather_rows(x, Shares.of(len(x), x.device))
    weights = torch.arange(1.0, len(gathered) + 1)
    ((own + 1) * weights[:, None] * gathered).sum().backward()
    assert x.grad is not None
    return gathered.detach(), x.grad


UNEVEN = [(2, 2), (3, 1), (0, 2), (2, 0)]


def gather_each() -> list[tuple[Tensor, Tensor]]:
    """`gather_uneven` for all of them."""
    return [gather_uneven(shares) for shares in UNEVEN]


@pytest.fixture(scope="module")
def gathered_on_two_ranks() -> list[list[tuple[Tensor, Tensor]]]:
    """What each of two ranks gathered."""
    return run_well(gather_each)


@pytest.mark.parametrize("number", range(len(UNEVEN)))
def test_gathering_with_gradients(
    gathered_on_two_ranks: list[list[tuple[Tensor, Tensor]]], number: int
) -> None:
    shares, results = UNEVEN[number], [rank[number] for rank in gathered_on_two_ranks]
    expected = torch.cat([(torch.arange(3.0) + 100 * rank).expand(shares[rank], 3) for rank in (0, 1)])
    assert all(torch.equal(gathered, expected) for gathered, _ in results)
    gradient = torch.cat([gradient for _, gradient in results])
    assert torch.equal(gradient, 3.0 * torch.arange(1.0, sum(shares) + 1)[:, None].expand(-1, 3))


def test_alone_nothing_is_copied() -> None:
    x = torch.randn(3, 2)
    shares = Shares.of(3, x.device)
    assert gather_rows(x, shares) is x
    assert (shares.total, shares.first, shares.mine) == (3, 0, slice(0, 3))


def test_the_largest_tensor_is_local_times_global(monkeypatch: pytest.MonkeyPatch) -> None:
    """One rank of eight, simulated: no tensor of the graph has more than b × B elements."""
    local, world = 32, 8
    sizes: list[int] = []

    def note(tensor: Tensor) -> Tensor:
        sizes.append(tensor.numel())
        return tensor

    shares = Shares((local,) * world, rank=3)
    everyone = torch.randn(local * world, 8)
    for name, value in {
        "Shares.of": lambda rows, device: shares,
        "gather_rows": lambda x, shares: torch.cat([x] * world) + 0 * everyone.sum(),
        "sum_over_ranks": lambda x, shares: x,
    }.items():
        target = "edge_glass.alignment.model.loss." + name
        monkeypatch.setattr(target, value)
    x, y = (torch.randn(local, 8, requires_grad=True) for _ in range(2))
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        loss, _ = AlignmentLoss([8, 4])(x, y, torch.arange(local), torch.arange(local))
    loss.backward()
    assert max(sizes) == local * local * world


def test_zero_touching() -> None:
    one, other = torch.tensor([float("nan"), 1.0], requires_grad=True), torch.tensor(2.0, requires_grad=True)
    nothing = zero_touching(one, other, torch.empty(0, 3))
    nothing.backward()
    assert nothing == 0 and not one.grad.any() and other.grad == 0  # type: ignore[union-attr]


def test_kinds_are_still_checked() -> None:
    with pytest.raises(ConfigError):
        AlignmentLoss(DIMENSIONS, kind="triplet")  # type: ignore[arg-type]
