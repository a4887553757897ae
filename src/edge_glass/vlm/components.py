"""The parts of a vision-language model, and the layers that adapters are put on.

The merger joins vision to words, though it stands inside the vision tower: it is the projector here, and so
are the mergers of Qwen3-VL's DeepStack. Patterns that are matched over the whole model get this wrong, see
https://github.com/haotian-liu/LLaVA/issues/1647 and https://github.com/hiyouga/LlamaFactory/pull/9399.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import nn

from edge_glass.config.sections.detection import VlmLoraConfig
from edge_glass.core.errors import ConfigError
from edge_glass.core.parameters import ParameterCount
from edge_glass.decoders.lora import ALL, GROUPS, LoraSettings, resolve_targets, target_matches
from edge_glass.vlm.scratch import FAMILIES

COMPONENTS = ("vision", "projector", "llm", "head")
_MERGERS = ("merger", "deepstack_merger_list")


def component_of(name: str) -> str:
    """The component that a parameter or module belongs to, by its name: vision, projector, llm or head.

    Names of adapters, of wrapped models and of the library's model alone are understood.

    Raises:
        ConfigError: It belongs to none.
    """
    parts = name.split(".")
    if "visual" in parts:
        inside = parts[parts.index("visual") + 1 :]
        return "projector" if inside[:1] and inside[0] in _MERGERS else "vision"
    if "language_model" in parts:
        return "llm"
    if "lm_head" in parts:
        return "head"
    known = "visual, language_model or lm_head"
    raise ConfigError(f"{name} belongs to no component of a vision-language model: {known} is not in it")


def components(model: nn.Module, family: str) -> dict[str, list[str]]:
    """Component → the names of its modules.

    Raises:
        ConfigError: The model is of another family, or has a part that belongs to no component.
    """
    require_family(model, family)
    names: dict[str, list[str]] = {component: [] for component in COMPONENTS}
    for name, _ in _parts(model):
        names[component_of(name)].append(name)
    return names


def projectors(model: Any) -> list[nn.Module]:
    """The modules that join vision to words: the merger, and DeepStack's."""
    visual = model.model.visual
    return [visual.merger, *getattr(visual, "deepstack_merger_list", ())]


def _parts(model: nn.Module) -> Iterable[tuple[str, nn.Module]]:
    """The vision tower's children, the language model and the head."""
    for name, child in model.named_children():
        if name != "model":
            yield name, child
            continue
        for below, part in child.named_children():
            if below == "visual":
                yield from ((f"model.visual.{last}", each) for last, each in part.named_children())
            else:
                yield f"model.{below}", part


def require_family(model: Any, family: str) -> None:
    """Refuse a model of another family than the config says: its boxes would be written otherwise.

    Raises:
        ConfigError: It is of another family.
    """
    if family not in FAMILIES:
        raise ConfigError(f"vlm.family is {family!r}; {', '.join(FAMILIES)} would be right")
    if model.config.model_type != family:
        raise ConfigError(f"vlm.family is {family}, but the model is a {model.config.model_type}")


def lora_settings(config: VlmLoraConfig, model: Any, family: str) -> LoraSettings:
    """The adapters of an experiment, with every layer named.

    Raises:
        ConfigError: A target that matches no linear layer of its component, or no target at all.
    """
    wanted = {"vision": config.vision, "projector": config.projector, "llm": config.llm}
    return LoraSettings(
        rank=config.rank,
        alpha=config.alpha,
        dropout=config.dropout,
        targets=resolve_component_targets(model, family, wanted),
        rslora=config.rslora,
        dora=config.dora,
    )


def resolve_component_targets(model: Any, family: str, wanted: Mapping[str, Sequence[str]]) -> list[str]:
    """The full names of the layers that are adapted, in the order of the model.

    Args:
        model: Of the library, without adapters.
        family: Its family.
        wanted: Component → attention, mlp, all-linear, or ends of the names of layers, within it.

    Raises:
        ConfigError: A target that matches no linear layer of its component, or no target at all.
    """
    require_family(model, family)
    linear = resolve_targets(model, [ALL])
    chosen: set[str] = set()
    for component, targets in wanted.items():
        within = [name for name in linear if component_of(name) == component]
        for target in targets:
            found = {name for name in within if target_matches(name, target)}
            if not found:
                raise ConfigError(_nothing_matches(component, within, target))
            chosen |= found
    if not chosen:
        raise ConfigError(
            "vlm.lora: llm, projector and vision are empty, so nothing would be trained; "
            "llm: [attention, mlp] would be right"
        )
    return [name for name in linear if name in chosen]


def _nothing_matches(component: str, within: Sequence[str], target: str) -> str:
    ends = sorted({name.rpartition(".")[2] for name in within} - set("0123456789"))
    groups = [group for group in GROUPS if any(target_matches(name, group) for name in within)]
    right = ", ".join([*groups, ALL, *ends])
    return (
        f"vlm.lora.{component}: {target!r} matches no linear layer of the {component}; {right} would be right"
    )


def count_components(model: Any) -> list[ParameterCount]:
    """One row per component; parameters that are shared are counted once, where they come first."""
    rows: dict[str, list[nn.Parameter]] = {component: [] for component in COMPONENTS}
    for name, parameter in model.named_parameters():
        rows[component_of(name)].append(parameter)
    return [
        ParameterCount(
            component=component,
            total=sum(map(_numbers, parameters)),
            trained=sum(_numbers(each) for each in parameters if each.requires_grad),
            dtype="+".join(sorted({str(each.dtype).removeprefix("torch.") for each in parameters})) or "-",
        )
        for component, parameters in rows.items()
    ]


def _numbers(parameter: Any) -> int:
    """Numbers of a parameter; bitsandbytes packs two of 4 bits into one."""
    shape = getattr(getattr(parameter, "quant_state", None), "shape", None)
    return int(shape.numel()) if shape is not None else int(parameter.numel())
