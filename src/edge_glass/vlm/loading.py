"""Qwen's vision-language models and their processors: from random weights, a folder, or a hub.

Only the language model is ever quantised. Quantising the vision tower costs accuracy for almost no speed
(https://github.com/vllm-project/llm-compressor/issues/1939), and lists of layers to be left out have missed
their names (https://github.com/unslothai/unsloth/pull/4209): what was quantised is looked up afterwards.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from edge_glass.config.detection import DetectionConfig
from edge_glass.config.schema import VlmConfig
from edge_glass.core.errors import AssetError, ConfigError
from edge_glass.decoders.pretrained import (
    attention_options,
    fit_tokenizer,
    keep_gradients,
    quantization_options,
)
from edge_glass.encoders.sources import plain_errors, quiet_transformers, resolve_source
from edge_glass.vlm.family import build_processor, build_vlm, load_family
from edge_glass.vlm.pixel_budget import set_pixel_budget


def load_vlm(config: DetectionConfig) -> tuple[Any, Any]:
    """Load the vision-language model of an experiment and its processor, whose pixel budget is set.

    Args:
        config: Its sections vlm, seed and tiny.

    Returns:
        The transformers model in eval mode, and the processor. Random weights are float32, others in
        `vlm.dtype` (bfloat16 when quantised); `DetectionModel` gives each part its dtype.

    Raises:
        ConfigError: A setting that is wrong or cannot run here; weights of another family.
        AssetError: Weights that cannot be found, reached or understood, or that lack tensors.
    """
    model = load_model(config)
    processor = load_fitting_processor(config)
    fit_processor(model, processor, str(config.vlm.source or "random weights"))
    return model, processor


def load_fitting_processor(config: DetectionConfig) -> Any:
    """Load the processor of an experiment's model, whose pixel budget is set; the model is not loaded."""
    vlm = config.vlm
    if is_from_scratch(config):
        processor = build_processor(vlm.family, vlm.min_pixels, vlm.max_pixels)
    else:
        processor = load_processor(resolve_source(str(vlm.source)))
    set_pixel_budget(processor, vlm.min_pixels, vlm.max_pixels, vlm.family)
    return processor


def is_from_scratch(config: DetectionConfig) -> bool:
    """Return whether the model starts from random weights."""
    return config.vlm.source is None or config.tiny


def load_model(config: DetectionConfig) -> Any:
    """Load the model that training starts from, in eval mode; see `load_vlm`."""
    vlm = config.vlm
    if not is_from_scratch(config):
        return load_pretrained(str(vlm.source), vlm)
    options = attention_options(vlm.attention)
    if vlm.quantization != "none":
        raise ConfigError(
            f"vlm.quantization is {vlm.quantization}, but a model from random weights has nothing to "
            "quantise; set it to none, or give vlm.source"
        )
    processor = build_processor(vlm.family, vlm.min_pixels, vlm.max_pixels)
    attention = options["attn_implementation"]
    return build_vlm(vlm.family, vlm.size, processor, config.seed, torch.float32, attention).eval()


def load_pretrained(source: str, vlm: VlmConfig, exact: bool = False) -> Any:
    """Load a model of a folder or a hub, in eval mode, without remote code.

    Args:
        source: `asset:NAME`, a folder or a hub id.
        vlm: Family, dtype, quantization and attention.
        exact: Refuse tensors that the model has no use for, too.

    Raises:
        ConfigError: A setting that cannot run here; weights of another family.
        AssetError: It cannot be found, reached or understood, or lacks tensors.
    """
    quantised = vlm.quantization != "none"
    dtype = torch.bfloat16 if quantised else getattr(torch, vlm.dtype)
    options = attention_options(vlm.attention)
    if quantised:
        options |= quantization_options(vlm.quantization, dtype, not_quantised(vlm.family))
    place = resolve_source(source)
    _require_family_of(place, source, vlm.family)
    with plain_errors(source, "vision-language model"), quiet_transformers():
        from transformers import AutoModelForImageTextToText

        loaded: Any = AutoModelForImageTextToText.from_pretrained(
            place, dtype=dtype, trust_remote_code=False, output_loading_info=True, **options
        )
        model, info = loaded
    _require_all_loaded(model, info, source, exact)
    if quantised:
        require_quantised(model)
        keep_gradients(model)
    return model.eval()


def not_quantised(family: str) -> list[str]:
    """Return the paths of the modules that stay as they are: vision tower, projector and head."""
    components = load_family(family).components
    return [path for name in ("vision", "projector", "head") for path in components[name]]


def load_processor(source: str) -> Any:
    """Load a processor of a folder or a hub.

    Raises:
        AssetError: It cannot be found or understood, or has no chat template.
    """
    with plain_errors(source, "processor"), quiet_transformers():
        from transformers import AutoProcessor

        processor = AutoProcessor.from_pretrained(source, trust_remote_code=False)
    if getattr(processor, "chat_template", None) is None:
        raise AssetError(
            f"the processor of {source!r} has no chat template; expected a file chat_template.jinja in it"
        )
    return processor


def _require_family_of(place: str, source: str, family: str) -> None:
    """Refuse another family before minutes are spent on its weights."""
    from transformers import AutoConfig

    with plain_errors(source, "configuration"):
        found = AutoConfig.from_pretrained(place, trust_remote_code=False).model_type
    if found != family:
        raise ConfigError(f"vlm.family is {family}, but {source!r} holds a {found}; they must be the same")


def _require_all_loaded(model: Any, info: Any, source: str, exact: bool) -> None:
    """Refuse weights that do not fit exactly; transformers fills in random numbers and only logs it."""
    groups = {
        "missing": info["missing_keys"],
        "of another shape": info.get("mismatched_keys", ()),
        "left over": info.get("unexpected_keys", ()) if exact else (),
    }
    wrong = [f"{len(names)} {how} (such as {min(map(str, names))})" for how, names in groups.items() if names]
    if wrong:
        raise AssetError(f"{source!r} has other weights than {type(model).__name__}: {', '.join(wrong)}")


def fit_processor(model: Any, processor: Any, source: str) -> None:
    """Check that model and processor belong together.

    Raises:
        AssetError: Tokens, picture tokens or patches do not fit.
    """
    fit_tokenizer(model, processor.tokenizer, source)
    vision, images = model.config.vision_config, processor.image_processor
    pairs = {
        "image token": (processor.image_token_id, model.config.image_token_id),
        "patch_size": (images.patch_size, vision.patch_size),
        "temporal_patch_size": (images.temporal_patch_size, vision.temporal_patch_size),
        "merge_size": (images.merge_size, vision.spatial_merge_size),
    }
    for name, (found, right) in pairs.items():
        if found != right:
            raise AssetError(f"{source}: the processor's {name} is {found}; that of the model is {right}")


def require_quantised(model: Any) -> None:
    """Make sure that the linear layers of the language model are quantised, and nothing else.

    Raises:
        ConfigError: Another layer is, or one of them is not.
    """
    wrong, family = [], load_family(model.config.model_type)
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            quantised = not module.weight.is_floating_point()
            if quantised != (family.component_of(name) == "llm"):
                wrong.append(f"{name} is {'' if quantised else 'not '}quantised")
    if wrong:
        raise ConfigError(
            f"vlm.quantization: {len(wrong)} layers are not as they should be, such as: {wrong[0]}. "
            "Only the layers of the language model should be; this version of transformers or bitsandbytes "
            "chooses otherwise"
        )
