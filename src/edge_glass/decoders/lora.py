"""LoRA on a language model: targets by name, adapters that are saved and loaded strictly, merging.

Hu et al. 2021, "LoRA: Low-Rank Adaptation of Large Language Models", https://arxiv.org/abs/2106.09685; the
layers are those of the library peft.
"""

from __future__ import annotations

import json
import logging
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import Any, ClassVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from edge_glass.config.options import Options
from edge_glass.config.sections.answers import LoraConfig
from edge_glass.core.errors import CheckpointError, ConfigError
from edge_glass.decoders.decoder import check_names_and_shapes
from edge_glass.encoders.sources import write_record

logger = logging.getLogger(__name__)

MANIFEST_FILE = "adapter_manifest.json"
WEIGHTS_FILE = "adapter_model.safetensors"  # peft's own name, as that of its adapter_config.json

# What stands in the path of a linear layer of each group, over the naming habits of many families.
GROUPS = {"attention": ("attn", "attention"), "mlp": ("mlp", "feed_forward", "ffn")}
ALL = "all-linear"

SAMPLED = 256  # numbers of the base that are kept beside its adapter
SAME_BASE = 0.005  # what they may differ by, as a share: rounding them to bfloat16 is 0.002


class LoraSettings(Options, LoraConfig):
    """How a language model is adapted.

    `targets` are linear layers: attention, mlp, all-linear, a layer's full name, or the end of it, such as
    q_proj or layers.0.mlp.up_proj. The LM head and the embeddings are never adapted. With `rslora` the
    contribution of the adapters is multiplied by alpha / √rank (https://arxiv.org/abs/2312.03732); `dora`
    trains the magnitudes too (https://arxiv.org/abs/2402.09353).

    Raises:
        ConfigError: A value out of range.
    """

    noun: ClassVar[str] = "lora"


def resolve_targets(model: nn.Module, targets: Sequence[str]) -> list[str]:
    """Return the full names of the layers that `targets` mean, in the order of the model.

    Raises:
        ConfigError: A target that matches no linear layer, or the LM head.
    """
    linear = _linear_layers(model)
    chosen: set[str] = set()
    for target in targets:
        found = {name for name in linear if target_matches(name, target)}
        if not found:
            raise ConfigError(_nothing_matches(model, linear, target))
        chosen |= found
    return [name for name in linear if name in chosen]


def _linear_layers(model: nn.Module) -> list[str]:
    """Return layers that can be adapted: linear (quantised or not), GPT-2's Conv1D; not the LM head."""
    from transformers.pytorch_utils import Conv1D

    head = model.get_output_embeddings()  # type: ignore[operator]
    return [
        name
        for name, module in model.named_modules()
        if isinstance(module, (nn.Linear, Conv1D)) and module is not head
    ]


def target_matches(name: str, target: str) -> bool:
    """Return whether a target (see `LoraSettings`) means the linear layer of this full name."""
    if target == ALL:
        return True
    if target in GROUPS:
        return any(word in part for part in name.split(".")[:-1] for word in GROUPS[target])
    return name == target or name.endswith("." + target)


def _nothing_matches(model: nn.Module, linear: list[str], target: str) -> str:
    if any(name == target or name.endswith("." + target) for name, _ in model.named_modules()):
        return f"lora: target {target!r} is no linear layer that can be adapted (nor is the LM head)"
    ends = sorted({name.rpartition(".")[2] for name in linear})
    names = [*GROUPS, ALL, *ends, *linear]
    near = get_close_matches(target, names, n=3, cutoff=0.6)
    some = ", ".join(near or [*GROUPS, ALL, *ends][:9])
    return f"lora: expected a target such as {some}, got {target!r}, which {type(model).__name__} has not"


