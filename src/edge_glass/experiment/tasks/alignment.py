"""Alignment: pictures, words and sounds in one space; a finished model searches."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_glass.config.alignment import AlignmentConfig
from edge_glass.tasks.registry import TaskKind

if TYPE_CHECKING:
    from edge_glass.alignment.run import AlignmentExperiment
    from edge_glass.alignment.use.search import AlignmentModel
    from edge_glass.data.samples import SampleTable
    from edge_glass.reporting.run_folder import RunFolder


class Alignment(TaskKind):
    """See `TaskKind`."""

    name = "alignment"
    config = AlignmentConfig
    does = "searches pictures"
    example = 'edge-glass search {folder} "a sad animal"'
    plots = "edge_glass.alignment.report.plots"

    def experiment(self, config: Any, progress: bool = True, model: Any = None) -> AlignmentExperiment:
        from edge_glass.alignment.run import AlignmentExperiment

        return AlignmentExperiment(config, progress, model)

    def rows(self, config: Any) -> Mapping[str, SampleTable]:
        from edge_glass.tasks.sources import load_splits

        return load_splits(config)

    def load_trained(self, config: Any, folder: Path) -> Any:
        from edge_glass.alignment.model.folder import load_model

        return load_model(folder)

    def load(self, folder: str | Path) -> AlignmentModel:
        from edge_glass.alignment.use.search import AlignmentModel

        return AlignmentModel(folder)

    def page(self, run: RunFolder) -> tuple[str, dict[str, Any]]:
        from edge_glass.alignment.report.page import alignment_context

        return "alignment.html.j2", alignment_context(run)

    def describe(self, run: RunFolder) -> str:
        from edge_glass.alignment.report.summary import describe_alignment

        return describe_alignment(run)

    def metrics_table(self, results: dict[str, Any]) -> str:
        from edge_glass.alignment.report.summary import retrieval_table

        return retrieval_table(results)


KIND = Alignment()
