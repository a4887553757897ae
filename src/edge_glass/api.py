"""What one does with an experiment, from Python: the same eight verbs as on the command line.

Everything heavy is imported inside the functions, so that `import edge_glass` takes no time.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edge_glass.alignment.use.search import AlignmentModel
    from edge_glass.config import ExperimentConfig
    from edge_glass.detection.use.detect import DetectModel
    from edge_glass.experiment.ablation import AblationResult
    from edge_glass.experiment.overfit import Overfit
    from edge_glass.experiment.run import RunResult
    from edge_glass.instruction.use.answer import AnswerModel
    from edge_glass.reporting.inspection import Inspection
    from edge_glass.tasks.merging import Merged


def load_config(
    path: str | Path, overrides: Sequence[str] = (), *, tiny: bool = False, packages: bool = True
) -> ExperimentConfig:
    """Read an experiment file and check everything that can be checked without loading a model.

    Later wins: the `base` file, the file, toy settings (with `tiny`), overrides. Mappings are merged key
    by key; lists are replaced. `base: FILE` is relative to the file it stands in; paths of data are relative
    to the working directory.

    Args:
        path: The YAML file.
        overrides: `KEY=VALUE` with dotted keys; the value is read as YAML.
        tiny: Use toy sizes: seconds, no weights, no data files. Overrides win over it.
        packages: False does not ask for packages that only training needs, to look at samples without them.

    Raises:
        ConfigError: One line per problem: file and line, key, what is expected, what is there.

    Example:
        >>> config = edge_glass.load_config("configs/quickstart.yaml", ["training.epochs=3"])
        >>> config.training.epochs
        3
    """
    from edge_glass.config import load_config

    return load_config(path, overrides, tiny=tiny, packages=packages)


def train(
    config: ExperimentConfig | str | Path,
    *,
    output: str | Path | None = None,
    resume: str | Path | None = None,
    progress: bool = True,
) -> RunResult:
    """Train an experiment, measure it before and after, and write its run folder with a report.

    Args:
        config: An experiment, or the path of its file.
        output: The run folder; by default `config.output_dir/config.name`.
        resume: None for a new run, "latest" for the newest whole checkpoint, or a checkpoint's path.
        progress: Show progress bars.

    Returns:
        The run folder, and the content of its `results.json`: metrics with intervals, and the verdict.

    Raises:
        ConfigError: The folder holds a run already and `resume` is None.
        CheckpointError: The checkpoint is broken, or the disk is full.
        DataError: The rows cannot be used.
        TrainingError: The loss is not finite, or another process of this run died.
        Interrupted: SIGTERM or Ctrl-C came; a checkpoint was written.

    Example:
        >>> result = edge_glass.train(edge_glass.load_config("configs/quickstart.yaml", tiny=True))
        >>> result.folder, result.results["verdict"]["status"]
        (PosixPath('runs/quickstart'), 'unclear')
    """
    from edge_glass.experiment.run import train

    where = None if output is None else Path(output)
    return train(
        _loaded(config), output=where, resume=None if resume is None else str(resume), progress=progress
    )


def evaluate(
    run: str | Path, overrides: Sequence[str] = (), split: str = "test", progress: bool = True
) -> dict[str, Any]:
    """Measure a finished run again, on its own data or on other files.

    Args:
        run: The run folder.
        overrides: Changes of its experiment, such as `dataset.test_parquet=other.parquet`.
        split: "val" or "test".
        progress: Show progress bars.

    Returns:
        `split`, `task`, `rows` and `metrics`: `{NAME: {"value", "low", "high", …}}` with 95 % intervals. They
        are also written to `evaluation/SPLIT.json` in the run folder.

    Raises:
        CheckpointError: The run is not finished.
        ConfigError: An override is wrong.

    Example:
        >>> edge_glass.evaluate("runs/quickstart")["metrics"]["t2i/r@1"]["value"]
        0.31
    """
    from edge_glass.experiment.evaluate import evaluate

    return evaluate(Path(run), overrides, split, progress)


def inspect(config: ExperimentConfig | str | Path, count: int = 8, split: str = "train") -> Inspection:
    """Show what a model receives: some rows of an experiment, before anything is trained.

    Encoders are loaded for their transform and their tokens, but no weights of a language model.

    Args:
        config: An instruction or detection experiment, or the path of its file.
        count: How many rows, evenly spread over the split; all when there are fewer.
        split: "train", "val" or "test". Training rows are augmented as in the first epoch.

    Returns:
        The samples with every token; `.write_page("inspect.html")` makes a page of them.

    Raises:
        ConfigError: The experiment is of another task.
        DataError: The rows cannot be used.

    Example:
        >>> found = edge_glass.inspect("configs/easy_vqa_trm.yaml", count=4)
        >>> found.samples[0].prompt
    """
    from edge_glass.tasks.registry import task_kind

    config = _loaded(config, packages=False)
    return task_kind(config.task).inspect(config, count, split)


def overfit(
    config: ExperimentConfig | str | Path,
    rows: int = 8,
    steps: int = 600,
    enough: float = 0.9,
    progress: bool = True,
) -> Overfit:
    """Learn a few training rows by heart, or say why not: the first check of any new setup.

    Nothing is written. Dropout stays as configured; the learning rate is that of the experiment, constant.

    Args:
        config: An instruction or detection experiment, or the path of its file.
        rows: How many rows, evenly spread over the training rows.
        steps: Give up after this many optimizer steps.
        enough: Stop when the primary metric, measured on the same rows, is above this.
        progress: Show a progress bar.

    Raises:
        ConfigError: The experiment is of another task.
        DataError: The rows cannot be used.

    Example:
        >>> found = edge_glass.overfit("configs/emoji_scenes_qwen2_vl.yaml")
        >>> found.learned, found.reason
        (True, '')
    """
    from edge_glass.experiment.overfit import overfit

    return overfit(_loaded(config), rows, steps, enough, progress)


def ablate(
    config: ExperimentConfig | str | Path, output: str | Path | None = None, progress: bool = True
) -> AblationResult:
    """Run every variant of an experiment with every seed, and compare them in one table and one plot.

    A run that is finished is not run again, so a second call goes on where the first stopped.

    Args:
        config: An experiment with an `ablation` section, or the path of its file.
        output: The folder of all runs; by default `config.output_dir/config.name`.
        progress: Show progress bars.

    Returns:
        The numbers of all runs, and the path of the page that compares them.

    Raises:
        ConfigError: There is no `ablation` section, or a finished run has another configuration.
        EdgeGlassError: A run failed; see `train`.

    Example:
        >>> found = edge_glass.ablate("configs/mrl_ablation.yaml")
        >>> [(row["variant"], row["seed"]) for row in found.rows]
    """
    from edge_glass.experiment.ablation import ablate

    return ablate(_loaded(config), None if output is None else Path(output), progress)


def merge(
    run: str | Path,
    output: str | Path | None = None,
    bound: float | None = None,
    rows: int = 64,
    progress: bool = True,
) -> Merged:
    """Write a run's language model with its LoRA adapters in the weights, as a plain Hugging Face folder.

    The merged model and the unmerged one answer the same test rows first; when they differ, nothing is
    written. Both compute in float32, whatever the weights are; the merged ones are rounded first as they
    will be saved.

    Args:
        run: The folder of a finished run that trained adapters.
        output: The folder to write; by default `merged` in the run folder.
        bound: Largest difference of logits allowed, as a share of the largest; by default 0.001, and 0.05 for
            bfloat16 weights or a run whose language model was quantised.
        rows: Test rows that both answer; 0 compares logits alone and needs no data.
        progress: Show progress bars.

    Returns:
        Where the model is, and how far it is from the unmerged one; `.lines()` says so in words.

    Raises:
        ConfigError: The run has no adapters, or `output` holds something else.
        CheckpointError: The run is not finished, or the merged model answers differently.
        DataError: The run's data are not there any more.

    Example:
        >>> edge_glass.merge("runs/easy_vqa_smollm2").lines()
    """
    from edge_glass.tasks.finding import find_model
    from edge_glass.tasks.registry import task_kind

    kind = task_kind(find_model(run).task)
    return kind.merge(Path(run), None if output is None else Path(output), bound, rows, progress)


def load(folder: str | Path) -> AlignmentModel | AnswerModel | DetectModel:
    """Load a finished model, ready to use: `.search` and `.encode_text`, `.answer`, or `.detect`.

    Args:
        folder: A run folder, its `model/` folder, or what `merge` wrote.

    Raises:
        CheckpointError: There is no finished model, or its files are broken.

    Example:
        >>> edge_glass.load("runs/quickstart").search("a sad animal")
        >>> edge_glass.load("runs/easy_vqa_trm").answer("picture.png", "what color is the triangle?")
        >>> edge_glass.load("runs/detection_assistant_only").detect("product.jpg").boxes
    """
    from edge_glass.tasks.finding import find_model
    from edge_glass.tasks.registry import task_kind

    model: AlignmentModel | AnswerModel | DetectModel = task_kind(find_model(folder).task).load(folder)
    return model


def _loaded(config: ExperimentConfig | str | Path, packages: bool = True) -> ExperimentConfig:
    return load_config(config, packages=packages) if isinstance(config, str | Path) else config
