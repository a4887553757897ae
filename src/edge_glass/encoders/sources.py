"""Where weights come from: assets, folders and hubs, with errors in plain words."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

import torch

from edge_glass.core.errors import AssetError, EdgeGlassError
from edge_glass.core.registry import Registry

ENCODER_FILE = "encoder.json"
WEIGHTS_FILE = "model.safetensors"
BOOKKEEPING = ("transformers_version", "architectures", "dtype", "torch_dtype")


def resolve_source(source: str | Path) -> str:
    """Map `asset:NAME` → its folder (fetched on first use); else a folder or a hub id, unchanged.

    Raises:
        AssetError: A path where nothing is, or a hub whose name this machine cannot even look up (libraries
            would retry that for a minute).
    """
    source = str(source)
    if source.startswith("asset:"):
        from edge_glass.assets import resolve

        return str(resolve(source))
    folder = Path(source).expanduser()
    if folder.is_dir():
        return str(folder)
    names_timm = source.startswith(("timm/", "hf-hub:"))
    if source.startswith((".", "~", "/")) or (source.count("/") > 1 and not names_timm):
        raise AssetError(f"expected a folder, asset:NAME or a hub id; got {source!r}, which is no folder")
    if not source.startswith("timm/"):  # whose name is looked up in timm first
        require_hub(source)
    return source


def require_hub(source: str) -> None:
    """Fail at once where the hub's name does not resolve; proxies and offline mode are the library's.

    Raises:
        AssetError: The look-up failed.
    """
    from huggingface_hub import constants

    host = urlsplit(constants.ENDPOINT).hostname
    if constants.HF_HUB_OFFLINE or getproxies():
        return
    try:
        socket.getaddrinfo(host, 443)
    except OSError as error:
        raise AssetError(
            f"{source!r} is on a hub, and {host} cannot be reached from this machine\n"
            "Give asset:NAME or a local folder; HF_HUB_OFFLINE=1 uses what was downloaded before."
        ) from error


@contextmanager
def plain_errors(source: str, what: str) -> Iterator[None]:
    """Turn whatever a library raises while loading `source` into one sentence."""
    try:
        yield
    except EdgeGlassError:
        raise
    except Exception as error:
        reason = next(
            (line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__
        )
        raise AssetError(
            f"{what} {source!r} cannot be loaded: {reason[:300]}\n"
            "Give asset:NAME, a local folder, or a hub id that this machine can reach."
        ) from error


def read_source_json(
    source: str, filename: str, subfolder: str = "", required: bool = False
) -> dict[str, Any] | list[Any] | None:
    """Read a JSON file of a folder or a hub repository; None when there is none and none is required."""
    if Path(source).is_dir() and not required:
        path = Path(source) / subfolder / filename
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
    from transformers.utils import cached_file

    found = cached_file(source, filename, subfolder=subfolder, _raise_exceptions_for_missing_entries=required)
    return json.loads(Path(found).read_text(encoding="utf-8")) if found else None


def write_record(path: Path, record: dict[str, Any]) -> None:
    """Write readable, stable JSON."""
    path.write_text(json.dumps(record, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def read_encoder_record(folder: str | Path, modality: str) -> dict[str, Any] | None:
    """Read what a saved encoder of ours says of itself; None for any other folder or a hub id."""
    path = Path(folder) / ENCODER_FILE
    if not path.is_file():
        return None
    record = json.loads(path.read_text(encoding="utf-8"))
    if record.get("modality") != modality or record.get("format") != 1:
        found = f"modality {record.get('modality')!r}, format {record.get('format')!r}"
        raise AssetError(f"{path}: expected modality {modality!r}, format 1; got {found}")
    return dict(record)


def library_of(libraries: Registry, source: str) -> ModuleType:
    """Return the library that reads what `source` holds: the first in the alphabet that recognises it.

    Args:
        libraries: Modules with a function `recognises(source)`.
        source: What `resolve_source` gave.

    Raises:
        AssetError: None does.
    """
    for name in libraries.names():
        library = libraries.load(name)
        if library.recognises(source):
            return library
    expected = f"expected a model that one of {', '.join(libraries.names())} reads"
    record = read_source_json(source, "config.json")
    found = "no config.json"
    if isinstance(record, dict):
        found = f"a config.json of model_type {record.get('model_type')!r}"
    raise AssetError(f"{source!r}: {expected} ({libraries.noun} kinds); got {found}")


def describe_transformers(model: torch.nn.Module) -> str:
    """Return the architecture of a transformers model as stable text: its config without bookkeeping."""
    config: Any = model.config
    record = {
        key: value
        for key, value in config.to_diff_dict().items()
        if not key.startswith("_") and key not in BOOKKEEPING
    }
    return f"transformers {type(model).__name__} {json.dumps(record, sort_keys=True, default=str)}"


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Show no progress bar, and no load report, which lists the keys of the other tower."""
    from transformers.utils import logging as library

    verbosity, bars = library.get_verbosity(), library.is_progress_bar_enabled()
    library.set_verbosity_error()
    library.disable_progress_bar()
    try:
        yield
    finally:
        library.set_verbosity(verbosity)
        if bars:
            library.enable_progress_bar()


def load_transformers_model(model_class: Any, source: str, subfolder: str = "", **options: Any) -> Any:
    """Load in float32, without remote code, and refuse weights the checkpoint does not have.

    transformers fills missing tensors with random numbers and only logs it. A pooler is exempt (and removed):
    pooling is ours, and many checkpoints have none.

    Raises:
        AssetError: Tensors of the architecture are missing in the checkpoint, or have another shape.
    """
    with quiet_transformers():
        model, info = model_class.from_pretrained(
            source,
            subfolder=subfolder,
            dtype=torch.float32,
            trust_remote_code=False,
            output_loading_info=True,
            **options,
        )
    missing = sorted(key for key in info["missing_keys"] if not key.startswith("pooler."))
    wrong = sorted(str(key[0] if isinstance(key, tuple) else key) for key in info.get("mismatched_keys", ()))
    if missing or wrong:
        raise AssetError(
            f"{source!r} lacks weights of {type(model).__name__}: {len(missing)} missing, {len(wrong)} "
            f"of another shape, such as {(missing + wrong)[0]}"
        )
    if isinstance(getattr(model, "pooler", None), torch.nn.Module):
        model.pooler = None
    return model
