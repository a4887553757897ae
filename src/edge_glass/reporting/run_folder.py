"""A run folder as the reports see it: small readers that take what is there and say what is not.

    config.yaml           mapping: the experiment as resolved
    environment.json      object: any nesting; shown as it is (fallback for "parameters", below)
    parameters.json       {COMPONENT: {"total": int, "trained": int}}
    metrics.jsonl         one object per line. "step" is always there; the others when they apply: "epoch",
                          "time" (seconds since the run began), "train/loss", "train/loss_clip",
                          "train/loss_mrl", "train/lr", "train/ln_batch", "train/off_diagonal_cosine",
                          "train/effective_rank", "train/temperature", "val/loss", "val/i2t_r1", … (any
                          retrieval metric). With several pairs of modalities a pair's numbers have its name
                          behind them ("train/loss_clip_audio_text"); those without are the mean over the
                          pairs that the batch had. Runs of answers have "train/token_accuracy",
                          "val/token_accuracy", "val/vqa_accuracy", … Detection has "val/mean_iou", … and
                          "train/grad_norm/vision", … by component. The untouched model's validation stands
                          at step 0. After a resume later lines win over earlier lines of the same step.
    samples.jsonl         {"step": int, "samples": [{"id", "question", "reference", "answer", "ended"}]}:
                          one line for each validation of a run of answers
    baseline.json         {"split": …, "metrics": {NAME: {"value", "low", "high"}}}: the untouched model
    results.json          see `edge_glass.evaluation.results`
    evaluation/test.npz, test_answers.jsonl … see the `measure/archive.py` of the run's task
    compared/NAME/        whole run folders of runs trained to compare with: blind, same_size, same_compute

A run that is still going or was killed lacks some of them; a reader then returns an empty value.
"""

from __future__ import annotations

import csv
import json
import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
import yaml

from edge_glass.core.errors import DataError
from edge_glass.core.files import atomic_file
from edge_glass.evaluation.results import read_json, read_results

logger = logging.getLogger(__name__)

Loaded = TypeVar("Loaded")

COMPANIONS = ("blind", "same_size", "same_compute")


