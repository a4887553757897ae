"""The report of a run: its plots and one self-contained page, made from what the run folder holds."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path
from typing import Any, Literal

from edge_glass.reporting.page import page_context, write_page
from edge_glass.reporting.plots import plots_of
from edge_glass.reporting.run_folder import RunFolder, write_metrics_csv
from edge_glass.reporting.style import NothingToPlotError, save_figure
from edge_glass.tasks.registry import task_kind

logger = logging.getLogger(__name__)


def write_report(run_folder: Path | str) -> Path:
    """Draw the plots, write `metrics.csv` and `report.html`, and return the path of the page.

    A run that is not finished gives a page of what there is; what is missing is named in it.

    Raises:
        DataError: There is no such run folder.
    """
    run = RunFolder(Path(run_folder))
    visualizer = TrainingVisualizer(run)
    visualizer.plot_all()
    write_metrics_csv(run)
    kind = task_kind(run.task)
    template, special = kind.page(run)
    shown = {**page_context(run, kind.plots, visualizer.left_out), **special}
    return write_page(run.path / "report.html", template, **shown)


def describe_run(folder: Path) -> str:
    """Return what the terminal shows of a finished run: verdict, main numbers, where to look next."""
    run = RunFolder(folder)
    return task_kind(run.task).describe(run)


def metrics_table(results: dict[str, Any]) -> str:
    """Return all metrics of one evaluation (see `evaluate`) with their intervals, as text."""
    return task_kind(results.get("task", "alignment")).metrics_table(results)


class TrainingVisualizer:
    """Draws the plots of one run folder into its `plots/`: those that its task has.

    Every method returns the path of its PNG, or None when the run does not hold what the plot needs (a run
    that is still going has no embeddings yet); `left_out` then says why, by file name. No plot stops a run.

    Args:
        run_folder: A finished or unfinished run.
    """

    def __init__(self, run_folder: Path | str | RunFolder) -> None:
        self.run = run_folder if isinstance(run_folder, RunFolder) else RunFolder(Path(run_folder))
        self.plots = plots_of(task_kind(self.run.task).plots)
        self.left_out: dict[str, str] = {}

    def plot_training_curves(self) -> Path | None:
        """Draw `training_curves.png`: loss, and recall or token accuracy, of training and validation."""
        return self.plot("training_curves")

    def plot_loss_components(self) -> Path | None:
        """Draw `loss_components.png`: parts of the loss and signs of trouble."""
        return self.plot("loss_components")

    def plot_lr_schedule(self) -> Path | None:
        """Draw `lr_schedule.png`: learning rate over steps."""
        return self.plot("lr_schedule")

    def plot_embedding_space(self, method: Literal["pca", "tsne"] = "pca") -> Path | None:
        """Draw `embedding_space.png` (PCA) or `embedding_space_tsne.png`: all modalities in one plane."""
        return self.plot("embedding_space" if method == "pca" else f"embedding_space_{method}")

    def plot_similarity_matrix(self) -> Path | None:
        """Draw `similarity_matrix.png`: cosines of words with pictures, and their histograms."""
        return self.plot("similarity_matrix")

    def plot_mrl_performance(self) -> Path | None:
        """Draw `mrl_performance.png`: recall against dimension, with intervals and baselines."""
        return self.plot("mrl_performance")

    def plot_answer_metrics(self) -> Path | None:
        """Draw `answer_metrics.png`: metrics of written answers over steps, the untouched model at 0."""
        return self.plot("answer_metrics")

    def plot_answer_types(self) -> Path | None:
        """Draw `answer_types.png`: the primary metric by type of answer, of all models measured."""
        return self.plot("answer_types")

    def plot_detection_metrics(self) -> Path | None:
        """Draw `detection_metrics.png`: metrics of boxes over steps, the untouched model at 0."""
        return self.plot("detection_metrics")

    def plot_iou_histogram(self) -> Path | None:
        """Draw `iou_histogram.png`: how many pictures have which IoU, before and after."""
        return self.plot("iou_histogram")

    def plot_box_coordinates(self) -> Path | None:
        """Draw `box_coordinates.png`: where predicted boxes are, against where they should be."""
        return self.plot("box_coordinates")

    def plot_gradient_norms(self) -> Path | None:
        """Draw `gradient_norms.png`: norm of the gradient of each component."""
        return self.plot("gradient_norms")

    def plot_all(self) -> list[Path]:
        """Draw everything the run has data for, in the order of its page."""
        drawn = [self.plot(name) for name in self.plots]
        return [path for path in drawn if path is not None]

    def plot(self, name: str) -> Path | None:
        """Draw `NAME.png`: any plot of the run's task, such as one that you added as a file."""
        file = f"{name}.png"
        self.left_out.pop(file, None)
        try:
            if name not in self.plots:
                raise NothingToPlotError(
                    f"runs of {self.run.task} have no such plot; they have {', '.join(self.plots)}"
                )
            found = self.plots[name]
            return save_figure(self.run.plots / file, found.SIZE, partial(found.draw, self.run))
        except NothingToPlotError as error:
            self.left_out[file] = str(error)
        except Exception as error:
            # After hours of training the report matters more than one picture in it; the log has the rest.
            logger.exception("%s could not be drawn", file)
            self.left_out[file] = f"could not be drawn: {type(error).__name__}: {error}"
        logger.info("%s left out: %s", file, self.left_out[file])
        return None
