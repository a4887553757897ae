"""Optional packages: imported where they are used, with one sentence where they are missing."""

from __future__ import annotations

import importlib
from typing import Any

from edge_glass.core.errors import ConfigError


def optional_module(name: str, extra: str) -> Any:
    """Import a package that only the extra `extra` installs.

    Raises:
        ConfigError: it, or a system library it needs, is missing.
    """
    try:
        return importlib.import_module(name)
    except (ImportError, OSError) as error:
        raise ConfigError(
            f"this needs the package {name}, which cannot be imported ({str(error)[:160]})\n"
            f"Install it with: pip install 'edge-glass[{extra}]'"
        ) from error
