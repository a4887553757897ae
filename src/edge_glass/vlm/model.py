"""`DetectionModel`: a Qwen vision-language model that is asked for things and answers with boxes in words."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from edge_glass.config.detection import DetectionConfig
from edge_glass.core.errors import ConfigError
from edge_glass.core.gathering import zero_touching
from edge_glass.core.parameters import ParameterCount, format_parameter_table
from edge_glass.core.passes import evaluating
from edge_glass.decoders.decoder import DecoderOutput, GenerationSettings, OnToken
from edge_glass.decoders.lora import LoraAdapter, LoraSettings
from edge_glass.decoders.pretrained import PretrainedModel, checkpoint_layers
from edge_glass.decoders.supervised_head import find_supervision
from edge_glass.vlm.components import count_components, lora_settings
from edge_glass.vlm.family import Family, load_family
from edge_glass.vlm.generation import Written, write
from edge_glass.vlm.inputs import has_pictures, inner_inputs, rope_positions, sample_inputs
from edge_glass.vlm.loading import load_vlm

logger = logging.getLogger(__name__)


class DetectionModel(PretrainedModel):
    """A vision-language model of transformers, frozen, with adapters, or trained by components; in eval mode.

    Args:
        vlm: `Qwen2VLForConditionalGeneration` or that of Qwen2.5-VL or Qwen3-VL.
        processor: Its processor, whose pixel budget is set.
        mode: frozen, lora or full.
        lora: Mode lora: how, with the full names of the adapted layers.
        components: Mode full: which of vision, projector and llm (with its head) are trained.
        gradient_checkpointing: Compute activations again in the backward pass.
        dtype: Of frozen weights, unless they are quantised; None leaves them as they are.
        seed: Of the adapters' random half.

    Attributes:
        vlm: The model of transformers; see `PretrainedModel`, also for the other attributes.
        family: What its model type stands for.

    Raises:
        ConfigError: Settings that do not fit the model.
    """

    holder: ClassVar[str] = "vlm"
    section: ClassVar[str] = "vlm"
    vlm: Any

    def __init__(
        self,
        vlm: Any,
        processor: Any,
        *,
        mode: str = "lora",
        lora: LoraSettings | None = None,
        components: Sequence[str] = ("vision", "projector", "llm"),
        gradient_checkpointing: bool = False,
        dtype: torch.dtype | None = None,
        seed: int = 0,
    ) -> None:
        if (mode == "lora") != (lora is not None):
            found = "none" if lora is None else "some"
            raise ConfigError(f"vlm.mode is {mode}: expected lora settings with mode lora alone, got {found}")
        super().__init__(vlm, processor.tokenizer, mode)
        self.family = load_family(vlm.config.model_type)
        self.processor = processor
        _freeze_all_but(vlm, self.family, components if mode == "full" else (), dtype)
        self.adapter = LoraAdapter(vlm, lora, seed) if mode == "lora" and lora is not None else None
        if self.adapter is not None:
            counts = Counter(map(self.family.component_of, self.adapter.targets))
            logger.info("adapted layers: %s", ", ".join(f"{n} of {name}" for name, n in counts.items()))
        _cast_before_projectors(vlm, self.family)
        if gradient_checkpointing:
            checkpoint_layers(vlm)
        self.eval()

    def forward(self, batch: Mapping[str, Any]) -> DecoderOutput:
        """Return the summed loss of a batch, whose head runs on supervised positions only.

        Args:
            batch: `input_ids`, `attention_mask`, `mm_token_type_ids`, `labels` int64 `[B, L]`, `pixel_values`
                `[patches, D]`, `image_grid_thw` int64 `[n, 3]`. Labels are not shifted and -100 where not
                trained. B may be 0.
        """
        ids = batch["input_ids"]
        if not len(ids):
            zero = self._zero(self.parameters())
            nothing = torch.zeros((), dtype=torch.int64, device=zero.device)
            return DecoderOutput(zero, nothing, {"correct": nothing})
        supervision = find_supervision(batch["attention_mask"].bool(), batch["labels"])
        output = self.supervised_loss(self._hidden(batch), supervision)
        if has_pictures(batch):
            return output
        # Processes wait for each other's gradients of all parameters, also where there is nothing to see.
        return output._replace(loss_sum=output.loss_sum + self._zero(self._picture_parameters()))

    def _hidden(self, batch: Mapping[str, Any]) -> Tensor:
        """Return what the LM head reads, `[B, L, D]`."""
        positions, _ = rope_positions(self.vlm, batch)
        return self.vlm.model(**inner_inputs(batch, positions), use_cache=False).last_hidden_state

    def _picture_parameters(self) -> list[nn.Parameter]:
        """Return those that only rows with pictures reach, each once."""
        modules = [one for part in ("vision", "projector") for one in self.family.modules_of(self.vlm, part)]
        return list(dict.fromkeys(each for module in modules for each in module.parameters()))

    def _zero(self, parameters: Iterable[nn.Parameter]) -> Tensor:
        """Return a zero in whose graph the trained ones of these stand."""
        trained = [parameter for parameter in parameters if parameter.requires_grad]
        return zero_touching(*trained).float() if trained else torch.zeros((), device=self.device)

    @torch.no_grad()
    def logits(self, batch: Mapping[str, Any]) -> Tensor:
        """Return logits float32 `[K, V]` that predict the K supervised tokens of a batch, in eval mode."""
        with evaluating(self):
            supervision = find_supervision(batch["attention_mask"].bool(), batch["labels"])
            return self.logits_at(self._hidden(batch), supervision)

    def sample_logits(self) -> Tensor:
        """Return logits of a row with a picture and words from all over the vocabulary, float32 `[16, V]`."""
        return self.logits(sample_inputs(self.vlm, self.processor, self.known))

    def generate(
        self, batch: Mapping[str, Any], settings: GenerationSettings, on_token: OnToken | None = None
    ) -> Written:
        """Write answers to a batch of prompts, each the same as if it were alone; the mode is kept.

        Args:
            batch: As for `forward`, without labels; padding may stand on either side.
            settings: How words are chosen; greedy or sampling.
            on_token: Called with (row, token) as soon as a token is chosen, the end token left out.

        Raises:
            ConfigError: Beams.
        """
        with self.ready_to_write():
            return write(self.vlm, batch, self.known, self.tokenizer, settings, on_token)

    def parameter_counts(self) -> list[ParameterCount]:
        """Return one row per component: vision, projector, llm, head. Tied embeddings count with llm."""
        return count_components(self.vlm)

    def print_parameter_counts(self) -> str:
        """Log the table of parameters per component (total, trained, frozen, dtype) and return it."""
        table = format_parameter_table(self.parameter_counts())
        logger.info("parameters\n%s", table)
        return table


def _freeze_all_but(
    vlm: nn.Module, family: Family, components: Sequence[str], dtype: torch.dtype | None
) -> None:
    """Train these components, in float32; the head is part of the llm. Shared parameters are met once."""
    for name, parameter in vlm.named_parameters():
        component = family.component_of(name)
        parameter.requires_grad_(("llm" if component == "head" else component) in components)
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
        elif dtype is not None and parameter.is_floating_point():
            parameter.data = parameter.data.to(dtype)


def _cast_before_projectors(vlm: Any, family: Family) -> None:
    """Hand a projector features in its dtype, where the vision tower has another."""
    tower = family.modules_of(vlm, "vision")[0]
    modules = family.modules_of(vlm, "projector")
    projectors = chain(*(one if isinstance(one, nn.ModuleList) else [one] for one in modules))
    for projector in projectors:
        dtype = next(projector.parameters()).dtype
        if dtype != tower.dtype:
            projector.register_forward_pre_hook(partial(_in_dtype, dtype))


def _in_dtype(dtype: torch.dtype, _: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(each.to(dtype) for each in inputs)


def build_detection_model(config: DetectionConfig) -> DetectionModel:
    """Build the model of an experiment, as training finds it: a function of its sections vlm, seed and tiny.

    Raises:
        ConfigError: Settings that do not fit or cannot run here.
        AssetError: Weights cannot be found, reached or understood.
    """
    return as_detection_model(*load_vlm(config), config)


def as_detection_model(vlm: Any, processor: Any, config: DetectionConfig) -> DetectionModel:
    """Wrap a loaded model as one that is trained as the experiment says.

    Raises:
        ConfigError: Settings that do not fit.
    """
    section = config.vlm
    quantised = section.quantization != "none"
    return DetectionModel(
        vlm,
        processor,
        mode=section.mode,
        lora=lora_settings(section.lora, vlm, section.family) if section.mode == "lora" else None,
        components=section.components,
        gradient_checkpointing=section.gradient_checkpointing,
        dtype=None if quantised else getattr(torch, section.dtype),
        seed=config.seed,
    )