class LoraAdapter:
    """The adapters of one language model. The model keeps its class; peft's layers stand inside it.

    Attributes:
        settings: What was asked for.
        targets: Full names of the adapted layers.
    """

    def __init__(self, model: nn.Module, settings: LoraSettings, seed: int = 0) -> None:
        """Put new adapters into `model`, which is frozen; they change nothing until trained.

        Args:
            model: A causal language model of transformers.
            settings: How.
            seed: Decides the adapters' random half.

        Raises:
            ConfigError: A target that matches nothing.
        """
        from peft import LoraConfig, get_peft_model

        self.settings = settings
        self.targets = resolve_targets(model, settings.targets)
        config = LoraConfig(
            r=settings.rank,
            lora_alpha=settings.alpha,  # type: ignore[arg-type]
            lora_dropout=settings.dropout,
            target_modules=list(self.targets),
            use_rslora=settings.rslora,
            use_dora=settings.dora,
            fan_in_fan_out=any(type(model.get_submodule(name)).__name__ == "Conv1D" for name in self.targets),
            bias="none",
            task_type="CAUSAL_LM",
        )
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of transformers, about a call of peft
            torch.default_generator.manual_seed(seed)
            self._peft: Any = get_peft_model(model, config)
        adapted = sorted(name for name, module in model.named_modules() if hasattr(module, "lora_A"))
        if adapted != sorted(self.targets):  # a fact of the library that all below rests on
            raise ConfigError(f"lora: peft adapted {len(adapted)} layers instead of {len(self.targets)}")
        logger.info("LoRA of rank %d on %d layers: %s", settings.rank, len(adapted), _by_kind(self.targets))

    def state_dict(self) -> dict[str, Tensor]:
        """Return the adapters' tensors under peft's names for files; they share memory with the model."""
        from peft import get_peft_model_state_dict

        return dict(get_peft_model_state_dict(self._peft, save_embedding_layers=False))

    def save(self, folder: str | Path) -> None:
        """Write a folder that `load_adapter` and peft can read: weights, peft's config, a manifest."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        state = {name: tensor.detach().cpu().contiguous() for name, tensor in self.state_dict().items()}
        save_file(state, folder / WEIGHTS_FILE)
        self._peft.peft_config["default"].save_pretrained(folder)
        manifest = {
            "format": 1,
            "settings": self.settings.model_dump(),
            "targets": self.targets,
            "base": self._base_sample().tolist(),
            "tensors": {name: list(tensor.shape) for name, tensor in state.items()},
        }
        write_record(folder / MANIFEST_FILE, manifest)

    def load(self, folder: str | Path) -> None:
        """Load what `save` wrote; nothing is loaded when it does not fit exactly.

        Raises:
            CheckpointError: The folder is incomplete, or its adapter is of another model or other settings.
        """
        folder = Path(folder)
        manifest = read_manifest(folder)
        try:
            state = load_file(folder / WEIGHTS_FILE)
        except (OSError, SafetensorError) as error:
            raise CheckpointError(f"{folder / WEIGHTS_FILE} cannot be read ({error})") from error
        shapes = {name: list(tensor.shape) for name, tensor in state.items()}
        if shapes != manifest["tensors"]:
            raise CheckpointError(f"{folder}: {WEIGHTS_FILE} holds other tensors than {MANIFEST_FILE} lists")
        own = self.state_dict()
        check_names_and_shapes(own, state, f"adapter {folder}")
        stored = LoraSettings(**manifest["settings"])
        for field in ("alpha", "rslora", "dora"):  # which decide what the tensors mean, but not their shapes
            if getattr(stored, field) != getattr(self.settings, field):
                found, expected = getattr(stored, field), getattr(self.settings, field)
                raise CheckpointError(f"adapter {folder}: expected {field} {expected}, got {found}")
        base, trained_on = self._base_sample(), torch.tensor(manifest["base"])
        if not float((base - trained_on).norm()) <= SAME_BASE * float(trained_on.norm()):
            raise CheckpointError(
                f"adapter {folder}: it was trained on another model of the same shapes (other embeddings); "
                "load it into that one"
            )
        with torch.no_grad():
            for name, tensor in own.items():
                tensor.copy_(state[name])

    def _base_sample(self) -> Tensor:
        """Return float32 numbers from all over the embedding table: it is neither adapted nor quantised."""
        table = self._peft.get_input_embeddings().weight.detach().flatten()
        places = torch.arange(SAMPLED, device=table.device) * len(table) // (SAMPLED + 1)
        return table[places].float().cpu()

    def merge(self, logits: Callable[[], Tensor], bound: float = 1e-3) -> tuple[nn.Module, float]:
        """Add the adapters to the weights of the model, and take their layers out.

        Sums are made and compared in float32, then rounded to the dtype of the weights: two models computed
        in bfloat16 differ more by its arithmetic than by what was merged.

        Args:
            logits: Runs the model on some sample; called before and after.
            bound: Largest difference allowed, as a share of the largest logit.

        Returns:
            The plain model, and the difference as a share.

        Raises:
            CheckpointError: The merged model answers otherwise, as happens with quantised weights; the
                adapters are left in then, and the weights as they were up to rounding.
        """
        with self._in_float32() as round_weights:
            before = logits()
            try:
                self._peft.merge_adapter(safe_merge=True)
            except ValueError as error:
                raise CheckpointError(f"the adapter cannot be merged: {error}") from error
            round_weights()
            difference = float((logits() - before).abs().max() / before.abs().max().clamp(min=1e-12))
            if not difference <= bound:  # NaN is not below anything
                self._peft.unmerge_adapter()
                raise CheckpointError(
                    f"the merged model's logits differ from the unmerged one's by {difference:.2g} of the "
                    f"largest; expected at most {bound:g}. Load the base without quantization"
                )
        return self._peft.unload(), difference

    @contextmanager
    def _in_float32(self) -> Iterator[Callable[[], None]]:
        """Hold shorter weights in float32 while the block runs; what it gives rounds them as they will be."""
        short = {
            parameter: parameter.dtype
            for parameter in self._peft.parameters()
            if parameter.dtype in (torch.bfloat16, torch.float16)
        }

        def round_weights() -> None:
            for parameter, dtype in short.items():
                parameter.data = parameter.data.to(dtype).float()

        for parameter in short:
            parameter.data = parameter.data.float()
        try:
            yield round_weights
        finally:
            for parameter, dtype in short.items():
                parameter.data = parameter.data.to(dtype)


def _by_kind(names: Sequence[str]) -> str:
    """Write names, those that differ in their first number as one: `layers.[0-29].mlp.up_proj`."""
    numbers: dict[tuple[str, str], list[int]] = {}
    for name in names:
        before, *rest = re.split(r"(?<=\.)(\d+)(?=\.)", name, maxsplit=1)
        numbers.setdefault((before, "".join(rest[1:])), []).extend(map(int, rest[:1]))
    return ", ".join(
        f"{before}[{_ranges(found)}]{after}" if found else before
        for (before, after), found in numbers.items()
    )


def _ranges(numbers: Sequence[int]) -> str:
    """Write numbers in short: 0, 1, 2, 5 → "0-2,5"."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ",".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else f"{run[0]}" for run in runs)


def read_manifest(folder: str | Path) -> dict[str, Any]:
    """Read what a saved adapter says of itself.

    Raises:
        CheckpointError: It is missing or not one of this format.
    """
    path = Path(folder) / MANIFEST_FILE
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        if (
            manifest["format"] != 1
            or set(manifest["settings"]) != set(LoraSettings.model_fields)
            or not {"tensors", "base"} <= manifest.keys()
        ):
            raise ValueError("another format")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} is no manifest of an adapter ({error})") from error
    return dict(manifest)


def read_settings(folder: str | Path) -> LoraSettings:
    """Read the settings an adapter was trained with, to build the decoder that it is loaded into.

    Raises:
        CheckpointError: As `read_manifest`.
    """
    return LoraSettings(**read_manifest(folder)["settings"])
