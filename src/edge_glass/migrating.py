"""The calls of the two projects that Edge Glass continues: those that work, and what has the others' place.

`docs/migrating.md` is the table for readers. Old keywords are taken by `takes_old_calls`, old names by
`find`, which `edge_glass` asks for names that it does not have.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import logging
from collections.abc import Callable, Mapping
from typing import Any, Final, NoReturn, ParamSpec, TypeVar

from edge_glass.core.errors import ConfigError

P = ParamSpec("P")
Result = TypeVar("Result")

logger = logging.getLogger(__name__)

STILL_THERE: Final = {
    "get_image_transforms": "edge_glass.data.transforms",
    "build_alignment_model": "edge_glass.alignment.model.alignment",
    "setup_logger": "edge_glass.migrating",
    "init_distributed": "edge_glass.migrating",
}
"""Old names of functions that work as before → the module that has them."""

CALLED_NOW: Final = {
    "ImprovedMultimodalTrainer": "edge_glass.train(config), which returns the run folder and its results",
    "build_transforms": "VisionEncoder.load(source).preprocess, or get_image_transforms(image_size=224)",
    "_has_image": "edge_glass.detection.data.conversations.keep_with_images(rows)",
    "setup_gpu": "find_available_gpus(), and training.device in the experiment file",
    "load_and_prepare_dataset": "edge_glass.inspect(config), with the section dataset of the experiment file",
    "load_quantized_model_and_processor": "edge_glass.vlm.loading.load_vlm(config), with vlm.quantization",
    "setup_lora": "the section vlm.lora of the experiment file (rank, alpha, dropout, targets)",
    "get_callbacks": "GradNormCallback and IoUEvalCallback; edge_glass.train(config) adds its own",
    "create_training_config": "edge_glass.load_config(FILE, OVERRIDES)",
}
"""Old functions and classes that are gone → what to call; the message comes when they are called."""

VALUES_NOW: Final = {"system_message": "dataset.system_prompt in the experiment file"}
"""Old constants that are gone → what has their place."""


class OldCallError(ConfigError, TypeError):
    """A call of the original project that means something else today; the message names today's."""


class OldNameError(ConfigError, ImportError):
    """A name of the original project that is gone; the message names what has its place."""


def find(name: str) -> Any:
    """Return what an old name of the package stands for.

    Raises:
        OldNameError: A constant that is gone.
        AttributeError: No such name, neither today nor then.
    """
    if name in STILL_THERE:
        return getattr(importlib.import_module(STILL_THERE[name]), name)
    if name in CALLED_NOW:
        return functools.partial(_refuse, name)
    if name in VALUES_NOW:
        raise OldNameError(f"{name} is called {VALUES_NOW[name]} now (docs/migrating.md)")
    raise AttributeError(f"module 'edge_glass' has no attribute {name!r}")


def _refuse(name: str, *args: Any, **options: Any) -> NoReturn:
    raise OldCallError(f"{name}(…) is {CALLED_NOW[name]} now (docs/migrating.md)")


def takes_old_calls(
    today: str,
    *,
    elsewhere: Mapping[str, str] | None = None,
    fill: Callable[[dict[str, Any]], dict[str, Any]] | None = None,
    refuses: Callable[[Mapping[str, Any]], bool] | None = None,
    **renamed: str,
) -> Callable[[Callable[P, Result]], Callable[P, Result]]:
    """Let a function or constructor take the original project's keywords too.

    Args:
        today: Today's call, for the message where an old one cannot be answered.
        elsewhere: Old keywords that are an option of something else now → what; they are named in the log and
            left out.
        fill: Given the keywords, after renaming, of a call with old ones: what else they imply.
        refuses: Whether these arguments, by name, are those of an old call that means something else.
        **renamed: Old keyword → today's.
    """

    def decorate(function: Callable[P, Result]) -> Callable[P, Result]:
        signature = inspect.signature(function)

        @functools.wraps(function)
        def call(*args: Any, **options: Any) -> Result:
            old = [name for name in options if name in renamed]
            for name in old:
                if renamed[name] in options:
                    raise OldCallError(f"expected {name} or {renamed[name]}, which are the same; got both")
                options[renamed[name]] = options.pop(name)
            for name in [name for name in options if name in (elsewhere or {})]:
                logger.warning("%s has no effect here: it is %s now", name, (elsewhere or {})[name])
                del options[name]
            try:
                if old and fill is not None:
                    given = signature.bind_partial(*args, **options).arguments
                    implied = fill(options).items()
                    options.update(
                        (name, value) for name, value in implied if name not in {**given, **options}
                    )
                bound = signature.bind(*args, **options)
            except TypeError as error:
                raise OldCallError(f"expected {today}; {error} (docs/migrating.md)") from error
            if refuses is not None and refuses(bound.arguments):
                raise OldCallError(f"expected {today}; got an old call (docs/migrating.md)")
            return function(*args, **options)

        return call

    return decorate


def setup_logger(name: str = "edge_glass", level: int | str = logging.INFO) -> logging.Logger:
    """Return a logger that writes to the terminal: time, level and message."""
    found = logging.getLogger(name)
    found.setLevel(level)
    if not found.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        found.addHandler(handler)
    return found


def init_distributed(device: str = "auto") -> tuple[int, int]:
    """Join the processes that torchrun started, until this one ends; alone, do nothing.

    `edge_glass.train` does this by itself.

    Args:
        device: `cpu` keeps off the GPU.

    Returns:
        This process's rank, and how many there are.

    Raises:
        ConfigError: The environment is incomplete.
    """
    import atexit

    from edge_glass.core import distributed

    joined = distributed.processes(device)
    joined.__enter__()
    atexit.register(joined.__exit__, None, None, None)
    return distributed.rank(), distributed.world_size()
