"""The experiment file as types: what every task has, and how the class of a task is found.

`ExperimentConfig` holds what all tasks share. Each task has a class of its own with the sections and options
that it reads, and no others: `alignment.py`, `instruction.py`, `detection.py` here, or beside a task of your
own. Nothing here imports torch, so that `edge-glass config check` answers at once.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Final, Self

from pydantic import Field, model_validator

from edge_glass.config.fields import field_at, nearest_word, section_of
from edge_glass.config.metrics import Metric
from edge_glass.config.sections.answers import DecoderConfig as DecoderConfig
from edge_glass.config.sections.answers import PrefixConfig as PrefixConfig
from edge_glass.config.sections.base import KeyPath, Problem, Section
from edge_glass.config.sections.data import DatasetConfig
from edge_glass.config.sections.detection import VlmConfig as VlmConfig
from edge_glass.config.sections.encoders import HeadConfig as HeadConfig
from edge_glass.config.sections.encoders import PerceiverConfig as PerceiverConfig
from edge_glass.config.sections.training import (
    AblationConfig,
    EvaluationConfig,
    OptimizationConfig,
    TrainingConfig,
    tracker_package,
)
from edge_glass.core.registry import Registry

TASKS: Final = Registry("edge_glass.experiment.tasks", "task")
"""The tasks; the `KIND` of each module has the class of its experiment file as `config`."""

DEFAULT_TASK: Final = "alignment"


class ExperimentConfig(Section):
    """One experiment: what `edge-glass train FILE` reads. Each task has a subclass with its own sections.

    Made by this name, it becomes the class of its task: `ExperimentConfig(name="x", task="detection")` is a
    `DetectionConfig`.

    Attributes:
        ablation_metrics: Columns of an ablation's table where the experiment does not say.
        data_paths: Options of `dataset` that are files or folders, which a toy experiment does without.
        instead: Option that only other tasks have → what to use here.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="Names the run folder runs/NAME.")
    task: str = Field(DEFAULT_TASK, description="What is trained.")
    seed: int = Field(0, ge=0, le=2**32 - 1, description="All randomness is a function of it.")
    output_dir: str = Field("runs", description="Where run folders go.")
    tiny: bool = Field(False, description="Toy-sized random models and generated rows; what --tiny sets.")
    dataset: DatasetConfig = DatasetConfig()
    optimization: OptimizationConfig = OptimizationConfig()
    training: TrainingConfig = TrainingConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    ablation: AblationConfig | None = None

    ablation_metrics: ClassVar[tuple[str, ...]] = ()
    data_paths: ClassVar[tuple[str, ...]] = ()
    instead: ClassVar[Mapping[str, str]] = {}

    def __new__(cls, *args: Any, **options: Any) -> Self:
        """Choose the class of the task."""
        chosen = config_class(options.get("task", DEFAULT_TASK)) if cls is ExperimentConfig else cls
        return super().__new__(chosen)  # type: ignore[return-value]  # of a subclass, for this class

    @classmethod
    def model_validate(cls, obj: Any, **options: Any) -> Self:
        """Validate plain data as the class of its task."""
        return super(ExperimentConfig, cls._class_for(obj)).model_validate(obj, **options)

    @classmethod
    def model_validate_json(cls, json_data: str | bytes | bytearray, **options: Any) -> Self:
        """Validate JSON as the class of its task."""
        chosen = cls._class_for(json.loads(json_data))
        return super(ExperimentConfig, chosen).model_validate_json(json_data, **options)

    @classmethod
    def _class_for(cls, raw: Any) -> type[Self]:
        if cls is not ExperimentConfig:
            return cls
        task = (
            raw.get("task", DEFAULT_TASK) if isinstance(raw, Mapping) else getattr(raw, "task", DEFAULT_TASK)
        )
        return config_class(task)  # type: ignore[return-value]  # this is the base class

    @model_validator(mode="before")
    @classmethod
    def _only_what_the_task_has(cls, raw: Any) -> Any:
        """Leave out options of other tasks that are at their default, as older run folders have them."""
        if not isinstance(raw, dict):
            return raw
        raw = _without_defaults_of_others(raw, cls, cls, ())
        if isinstance(ablation := raw.get("ablation"), dict) and cls.ablation_metrics:
            raw["ablation"] = {"metrics": list(cls.ablation_metrics)} | ablation
        return raw

    @classmethod
    def metrics(cls) -> tuple[Metric, ...]:
        """Return the metrics that the task measures; with none, names of metrics are not checked."""
        return ()

    # Checks: what one field cannot tell alone. A task adds its own by overriding.

    def problems(self, *, surroundings: bool, packages: bool = True) -> list[Problem]:
        """Return everything that is wrong with this experiment, which the schema accepts.

        Args:
            surroundings: Also look for data files and packages; never done for tiny ones, which need neither.
            packages: False leaves out the packages, which only training needs.
        """
        found = [*self.setting_problems(), *self._metric_names(), *self.unread()]
        if surroundings and not self.tiny:
            found += self.file_problems()
            found += self.package_problems() if packages else ()
        return found

    def setting_problems(self) -> Iterator[Problem]:
        """Yield settings that contradict each other."""
        for index, beta in enumerate(self.optimization.betas):
            if not 0.0 <= beta < 1.0:
                path: KeyPath = ("optimization", "betas", index)
                yield Problem(path, f"expected a number of at least 0 and below 1, got {beta}")
        if self.training.device == "cpu" and self.training.precision == "fp16":
            yield Problem(
                ("training", "precision"),
                "is fp16, which does not train on a CPU (training.device); use auto or bf16",
            )
        val, test = (
            0.0 if self.dataset.own_file(split) else getattr(self.dataset, f"{split}_fraction")
            for split in ("val", "test")
        )
        if val + test >= 1.0:
            yield Problem(
                ("dataset", "val_fraction"),
                f"{val:g} and test_fraction {test:g} leave nothing to train on; expected a sum below 1",
            )

    def file_problems(self) -> Iterator[Problem]:
        """Yield data that is not given, or not there."""
        yield from ()

    def package_problems(self) -> Iterator[Problem]:
        """Yield packages that the settings need and that are not installed."""
        for name in self.training.report_to:
            if importlib.util.find_spec(name) is None:
                yield Problem(
                    ("training", "report_to"),
                    f"asks for {name}, which is not installed; pip install {tracker_package(name)}, or leave "
                    f"{name} out",
                )

    def metric_problems(self, path: KeyPath, name: str, *, primary: bool = False) -> Iterator[Problem]:
        """Yield what is wrong with a metric's name, if anything.

        Args:
            path: Where it stands.
            name: A metric, or one of some of the rows as in `exact_match/type/color`.
            primary: It chooses the best epoch, so it is one of all rows, and better when it is higher.
        """
        whole, slash, part = name.partition("/")
        metrics = self.metrics()
        known = {row.name: row for row in metrics if row.higher_is_better or not primary}
        if not metrics:
            return
        if whole not in known:
            nearest = nearest_word(whole, list(known))
            hint = f"; did you mean {nearest}?" if nearest else ""
            yield Problem(path, f"expected a metric out of {', '.join(known)}; got {name!r}{hint}")
            return
        row = known[whole]
        kind, _, of = part.partition("/")
        by_part = [one.name for one in known.values() if one.by_part]
        if slash and primary:
            yield Problem(
                path, f"expected a metric of all rows, such as {whole}; got {name!r}, of some of them"
            )
        elif slash and not (row.by_part and kind in ("type", "source") and of):
            some = f"{', '.join(by_part)}, then /type/NAME or /source/NAME" if by_part else "no slash"
            yield Problem(path, f"expected {some}; got {name!r}")
        elif not row.installed:
            yield Problem(
                path,
                f"{whole} needs {row.package}, which is not installed; "
                f"pip install 'edge-glass[{row.extra}]', or choose another metric",
            )

    def unread_by_other_options(self) -> Iterator[tuple[str, tuple[str, ...], str]]:
        """Yield section, options of it that other settings leave unread, and why; a task overrides it."""
        yield from ()

    def unread(self) -> Iterator[Problem]:
        """Yield options that are set, and that nothing reads because of another option."""
        problems: dict[KeyPath, Problem] = {}
        for section, names, reason in self.unread_by_other_options():
            for path in (path for name in names for path in changed(self, f"{section}.{name}")):
                problems.setdefault(path, Problem(path, f"is not read {reason}; leave it out"))
        yield from problems.values()

    def _metric_names(self) -> Iterator[Problem]:
        """Check that the primary metric and the columns of the ablation's table exist."""
        path: KeyPath = ("evaluation", "primary_metric")
        yield from self.metric_problems(path, self.evaluation.primary_metric, primary=True)
        for index, name in enumerate(self.ablation.metrics if self.ablation else []):
            yield from self.metric_problems(("ablation", "metrics", index), name)

    # --tiny: the same experiment at toy size. A task overrides them.

    def toy_settings(self, family: Sequence[Any], kept: set[str]) -> dict[str, Any]:
        """Return the task's own toy settings, to merge over this experiment.

        Args:
            family: The whole experiment and its ablation variants, whose sizes shrink together.
            kept: Dotted keys that the user set beside `--tiny`.
        """
        return {}

    def toy_metric(self, name: str, family: Sequence[Any], kept: set[str]) -> str:
        """Return the name of a metric at toy size."""
        return name


