"""Detection: boxes for the things in pictures; a finished model finds them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_glass.config.detection import DetectionConfig
from edge_glass.tasks.registry import TaskKind

if TYPE_CHECKING:
    from edge_glass.data.samples import SampleTable
    from edge_glass.detection.run import DetectionExperiment
    from edge_glass.detection.task import DetectionTask
    from edge_glass.detection.use.detect import DetectModel
    from edge_glass.reporting.inspection import Inspection
    from edge_glass.reporting.run_folder import RunFolder
    from edge_glass.tasks.merging import Merged


class Detection(TaskKind):
    """See `TaskKind`."""

    name = "detection"
    config = DetectionConfig
    does = "finds things"
    example = "edge-glass detect {folder} picture.png --save out.png"
    plots = "edge_glass.detection.report.plots"

    def experiment(self, config: Any, progress: bool = True, model: Any = None) -> DetectionExperiment:
        from edge_glass.detection.run import DetectionExperiment

        return DetectionExperiment(config, progress, model)

    def rows(self, config: Any) -> Mapping[str, SampleTable]:
        from edge_glass.detection.data.splits import load_scenes

        return load_scenes(config)

    def load_trained(self, config: Any, folder: Path) -> Any:
        from edge_glass.vlm.folder import load_detection_model, require_convention

        require_convention(config, folder)
        return load_detection_model(folder)[0]

    def load(self, folder: str | Path) -> DetectModel:
        from edge_glass.detection.use.detect import DetectModel

        return DetectModel(folder)

    def page(self, run: RunFolder) -> tuple[str, dict[str, Any]]:
        from edge_glass.detection.report.page import detection_context

        return "detection.html.j2", detection_context(run)

    def describe(self, run: RunFolder) -> str:
        from edge_glass.detection.report.summary import describe_detection

        return describe_detection(run)

    def metrics_table(self, results: dict[str, Any]) -> str:
        from edge_glass.detection.report.summary import detection_table

        return detection_table(results)

    def inspect(self, config: Any, count: int = 8, split: str = "train") -> Inspection:
        from edge_glass.detection.report.inspecting import inspect_scenes

        return inspect_scenes(config, count, split)

    def on_few_rows(self, config: Any, rows: int) -> DetectionTask:
        from edge_glass.detection.data.splits import load_scenes
        from edge_glass.detection.task import DetectionTask

        few = load_scenes(config)["train"].spread(rows)
        return DetectionTask(config, progress=False, tables=dict.fromkeys(("train", "val", "test"), few))

    def merge(self, run: Path, output: Path | None, bound: float | None, rows: int, progress: bool) -> Merged:
        from edge_glass.detection.use.merge import merge_detection

        return merge_detection(run, output, bound, rows, progress)


KIND = Detection()
