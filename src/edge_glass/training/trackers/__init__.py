"""Experiment trackers, one file each: `training.report_to` lists names of files of this package.

Such a file has the name of the package that must be installed, and defines `build(run)`, which makes an
`accelerate.tracking.GeneralTracker` of a `TrackedRun` and starts nothing. Every other tracker that accelerate
knows works by its name too, without run id, group and tags.
"""

from __future__ import annotations

import importlib.util
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from edge_glass.config.sections.training import TRACKERS, tracker_package
from edge_glass.core.errors import ConfigError

if TYPE_CHECKING:
    from accelerate.tracking import GeneralTracker


@dataclass(frozen=True)
class TrackedRun:
    """What a tracker is told of a run.

    Attributes:
        folder: The run folder.
        project: What the run belongs to.
        name: Name of the experiment; several runs may share it.
        given_id: The run's id in the tracker, where the experiment file names one.
        group: Runs of one group are shown together.
        tags: Free words to find the run by.
    """

    folder: Path
    project: str
    name: str
    given_id: str | None = None
    group: str | None = None
    tags: Sequence[str] = ()

    @cached_property
    def id(self) -> str:
        """The run's id in the tracker: made once per run folder and kept in its file `run_id`.

        So a resumed run goes on in the same tracker run, and two runs of one experiment are two.
        """
        file = self.folder / "run_id"
        if self.given_id is None and file.exists():
            return file.read_text(encoding="utf-8").strip()
        made = self.given_id or f"{self.name}-{uuid.uuid4().hex[:8]}"
        file.write_text(made + "\n", encoding="utf-8")
        return made


def require_trackers(names: Sequence[str]) -> None:
    """Check that trackers are known and installed.

    Raises:
        ConfigError: One is not, with what to install.
    """
    for name in names:
        if name not in TRACKERS.names():
            _require_known(name)
        if importlib.util.find_spec(name) is None:
            raise ConfigError(
                f"training.report_to: {name} is not installed; pip install {tracker_package(name)}, or leave "
                f"{name} out"
            )


def build_trackers(names: Sequence[str], run: TrackedRun) -> list[GeneralTracker]:
    """Make the trackers of a run; the training loop starts and ends them. On rank 0 only.

    Raises:
        ConfigError: See `require_trackers`.
    """
    require_trackers(names)
    return [
        TRACKERS.load(name).build(run) if name in TRACKERS.names() else _other(name, run) for name in names
    ]


def _other(name: str, run: TrackedRun) -> GeneralTracker:
    """Make a tracker that only accelerate knows, told the project, and a folder if it wants one."""
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS

    kind = LOGGER_TYPE_TO_CLASS[name]
    tracker: GeneralTracker = (
        kind(run.project, str(run.folder)) if kind.requires_logging_directory else kind(run.project)
    )
    return tracker


def _require_known(name: str) -> None:
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS

    if name not in LOGGER_TYPE_TO_CLASS:
        known = ", ".join(sorted({*TRACKERS.names(), *LOGGER_TYPE_TO_CLASS}))
        raise ConfigError(f"training.report_to: expected some of {known}; got {name!r}")
