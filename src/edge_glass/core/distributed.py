"""The processes of one run: joining them, agreeing, gathering, and leaving in good order.

Every function is a no-op on one process. A run is started with `torchrun`, or by hand with RANK, WORLD_SIZE,
MASTER_ADDR and MASTER_PORT in the environment of every process.
"""

from __future__ import annotations

import gc
import math
import os
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from edge_glass.core.errors import ConfigError, EdgeGlassError, TrainingError
from edge_glass.core.liveness import Liveness

TIMEOUT_SECONDS = 600.0

Result = TypeVar("Result")
Item = TypeVar("Item")

_liveness: Liveness | None = None


def rank() -> int:
    """Return the number of this process, 0 to world_size - 1."""
    return dist.get_rank() if _is_joined() else 0


def world_size() -> int:
    """Return the number of processes of the run, over all machines."""
    return dist.get_world_size() if _is_joined() else 1


def is_main() -> bool:
    """Return whether this process writes the run folder."""
    return rank() == 0


def is_local_main() -> bool:
    """Return whether this process is the first on its machine, which fills the caches of the machine."""
    return world_size() == 1 or int(os.environ.get("LOCAL_RANK", "0")) == 0


def barrier() -> None:
    """Wait for all ranks, for as long as every one of them gives signs of life."""
    if world_size() == 1:
        return
    if _liveness is not None:
        _liveness.wait_for_all()
    else:
        agree(False)


def largest(number: int) -> int:
    """Return the largest number any rank has, the same on every rank."""
    if world_size() == 1:
        return number
    found = torch.tensor([number])
    dist.all_reduce(found, op=dist.ReduceOp.MAX)
    return int(found)


def agree(flag: bool) -> bool:
    """Return whether the flag is set on any rank, the same on every rank."""
    return largest(int(flag)) > 0


def from_main(value: Any) -> Any:
    """Return rank 0's value on every rank: plain data such as metrics or a path."""
    if world_size() == 1:
        return value
    values = [value]
    dist.broadcast_object_list(values, src=0)
    return values[0]


def on_main(function: Callable[[], Result]) -> Result:
    """Run a function on rank 0 while the others wait, however long; return or raise the same on every rank.

    Raises:
        EdgeGlassError: Rank 0 raised it.
    """
    result, error = None, None
    if is_main():
        try:
            result = function()
        except EdgeGlassError as caught:
            if world_size() == 1:
                raise
            error = caught
    barrier()
    result, error = from_main((result, error))
    if error is not None:
        raise error
    return result


def from_all(value: Any) -> list[Any]:
    """Return the values of all ranks in rank order, the same on every rank: plain data."""
    if world_size() == 1:
        return [value]
    values: list[Any] = [None] * world_size()
    dist.all_gather_object(values, value)
    return values


def own_share(items: Sequence[Item]) -> list[Item]:
    """Return this rank's part of a list that all ranks have; parts are consecutive and nearly equal."""
    ranks = world_size()
    return list(items[len(items) * rank() // ranks : len(items) * (rank() + 1) // ranks])


def rows_from_all(rows: Tensor) -> Tensor:
    """Map `[n, ...]` on every rank, n perhaps 0 → `[sum n, ...]` in rank order, without gradient.

    Any dtype, on the CPU or the GPU: what travels are the bytes.
    """
    if world_size() == 1:
        return rows.detach()
    counts = from_all(len(rows))
    width = math.prod(rows.shape[1:])
    content = rows.detach().reshape(len(rows), width).contiguous().view(torch.uint8)
    padded = content.new_zeros(max(counts), content.shape[1])
    padded[: len(rows)] = content
    gathered = content.new_empty(world_size() * max(counts), content.shape[1])
    dist.all_gather_into_tensor(gathered, padded)
    parts = [part[:count] for part, count in zip(gathered.split(max(1, max(counts))), counts, strict=False)]
    return torch.cat(parts).view(rows.dtype).reshape(-1, *rows.shape[1:])


@contextmanager
def processes(device: str = "auto", timeout_seconds: float = TIMEOUT_SECONDS) -> Iterator[None]:
    """Join the processes that the environment names, and leave them at the end; alone, do nothing.

    While the block runs, every process watches the others: when one dies, the others end too, and say which.

    Args:
        device: `cpu` keeps the run off the GPU.
        timeout_seconds: How long to wait for all processes to come, and in one collective.

    Raises:
        ConfigError: The environment is incomplete, or asks for a plan of sharing that is not ours.
        TrainingError: A process never came, or died.
    """
    global _liveness
    _refuse_other_plans()
    if not _is_launched() or _is_joined():
        yield
        return
    _join(device, timeout_seconds)
    try:
        _liveness = Liveness(rank(), world_size())
        with _liveness.watching():
            yield
            barrier()
            agree(False)  # the barrier asks rank 0's store: nobody leaves while another still asks
    except BaseException as error:
        _release_model(error)
        raise
    finally:
        _liveness = None
        gc.collect()
        dist.destroy_process_group()  # with a model still alive, gloo aborts the process now and then


def _release_model(error: BaseException | None) -> None:
    """Empty the frames an error came through: they hold the model, and with it the connections."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__


def _is_joined() -> bool:
    """Return whether this process is one of a group already."""
    return dist.is_available() and dist.is_initialized()


def _refuse_other_plans() -> None:
    """Refuse what `accelerate launch` may ask for and the training loop does not do, before it goes wrong."""
    for plan, name in (("DEEPSPEED", "DeepSpeed"), ("MEGATRON_LM", "Megatron-LM"), ("FSDP", "its own FSDP")):
        if os.environ.get(f"ACCELERATE_USE_{plan}", "false").lower() == "true":
            raise ConfigError(
                f"expected to be started with torchrun; got accelerate launch with {name}, which the "
                "training loop does not use.\ntraining.sharding=fsdp spreads weights, gradients and "
                "optimizer state over the processes, as ZeRO stage 3 does."
            )


def _is_launched() -> bool:
    """Say whether torchrun, or somebody by hand, started this process as one of several."""
    if "RANK" not in os.environ and int(os.environ.get("WORLD_SIZE", "1")) <= 1:
        return False
    missing = [
        name for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT") if name not in os.environ
    ]
    if missing:
        raise ConfigError(
            f"this process is started as one of several, but {', '.join(missing)} is not set; "
            "start it with torchrun, or set RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT"
        )
    return True


def _join(device: str, timeout_seconds: float) -> None:
    """Form one group for both kinds of tensors: gloo for those in memory, NCCL for those on the GPU."""
    number = int(os.environ["RANK"])
    on_gpu = device != "cpu" and torch.cuda.is_available()
    local = os.environ.setdefault("LOCAL_RANK", str(number % torch.cuda.device_count() if on_gpu else number))
    if on_gpu:
        if int(local) >= torch.cuda.device_count():
            raise ConfigError(
                f"rank {number} is process {local} of its machine, which has {torch.cuda.device_count()} "
                "GPUs; expected one process per GPU: start fewer, or set training.device=cpu"
            )
        torch.cuda.set_device(int(local))
    try:
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if on_gpu else "gloo", timeout=timedelta(seconds=timeout_seconds)
        )
    except (RuntimeError, ValueError) as error:
        where = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        raise TrainingError(
            f"rank {number} could not join the {os.environ['WORLD_SIZE']} processes that meet at {where} "
            f"within {timeout_seconds:.0f} s ({str(error).splitlines()[0]}).\n"
            "Were all of them started, and is that address reachable from every machine?"
        ) from error
