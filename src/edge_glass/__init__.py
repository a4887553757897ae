"""Edge Glass: train small multimodal models from one YAML file, and see whether training helped.

Names are imported when they are first used, so that `import edge_glass` does not import torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "load_config": "edge_glass.config",
    "VisionEncoder": "edge_glass.encoders.vision",
    "AudioEncoder": "edge_glass.encoders.audio",
    "TextEncoder": "edge_glass.encoders.text",
    "PerceiverResampler": "edge_glass.encoders.perceiver",
    "SimpleAttentionPooling": "edge_glass.encoders.poolings.simple",
    "AttentionPooling": "edge_glass.encoders.poolings.multihead",
    "MRLProjection": "edge_glass.encoders.mrl",
    "MultimodalAlignmentModel": "edge_glass.alignment.model.alignment",
    "MultimodalFusion": "edge_glass.encoders.fusion",
    "AlignmentLoss": "edge_glass.alignment.model.loss",
    "AudioTextDataset": "edge_glass.data.datasets",
    "TriModalDataset": "edge_glass.data.datasets",
    "ImageTextDataset": "edge_glass.data.datasets",
    "PixmoParquetImageTextDataset": "edge_glass.data.datasets",
    "build_image_datasets_from_parquet": "edge_glass.data.datasets",
    "InstructionDataset": "edge_glass.instruction.data.datasets",
    "PixmoQADataset": "edge_glass.instruction.data.datasets",
    "QwenDecoder": "edge_glass.decoders.causal_lm",
    "TRMDecoder": "edge_glass.decoders.trm",
    "convert_to_conversation_format": "edge_glass.detection.data.conversations",
    "restore_images_in_conversations": "edge_glass.detection.data.conversations",
    "Qwen2VLCollatorV1": "edge_glass.detection.collators",
    "Qwen2VLCollatorV2": "edge_glass.detection.collators",
    "Qwen2VLCollatorV3": "edge_glass.detection.collators",
    "parse_qwen_bbox_output": "edge_glass.detection.boxes.parsing",
    "calculate_iou": "edge_glass.core.boxes",
    "run_qwen2vl_inference": "edge_glass.detection.use.detect",
    "visualize_bbox_on_image": "edge_glass.reporting.boxes",
    "find_available_gpus": "edge_glass.core.gpus",
    "GradNormCallback": "edge_glass.training.gradients",
    "IoUEvalCallback": "edge_glass.detection.iou_callback",
    "MultimodalTrainer": "edge_glass.training",
    "TrainingVisualizer": "edge_glass.experiment.visualizer",
    "train": "edge_glass.experiment.run",
}

__all__ = ["__version__", "load", *sorted(_HOMES)]


def load(folder: str) -> AlignmentModel | AnswerModel | DetectModel:
    """A finished run, ready to use: `.search` and `.encode_text`, `.answer`, or `.detect`, as it was trained.

    Example:
        >>> edge_glass.load("runs/quickstart").search("a sad animal")
        >>> edge_glass.load("runs/easy_vqa_trm").answer("picture.png", "what color is the triangle?")
        >>> edge_glass.load("runs/detection_assistant_only").detect("product.jpg").boxes
    """
    from edge_glass.tasks.finding import find_model
    from edge_glass.tasks.registry import task_kind

    model: AlignmentModel | AnswerModel | DetectModel = task_kind(find_model(folder).task).load(folder)
    return model


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'edge_glass' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)


if TYPE_CHECKING:
    from edge_glass.alignment.use.search import AlignmentModel
    from edge_glass.detection.use.detect import DetectModel
    from edge_glass.instruction.use.answer import AnswerModel
