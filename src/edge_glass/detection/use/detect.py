"""Use a finished detection model: find things in pictures."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from edge_glass.config.detection import DetectionConfig
from edge_glass.core.errors import ConfigError
from edge_glass.core.quiet import only_warnings
from edge_glass.data.inputs import Picture, open_picture, picture_files
from edge_glass.decoders.generation import chosen_settings, generation_settings
from edge_glass.detection.boxes.codec import box_codec
from edge_glass.detection.collators.chat import end_of_turn
from edge_glass.detection.data.conversations import convert_to_conversation_format
from edge_glass.detection.data.table import asked
from edge_glass.detection.use.detections import Detection, find_boxes, read_answer, to_coco
from edge_glass.detection.use.plain_vlm import run_qwen2vl_inference
from edge_glass.encoders.image_transform import to_rgb
from edge_glass.tasks.finding import require_task
from edge_glass.vlm.folder import load_detection_model

if TYPE_CHECKING:
    from edge_glass.vlm.model import DetectionModel

__all__ = [
    "DetectModel",
    "Detection",
    "Detector",
    "picture_files",
    "read_answer",
    "run_qwen2vl_inference",
    "to_coco",
]


class Detector:
    """A detection model with everything that asking it needs: prompts as in training, and settings.

    Args:
        model: With its weights; it stays in eval mode.
        config: What it was built from.
        name: Of the run, for messages.

    Attributes:
        categories: What it was trained to look for.
    """

    def __init__(self, model: DetectionModel, config: DetectionConfig, name: str = "this model") -> None:
        self.model, self.config, self.name = model.eval(), config, name
        self.codec = box_codec(config.vlm.family, config.detection.box_format)
        self.categories = tuple(config.dataset.categories or ())
        self.settings = generation_settings(config, end_of_turn(model.processor))

    def detect(self, picture: Picture, categories: Sequence[str] | None = None, **choices: Any) -> Detection:
        """What is on one picture.

        Args:
            picture: A file, its bytes or a PIL picture.
            categories: What to look for; by default what the model was trained for. Others are asked for in
                the same words, which helps as far as the model knows them.
            **choices: Fields of `GenerationSettings` to change, such as max_new_tokens.

        Raises:
            ConfigError: A setting that is wrong, or it is not known what to look for.
            DataError: The picture cannot be read, or is more than 200 times as long as wide.
        """
        return self.detect_all([picture], categories=categories, **choices)[0]

    def detect_all(
        self,
        pictures: Iterable[Picture],
        batch_size: int | None = None,
        categories: Sequence[str] | None = None,
        **choices: Any,
    ) -> list[Detection]:
        """What is on many pictures, each the same as if it were alone; see `detect`.

        Args:
            pictures: Opened when their batch begins.
            batch_size: Pictures at a time; by default that of training.
            categories: As for `detect`.
            **choices: As for `detect`.
        """
        settings = chosen_settings(self.settings, choices)
        prompt = self._prompt(categories)
        size = batch_size or self.config.generation.batch_size
        found: list[Detection] = []
        for part in _parts(enumerate(pictures), size):
            rows = [self._row(picture, number, prompt) for number, picture in part]
            found += find_boxes(self.model, self.codec, rows, settings)
        return found

    def _prompt(self, categories: Sequence[str] | None) -> str:
        names = self.categories if categories is None else tuple(categories)
        prompt = self.config.detection.prompt
        if "{categories}" in prompt and not names:
            raise ConfigError(
                f"{self.name}: what to look for is not known; categories=['…'] would say it, or "
                "dataset.categories in training"
            )
        return asked(prompt, names)

    def _row(self, picture: Picture, number: int, prompt: str) -> dict[str, Any]:
        """A conversation row that ends with the question."""
        image = to_rgb(open_picture(picture))
        name = str(picture) if isinstance(picture, str | Path) else f"picture {number + 1}"
        nothing = {"boxes": np.zeros((0, 4)), "labels": []}
        example = {"id": name, "width": image.width, "height": image.height, **nothing}
        row = convert_to_conversation_format(
            example, self.codec, None, prompt, self.config.dataset.system_prompt, answer=False
        )
        return {**row, "images": [image]}


class DetectModel(Detector):
    """A finished detection run (its `model/`, or what `merge` wrote), ready to look at pictures.

    Example:
        >>> model = edge_glass.load("runs/detection_assistant_only")
        >>> model.detect("product.jpg").boxes
        array([[112., 40., 398., 305.]])

    Args:
        folder: Of the run or the model.
        device: Where it computes; by default the GPU if there is one.

    Raises:
        CheckpointError: The folder is no finished run, or a part is missing or broken.
        ConfigError: It is a run of another task.
        AssetError: The model that it was trained on cannot be found.
    """

    def __init__(self, folder: str | Path, device: str | torch.device | None = None) -> None:
        found = require_task(folder, "detection")
        self.run = found.run
        # Which layers are adapted was said in training.
        with only_warnings("edge_glass.vlm.model"), only_warnings("edge_glass.decoders.lora"):
            model, config = load_detection_model(found.model)
        place = device or ("cuda" if torch.cuda.is_available() else "cpu")
        if not getattr(model.vlm, "is_quantized", False):
            model = model.to(place)
        super().__init__(model, config, str(folder))


def _parts(items: Iterable[tuple[int, Picture]], size: int) -> Iterator[list[tuple[int, Picture]]]:
    iterator = iter(items)
    while part := list(islice(iterator, size)):
        yield part
