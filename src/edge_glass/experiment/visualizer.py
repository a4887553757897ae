"""All plots of a run, under the names its users know."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from edge_glass.alignment.report.curves import draw_loss_components, draw_lr_schedule, draw_training_curves
from edge_glass.alignment.report.matryoshka import draw_mrl_performance
from edge_glass.alignment.report.similarity import draw_similarity_matrix
from edge_glass.alignment.report.space import Method, draw_embedding_space
from edge_glass.detection.report.box_plots import draw_box_coordinates, draw_iou_histogram
from edge_glass.detection.report.curves import draw_detection_metrics, draw_gradient_norms
from edge_glass.instruction.report.curves import (
    draw_answer_loss_parts,
    draw_answer_metrics,
    draw_answer_training,
)
from edge_glass.instruction.report.types_plot import draw_answer_types
from edge_glass.reporting.run_folder import RunFolder
from edge_glass.reporting.style import NothingToPlotError, save_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

logger = logging.getLogger(__name__)


class TrainingVisualizer:
    """Draws the plots of one run folder into its `plots/`: those that its task has.

    Every method returns the path of its PNG, or None when the run does not hold what the plot needs (a run
    that is still going has no embeddings yet); `left_out` then says why, by file name. No plot stops a run.

    Args:
        run_folder: A finished or unfinished run.
    """

    def __init__(self, run_folder: Path | str | RunFolder) -> None:
        self.run = run_folder if isinstance(run_folder, RunFolder) else RunFolder(Path(run_folder))
        self.boxes = self.run.task == "detection"
        self.answers = self.run.task == "instruction" or self.boxes  # a model that writes
        self.left_out: dict[str, str] = {}

    def plot_training_curves(self) -> Path | None:
        """`training_curves.png`: loss with its guessing level, and validation recall in every direction.

        Of answers: loss and token accuracy.
        """
        draw = draw_answer_training if self.answers else draw_training_curves
        return self._draw("training_curves.png", (11, 4.2), partial(draw, self.run))

    def plot_loss_components(self) -> Path | None:
        """`loss_components.png`: parts of the loss by pair, ln(batch), temperature, signs of collapse.

        Of answers: parts of the loss, halting and the norm of the gradient, where they were logged.
        """
        size, draw = ((11, 4.0), draw_answer_loss_parts) if self.answers else ((11, 7), draw_loss_components)
        return self._draw("loss_components.png", size, partial(draw, self.run))

    def plot_lr_schedule(self) -> Path | None:
        """`lr_schedule.png`: learning rate over steps."""
        return self._draw("lr_schedule.png", (11, 3), partial(draw_lr_schedule, self.run))

    def plot_embedding_space(self, method: Method = "pca") -> Path | None:
        """`embedding_space.png` (PCA) or `embedding_space_tsne.png`: all modalities in one plane."""
        name = "embedding_space.png" if method == "pca" else f"embedding_space_{method}.png"
        return self._draw(name, (11, 7.4), partial(draw_embedding_space, self.run, method=method))

    def plot_similarity_matrix(self) -> Path | None:
        """`similarity_matrix.png`: cosines of words with pictures, and their histograms."""
        return self._draw("similarity_matrix.png", (11, 5.6), partial(draw_similarity_matrix, self.run))

    def plot_mrl_performance(self) -> Path | None:
        """`mrl_performance.png`: recall against dimension, with intervals and baselines."""
        return self._draw("mrl_performance.png", (11, 7), partial(draw_mrl_performance, self.run))

    def plot_answer_metrics(self) -> Path | None:
        """`answer_metrics.png`: metrics of written answers over steps, the untouched model at 0."""
        return self._draw("answer_metrics.png", (11, 4.9), partial(draw_answer_metrics, self.run))

    def plot_answer_types(self) -> Path | None:
        """`answer_types.png`: the primary metric by type of answer, of all models measured."""
        return self._draw("answer_types.png", (11, 4), partial(draw_answer_types, self.run))

    def plot_detection_metrics(self) -> Path | None:
        """`detection_metrics.png`: metrics of boxes over steps, the untouched model at 0."""
        return self._draw("detection_metrics.png", (11, 4.9), partial(draw_detection_metrics, self.run))

    def plot_iou_histogram(self) -> Path | None:
        """`iou_histogram.png`: how many pictures have which IoU, before and after."""
        return self._draw("iou_histogram.png", (11, 3.6), partial(draw_iou_histogram, self.run))

    def plot_box_coordinates(self) -> Path | None:
        """`box_coordinates.png`: where predicted boxes are, against where they should be."""
        return self._draw("box_coordinates.png", (11, 5.4), partial(draw_box_coordinates, self.run))

    def plot_gradient_norms(self) -> Path | None:
        """`gradient_norms.png`: norm of the gradient of each component."""
        return self._draw("gradient_norms.png", (11, 4), partial(draw_gradient_norms, self.run))

    def plot_all(self) -> list[Path]:
        """Draw everything the run has data for."""
        if self.boxes:
            drawn = [
                self.plot_training_curves(),
                self.plot_detection_metrics(),
                self.plot_iou_histogram(),
                self.plot_box_coordinates(),
                self.plot_gradient_norms(),
                self.plot_lr_schedule(),
            ]
            return [path for path in drawn if path is not None]
        if self.answers:
            drawn = [
                self.plot_training_curves(),
                self.plot_answer_metrics(),
                self.plot_answer_types(),
                self.plot_loss_components(),
                self.plot_lr_schedule(),
            ]
            return [path for path in drawn if path is not None]
        drawn = [
            self.plot_training_curves(),
            self.plot_mrl_performance(),
            self.plot_similarity_matrix(),
            self.plot_embedding_space("pca"),
            self.plot_embedding_space("tsne"),
            self.plot_loss_components(),
            self.plot_lr_schedule(),
        ]
        return [path for path in drawn if path is not None]

    def _draw(self, name: str, size: tuple[float, float], draw: Callable[[Figure], None]) -> Path | None:
        self.left_out.pop(name, None)
        try:
            return save_figure(self.run.plots / name, size, draw)
        except NothingToPlotError as error:
            self.left_out[name] = str(error)
        except Exception as error:
            # After hours of training the report matters more than one picture in it; the log has the rest.
            logger.exception("%s could not be drawn", name)
            self.left_out[name] = f"could not be drawn: {type(error).__name__}: {error}"
        logger.info("%s left out: %s", name, self.left_out[name])
        return None
