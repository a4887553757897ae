"""A kind is a file: the modules of a package, found by listing it and imported when they are asked for.

To add a pooling, an optimiser, a task …, write one new file into the package of its kind. Its name is what
the experiment file says; what it has to define stands in the docstring of its package.
"""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType

from edge_glass.core.errors import ConfigError


class Registry:
    """The kinds that a package holds, one module each.

    Example:
        >>> Registry("edge_glass.encoders.poolings", "pooling").names()
        ['attention', 'cls', 'mean']
    """

    def __init__(self, package: str, noun: str) -> None:
        self.package = package
        self.noun = noun

    def names(self) -> list[str]:
        """Return the kinds in alphabetical order. No module of a kind is imported."""
        folders = importlib.import_module(self.package).__path__
        return sorted(found.name for found in pkgutil.iter_modules(folders) if not found.name.startswith("_"))

    def load(self, name: str) -> ModuleType:
        """Import one kind.

        Raises:
            ConfigError: There is no such kind; those that there are get named.
        """
        if name not in self.names():
            raise ConfigError(
                f"expected one of the {self.noun} kinds {', '.join(self.names())}; got {name!r}"
            )
        return importlib.import_module(f"{self.package}.{name}")
