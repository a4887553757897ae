"""Edge Glass: train small multimodal models from one YAML file, and see whether training helped.

    import edge_glass

    config = edge_glass.load_config("configs/quickstart.yaml", ["training.epochs=3"])
    result = edge_glass.train(config)              # a run folder with report.html
    edge_glass.load(result.folder).search("a sad animal")

    load_config   read and check an experiment file
    inspect       show what the model sees of some rows
    overfit       learn a few rows by heart: does the setup fit together?
    train         train, measure before and after, write the run folder
    evaluate      measure a finished run again
    ablate        run all variants and seeds, and compare them
    merge         write a LoRA run as a plain Hugging Face folder
    load          a finished model: `.search`, `.answer` or `.detect`

Errors of users are `edge_glass.EdgeGlassError`s. Encoders, decoders, losses, data sets and the like are
there too: `dir(edge_glass)` lists them. They are imported when they are first used, so that
`import edge_glass` does not import torch.
"""

from __future__ import annotations

import importlib
from typing import Any

from edge_glass.api import ablate, evaluate, inspect, load, load_config, merge, overfit, train
from edge_glass.core.errors import (
    AssetError,
    CheckpointError,
    ConfigError,
    DataError,
    EdgeGlassError,
    Interrupted,
    TrainingError,
)

__version__ = "0.1.0"

__all__ = [
    "AssetError",
    "CheckpointError",
    "ConfigError",
    "DataError",
    "EdgeGlassError",
    "Interrupted",
    "TrainingError",
    "__version__",
    "ablate",
    "evaluate",
    "inspect",
    "load",
    "load_config",
    "merge",
    "overfit",
    "train",
]

_HOMES = {
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
    "QwenDecoder": "edge_glass.decoders.kinds.causal_lm",
    "TRMDecoder": "edge_glass.decoders.kinds.trm",
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
    "TrainingVisualizer": "edge_glass.experiment.report",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    from edge_glass.migrating import find

    return find(name)


def __dir__() -> list[str]:
    return sorted([*__all__, *_HOMES])
