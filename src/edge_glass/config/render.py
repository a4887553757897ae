"""A config as YAML that reads back to an equal config: runs/NAME/config.yaml and `edge-glass config show`."""

from __future__ import annotations

from typing import Any

import yaml

from edge_glass.config.schema import ExperimentConfig
from edge_glass.config.yaml_loader import CoreResolver

_LINE_BREAKS = "\n\r\x85\u2028\u2029"


class _CoreDumper(
    yaml.emitter.Emitter, yaml.serializer.Serializer, yaml.representer.SafeRepresenter, CoreResolver
):
    """Writes what yaml_loader reads: text that looks like a number there ("2e-4") is put in quotes."""

    def __init__(self, stream: Any, **options: Any) -> None:
        yaml.emitter.Emitter.__init__(self, stream, width=2**16, allow_unicode=True)
        yaml.serializer.Serializer.__init__(self)
        yaml.representer.SafeRepresenter.__init__(self, default_flow_style=False, sort_keys=False)
        CoreResolver.__init__(self)

    def ignore_aliases(self, data: Any) -> bool:
        return True  # anchors would only puzzle the reader


def _short_list(dumper: _CoreDumper, items: list[Any] | tuple[Any, ...]) -> yaml.Node:
    """Lists in one line, as people write dimensions and seeds."""
    return dumper.represent_sequence("tag:yaml.org,2002:seq", items, flow_style=True)


def _text(dumper: _CoreDumper, text: str) -> yaml.Node:
    """Text, in double quotes where YAML would fold a line break of its kinds or take it for a merge key."""
    style = '"' if text == "<<" or any(letter in text for letter in _LINE_BREAKS) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_CoreDumper.add_representer(str, _text)
_CoreDumper.add_representer(list, _short_list)
_CoreDumper.add_representer(tuple, _short_list)


def dump_config(config: ExperimentConfig) -> str:
    """The resolved config as YAML, every option written out, in the order of the schema."""
    return dump_yaml(config.model_dump())


def dump_yaml(data: Any) -> str:
    """Plain data as YAML under the rules of yaml_loader."""
    return str(yaml.dump(data, Dumper=_CoreDumper))
