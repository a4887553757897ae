"""The parts of a vision-language model, and the layers that adapters are put on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import nn

from edge_glass.config.sections.detection import VlmLoraConfig
from edge_glass.config.sections.large_models import LoraOptions
from edge_glass.core.errors import ConfigError
from edge_glass.core.parameters import ParameterCount
from edge_glass.decoders.lora import ALL, GROUPS, LoraSettings, resolve_targets, target_matches
from edge_glass.vlm.family import COMPONENTS, Family, load_family


def components(model: nn.Module, family: str) -> dict[str, list[str]]:
    """Return component → the names of its modules.

    Raises:
        ConfigError: The model is of another family, or has a part that belongs to no component.
    """
    require_family(model, family)
    names: dict[str, list[str]] = {component: [] for component in COMPONENTS}
    for name in _part_names(model, known := load_family(family)):
        names[known.component_of(name)].append(name)
    return names


def _part_names(model: nn.Module, family: Family) -> Iterable[str]:
    """Yield names of the parts that components consist of: as large as they can be, within one each."""
    paths = [path for paths in family.components.values() for path in paths]
    inside = {path.rpartition(".")[0] for path in paths}
    for name, _ in model.named_modules():
        parent = name.rpartition(".")[0]
        if name not in inside and parent in inside:
            yield name


def require_family(model: Any, family: str) -> None:
    """Refuse a model of another family than the config says: its boxes would be written otherwise.

    Raises:
        ConfigError: It is of another family.
    """
    load_family(family)
    if model.config.model_type != family:
        raise ConfigError(f"vlm.family is {family}, but the model is a {model.config.model_type}")


def lora_settings(config: VlmLoraConfig, model: Any, family: str) -> LoraSettings:
    """Return the adapters of an experiment, with every layer named.

    Raises:
        ConfigError: A target that matches no linear layer of its component, or no target at all.
    """
    wanted = {"vision": config.vision, "projector": config.projector, "llm": config.llm}
    options = config.model_dump(include=set(LoraOptions.model_fields))
    return LoraSettings(**options, targets=resolve_component_targets(model, family, wanted))


def resolve_component_targets(model: Any, family: str, wanted: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the full names of the layers that are adapted, in the order of the model.

    Args:
        model: Of the library, without adapters.
        family: Its family.
        wanted: Component → attention, mlp, all-linear, or ends of the names of layers, within it.

    Raises:
        ConfigError: A target that matches no linear layer of its component, or no target at all.
    """
    require_family(model, family)
    linear, known = resolve_targets(model, [ALL]), load_family(family)
    chosen: set[str] = set()
    for component, targets in wanted.items():
        within = [name for name in linear if known.component_of(name) == component]
        for target in targets:
            found = {name for name in within if target_matches(name, target)}
            if not found:
                raise ConfigError(_nothing_matches(component, within, target))
            chosen |= found
    if not chosen:
        raise ConfigError(
            "vlm.lora: llm, projector and vision are empty, so nothing would be trained; "
            "set llm: [attention, mlp], for example"
        )
    return [name for name in linear if name in chosen]


def _nothing_matches(component: str, within: Sequence[str], target: str) -> str:
    ends = sorted({name.rpartition(".")[2] for name in within} - set("0123456789"))
    groups = [group for group in GROUPS if any(target_matches(name, group) for name in within)]
    right = ", ".join([*groups, ALL, *ends])
    return f"vlm.lora.{component}: {target!r} matches no linear layer of it; expected one of {right}"


def count_components(model: Any) -> list[ParameterCount]:
    """Return one row per component; parameters that are shared are counted once, where they come first."""
    rows: dict[str, list[nn.Parameter]] = {component: [] for component in COMPONENTS}
    family = load_family(model.config.model_type)
    for name, parameter in model.named_parameters():
        rows[family.component_of(name)].append(parameter)
    return [
        ParameterCount(
            component=component,
            total=sum(map(_count_numbers, parameters)),
            trained=sum(_count_numbers(each) for each in parameters if each.requires_grad),
            dtype="+".join(sorted({str(each.dtype).removeprefix("torch.") for each in parameters})) or "-",
        )
        for component, parameters in rows.items()
    ]


def _count_numbers(parameter: Any) -> int:
    """Return numbers of a parameter; bitsandbytes packs two of 4 bits into one."""
    shape = getattr(getattr(parameter, "quant_state", None), "shape", None)
    return int(shape.numel()) if shape is not None else int(parameter.numel())
