"""FSDP2: parameters, gradients and optimizer state of the trained model, spread over the ranks.

The model is one unit: its parameters are whole during a step and in parts between steps. Scalars, such as a
temperature, cannot be cut: every rank keeps them whole, and the training loop averages their gradients. Works
on GPUs and, with gloo, on CPUs.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from edge_glass.core import distributed

logger = logging.getLogger(__name__)


def is_possible(wanted: bool) -> bool:
    """Say whether sharding is wanted and there are processes to share with; warn where there are none."""
    if wanted and distributed.world_size() == 1:
        logger.warning("training.sharding is on, but one process has nothing to share")
    return wanted and distributed.world_size() > 1


def shard(model: nn.Module, device: torch.device) -> None:
    """Spread the trained parameters of a model over all ranks, in place. Frozen ones stay whole."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    kept = {each for each in model.parameters() if each.ndim == 0 or not each.requires_grad}
    for parameter in set(model.parameters()) - kept:
        parameter.data = parameter.data.contiguous()  # convolutions are channels-last, which cannot be cut
    mesh = init_device_mesh(device.type, (distributed.world_size(),))
    fully_shard(model, mesh=mesh, ignored_params=kept)
    for parameter in kept:
        if parameter.requires_grad:
            dist.broadcast(parameter.data, src=0)


def average_whole_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Average the gradients of unsharded parameters over the ranks, in place; FSDP does the rest."""
    for parameter in parameters:
        if parameter.grad is not None and not hasattr(parameter.grad, "full_tensor"):
            dist.all_reduce(parameter.grad, op=dist.ReduceOp.AVG)


@contextmanager
def no_gradient_exchange(model: Any) -> Iterator[None]:
    """Add up the gradients of a sharded model on each rank alone while the block runs."""
    model.set_requires_gradient_sync(False)
    try:
        yield
    finally:
        model.set_requires_gradient_sync(True)


@contextmanager
def whole_parameters(model: Any) -> Iterator[None]:
    """Hold parameters in one piece while the block runs: parts of a sharded model can be called alone."""
    if not hasattr(model, "unshard"):
        yield
        return
    model.unshard()
    try:
        yield
    finally:
        model.reshard()


def whole(value: Any) -> Any:
    """Return a sharded tensor in one piece on the CPU (a collective); everything else as it is."""
    return value.full_tensor().cpu() if hasattr(value, "full_tensor") else value


def whole_state(state: Mapping[str, Any]) -> dict[str, Any]:
    """Apply `whole` to each value of a state dict, in the order of its names, on every rank."""
    return {name: whole(value) for name, value in state.items()}


def split_like(state: Mapping[str, Tensor], reference: Mapping[str, Any]) -> dict[str, Tensor]:
    """Cut whole tensors as those of the same names are; names that `reference` lacks stay whole."""
    return {name: split(value, reference.get(name)) for name, value in state.items()}


def split(value: Tensor, reference: Any) -> Tensor:
    """Cut a whole tensor, the same on every rank, as `reference` is; as it is when that is not cut."""
    if not hasattr(reference, "full_tensor") or value.shape != reference.shape:
        return value
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(
        value.to(reference.device), reference.device_mesh, reference.placements, src_data_rank=None
    )