@dataclass(frozen=True)
class RunFolder:
    """Lazy readers over one run folder. Missing files give empty values; broken ones too, with a warning."""

    path: Path

    def __post_init__(self) -> None:
        """Refuse a path that is no folder."""
        object.__setattr__(self, "path", Path(self.path))
        if not self.path.is_dir():
            raise DataError(f"{self.path}: no such run folder; give one that `edge-glass train` wrote")

    @cached_property
    def config(self) -> dict[str, Any]:
        """`config.yaml`, or {}."""
        try:
            loaded = yaml.safe_load(self.config_text)
        except yaml.YAMLError as error:
            logger.warning("%s: not YAML: %s", self.path / "config.yaml", error)
            return {}
        return loaded if isinstance(loaded, dict) else {}

    def section(self, name: str) -> dict[str, Any]:
        """Return a section of `config.yaml`, or {} where there is none."""
        found = self.config.get(name)
        return found if isinstance(found, dict) else {}

    def primary_metric(self, default: str) -> str:
        """Return the metric that decides: of the verdict, else of the config, else `default`."""
        chosen = self.section("evaluation").get("primary_metric")
        return str((self.results.get("verdict") or {}).get("metric") or chosen or default)

    @property
    def task(self) -> str:
        """`alignment`, `instruction` or `detection`."""
        return str(self.results.get("task") or self.config.get("task") or "alignment")

    @property
    def split(self) -> str:
        """Which split the results are about."""
        return str(self.results.get("split", "test"))

    @cached_property
    def config_text(self) -> str:
        """`config.yaml` as it stands, or ""."""
        path = self.path / "config.yaml"
        return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""

    @cached_property
    def environment(self) -> dict[str, Any]:
        """`environment.json`, or {}."""
        return self._object("environment.json")

    @cached_property
    def baseline(self) -> dict[str, Any]:
        """`baseline.json`, or {}."""
        return self._object("baseline.json")

    @cached_property
    def results(self) -> dict[str, Any]:
        """`results.json`, or {} while the run is not finished."""
        return self._if_readable(self.path / "results.json", read_results) or {}

    @cached_property
    def parameters(self) -> dict[str, dict[str, int]]:
        """Component → {"total", "trained"}, or {}."""
        found = self._object("parameters.json") or self.environment.get("parameters", {})
        if not isinstance(found, dict):
            return {}
        return {
            str(name): {"total": int(counts.get("total", 0)), "trained": int(counts.get("trained", 0))}
            for name, counts in found.items()
            if isinstance(counts, dict)
        }

    @cached_property
    def metrics(self) -> list[dict[str, Any]]:
        """Lines of `metrics.jsonl` in the order of their steps, one per step and set of names."""
        return read_metrics(self.path / "metrics.jsonl")

    def evaluated(self, read: Callable[[Path, str], Loaded], file: str) -> Loaded | None:
        """Read once what the evaluation of the split left, with the reader of the task.

        Args:
            read: Run folder and split → content; raises DataError when it is broken.
            file: Its name in `evaluation/`, without the split in front: ".npz", "_answers.jsonl" …

        Returns:
            What `read` gives; None when there is no such file, or a broken one, with a warning.
        """
        if file not in self._evaluated:
            path = self.path / "evaluation" / f"{self.split}{file}"
            self._evaluated[file] = self._if_readable(path, lambda _: read(self.path, self.split))
        return cast("Loaded | None", self._evaluated[file])

    @cached_property
    def _evaluated(self) -> dict[str, Any]:
        return {}

    @cached_property
    def samples(self) -> list[dict[str, Any]]:
        """Lines of `samples.jsonl` in the order of their steps."""
        return read_metrics(self.path / "samples.jsonl")

    @cached_property
    def companions(self) -> dict[str, RunFolder]:
        """Name → the run it is compared with, those of `COMPANIONS` first."""
        found = {path.name: path for path in sorted(self.path.glob("compared/*")) if path.is_dir()}
        names = [name for name in COMPANIONS if name in found]
        return {name: RunFolder(found[name]) for name in dict.fromkeys((*names, *found))}

    @property
    def plots(self) -> Path:
        """Where pictures go."""
        return self.path / "plots"

    def series(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Return steps and values of a logged number, float64 each; those that are not finite become NaN."""
        points = [
            (row["step"], row[name])
            for row in self.metrics
            if isinstance(row.get(name), (int, float)) and not isinstance(row[name], bool)
        ]
        steps, values = np.array([p[0] for p in points], float), np.array([p[1] for p in points], float)
        values[~np.isfinite(values)] = np.nan
        return steps, values

    def _object(self, name: str) -> dict[str, Any]:
        return self._if_readable(self.path / name, read_json) or {}

    @staticmethod
    def _if_readable(path: Path, read: Callable[[Path], Loaded]) -> Loaded | None:
        """Read a file; None when it is missing, or broken, with a warning."""
        if not path.exists():
            return None
        try:
            return read(path)
        except DataError as error:
            logger.warning("%s", error)
            return None


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Read `metrics.jsonl`; a line torn by a kill is left out, repeated steps of a resumed run are merged.

    Returns:
        One dictionary per step, ascending; of a number logged twice at one step the later stands.
    """
    if not path.is_file():
        return []
    torn = 0
    by_step: dict[int, dict[str, Any]] = {}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            step = int(row["step"])
        except (ValueError, KeyError, TypeError, OverflowError):
            torn += 1
            continue
        by_step.setdefault(step, {}).update(row)
    if torn:
        logger.warning("%s: %d unreadable line(s) left out (torn when the run was stopped?)", path, torn)
    return [by_step[step] for step in sorted(by_step)]


def write_metrics_csv(run_folder: Path | RunFolder) -> Path:
    """Write `metrics.csv` from `metrics.jsonl`: one column per name, one row per step.

    Raises:
        DataError: There is no such run folder.
    """
    run = run_folder if isinstance(run_folder, RunFolder) else RunFolder(run_folder)
    leading = ["step", "epoch", "time"]
    names = dict.fromkeys(name for row in run.metrics for name in row)
    columns = [name for name in leading if name in names] + [name for name in names if name not in leading]
    path = run.path / "metrics.csv"
    with atomic_file(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns or ["step"])
        writer.writeheader()
        writer.writerows(run.metrics)
    return path


def number(metrics: Mapping[str, Any], name: str, key: str = "value") -> float | None:
    """Return a finite number of {NAME: {"value", "low", "high"}} (or of {NAME: number}), else None."""
    found = metrics.get(name) if isinstance(metrics, Mapping) else None
    if isinstance(found, Mapping):
        found = found.get(key)
    elif key != "value":
        found = None
    if isinstance(found, bool) or not isinstance(found, (int, float)) or not math.isfinite(found):
        return None
    return float(found)
