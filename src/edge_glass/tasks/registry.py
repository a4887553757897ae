"""What the house asks of a task, and the tasks there are: one file each in `edge_glass/experiment/tasks/`.

No other file asks which task an experiment is of. Modules of a task are imported inside the methods, so that
using one task loads no module of another.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from edge_glass.config.schema import ExperimentConfig
from edge_glass.core.errors import ConfigError
from edge_glass.core.registry import Registry

if TYPE_CHECKING:
    from edge_glass.data.samples import SampleTable
    from edge_glass.reporting.inspection import Inspection
    from edge_glass.reporting.run_folder import RunFolder
    from edge_glass.tasks.experiment import Experiment
    from edge_glass.tasks.merging import Merged

TASKS: Final = Registry("edge_glass.experiment.tasks", "task")


class TaskKind(ABC):
    """One task: from its experiment file to its report. Each module of `TASKS` defines one as `KIND`.

    Attributes:
        name: What `task:` says in the experiment file.
        config: The class of its experiment file.
        does: What a finished model does, such as "searches pictures".
        example: A command that uses a finished model; `{folder}` stands for its folder.
        plots: The package of its plots, one file each; see `edge_glass.reporting.plots`.
    """

    name: str
    config: type[ExperimentConfig]
    does: str
    example: str
    plots: str

    @abstractmethod
    def experiment(self, config: Any, progress: bool = True, model: Any = None) -> Experiment:
        """Build what a run trains and measures.

        Args:
            config: The experiment, of class `config`.
            progress: Show progress bars.
            model: A finished model to measure; by default a fresh one is built.
        """

    def rows(self, config: Any) -> Mapping[str, SampleTable]:
        """Return the rows of train, val and test as they are read; none where they are no tables.

        A finished run is compared with them, to see whether its data changed.

        Raises:
            DataError: They cannot be used.
        """
        return {}

    @abstractmethod
    def load_trained(self, config: Any, folder: Path) -> Any:
        """Load the model of a finished run from its `model/` folder, to be measured again.

        Raises:
            CheckpointError: It is missing or broken, or does not fit the experiment.
        """

    @abstractmethod
    def load(self, folder: str | Path) -> Any:
        """Load a finished model, ready to use: `.search`, `.answer`, `.detect` …

        Raises:
            CheckpointError: There is no finished model, or it is broken.
        """

    def page(self, run: RunFolder) -> tuple[str, dict[str, Any]]:
        """Return the template of the report and what is special to this task in it."""
        return "run.html.j2", {}

    def describe(self, run: RunFolder) -> str:
        """Return what the terminal shows of a finished run: verdict, main numbers, where to look next."""
        from edge_glass.reporting.terminal import describe

        return describe(run, [self.example.format(folder=run.path)])

    def metrics_table(self, results: dict[str, Any]) -> str:
        """Return all metrics of one evaluation with their intervals, as text."""
        from edge_glass.reporting.terminal import metrics_text

        return metrics_text(results, results["metrics"])

    def companions(self, config: Any) -> dict[str, Any]:
        """Return the experiments to compare this one with, by name: they are run after it."""
        return {}

    def inspect(self, config: Any, count: int = 8, split: str = "train") -> Inspection:
        """Return some rows of a split as the model receives them.

        Raises:
            ConfigError: This task has no rows to show.
            DataError: The rows cannot be used.
        """
        raise self.lacks("inspect", "inspect", config.name)

    def on_few_rows(self, config: Any, rows: int) -> Any:
        """Return the task on a few training rows, which are trained on and measured, for `overfit`.

        Raises:
            ConfigError: This task has nothing to learn by heart.
            DataError: The rows cannot be used.
        """
        raise self.lacks("overfit", "on_few_rows", config.name)

    def merge(self, run: Path, output: Path | None, bound: float | None, rows: int, progress: bool) -> Merged:
        """Write the run's model with its adapters merged, as a plain Hugging Face folder.

        Raises:
            ConfigError: This task has no adapters, or the run has none.
            CheckpointError: The run is not finished, or the merged model answers differently.
        """
        raise self.lacks("merge", "merge", str(run))

    def lacks(self, command: str, method: str, what: str) -> ConfigError:
        """Return the error for a command that this task does not have; those that have it get named."""
        others = [kind for kind in map(task_kind, TASKS.names()) if method in vars(type(kind))]
        names = " and ".join(kind.name for kind in others)
        return ConfigError(f"{what} is of task {self.name}; expected a task that has `{command}`: {names}")


def task_kind(name: str) -> TaskKind:
    """Return the task of this name.

    Raises:
        ConfigError: There is none; those that there are get named.
    """
    kind: TaskKind = TASKS.load(name).KIND
    return kind