def config_class(task: Any) -> type[ExperimentConfig]:
    """Return the class of a task's experiment file.

    Raises:
        ConfigError: There is no such task; those that there are get named.
    """
    found: type[ExperimentConfig] = TASKS.load(task).KIND.config
    return found


def other_classes(own: type[Section]) -> dict[str, type[ExperimentConfig]]:
    """Return the classes of all tasks but one, by task."""
    classes = {task: config_class(task) for task in TASKS.names()}
    return {task: one for task, one in classes.items() if one is not own}


def changed(section: Section, key: str) -> Iterator[KeyPath]:
    """Yield the options at a dotted key, or below it, that are not at their default."""
    name, _, below = key.partition(".")
    value, default = getattr(section, name), type(section).model_fields[name].default
    if value == default:
        return
    if isinstance(value, Section) and (below or isinstance(default, Section)):
        for inner in [below] if below else type(value).model_fields:
            yield from ((name, *path) for path in changed(value, inner))
    else:
        yield (name,)


def _without_defaults_of_others(
    raw: Mapping[str, Any], section: type[Section], own: type[Section], above: KeyPath
) -> dict[str, Any]:
    kept = {}
    for name, value in raw.items():
        field, path = section.model_fields.get(name), (*above, name)
        if field is None:
            if not _is_default(value, path, list(other_classes(own).values())):
                kept[name] = value
            continue
        inner = section_of(field.annotation)
        below = inner is not None and isinstance(value, dict)
        kept[name] = _without_defaults_of_others(value, inner, own, path) if below and inner else value
    return kept


def _is_default(value: Any, path: KeyPath, schemas: Sequence[type[Section]]) -> bool:
    """Say whether plain data says nothing else than the default of an option that one of the schemas has."""
    fields = [field for schema in schemas if (field := field_at(path, schema)) and not field.is_required()]
    if isinstance(value, Mapping):
        sections = any(isinstance(field.default, Section) for field in fields)
        return sections and all(_is_default(one, (*path, key), schemas) for key, one in value.items())
    if isinstance(value, list | tuple):
        return any(
            isinstance(one.default, list | tuple) and list(value) == list(one.default) for one in fields
        )
    return any(type(value) is type(one.default) and value == one.default for one in fields)
