"""YAML read and written under the YAML 1.2 core rules, with the line every key stands on.

PyYAML reads YAML 1.1, where `2e-4` is text and `off` is false. Both have cost people training runs, so the
scalar rules here are those of the YAML 1.2.2 core schema; only PyYAML's parser is used.

Source: https://yaml.org/spec/1.2.2/#1032-tag-resolution
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from edge_glass.config.sections.base import KeyPath
from edge_glass.core.errors import ConfigError

_TAG = "tag:yaml.org,2002:"
_LINE_BREAKS = "\n\r\x85\u2028\u2029"

# Tag, what a plain scalar of that tag looks like, and its possible first characters (for PyYAML's index).
_CORE_SCALARS: list[tuple[str, str, list[str]]] = [
    ("null", r"(?:~|null|Null|NULL|)", ["~", "n", "N", ""]),
    ("bool", r"(?:true|True|TRUE|false|False|FALSE)", list("tTfF")),
    ("int", r"(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)", list("-+0123456789")),
    (
        "float",
        r"(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))",
        list("-+0123456789."),
    ),
]


class CoreResolver(yaml.resolver.BaseResolver):
    """Gives plain scalars their type by the YAML 1.2 core rules; shared by reading and writing."""


for _name, _pattern, _first in _CORE_SCALARS:
    CoreResolver.add_implicit_resolver(_TAG + _name, re.compile(f"^{_pattern}\\Z"), _first)


class _Composer(
    yaml.reader.Reader, yaml.scanner.Scanner, yaml.parser.Parser, yaml.composer.Composer, CoreResolver
):
    """Text → tree of nodes. It constructs no objects, so no tag can run code."""

    def __init__(self, text: str) -> None:
        yaml.reader.Reader.__init__(self, text)
        yaml.scanner.Scanner.__init__(self)
        yaml.parser.Parser.__init__(self)
        yaml.composer.Composer.__init__(self)
        CoreResolver.__init__(self)


class YamlDocument(NamedTuple):
    """What a file says and where: `lines` maps the path of every key and item to its 1-based line."""

    value: Any
    lines: dict[KeyPath, int]


def read_yaml(path: Path) -> YamlDocument:
    """Read one YAML file.

    Raises:
        ConfigError: naming file and line, when it cannot be read or is not one YAML document.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 text (byte {error.start}); save the file as UTF-8") from error
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    return parse_yaml(text, str(path))


def parse_yaml(text: str, where: str) -> YamlDocument:
    """Parse YAML text; `where` names it in messages.

    Raises:
        ConfigError: for bad YAML, duplicate keys, anchors that contain themselves and non-core tags.
    """
    builder = _Builder(where)
    try:
        node = _Composer(text).get_single_node()
        value = None if node is None else builder.build(node, ())
    except yaml.MarkedYAMLError as error:
        raise ConfigError(_syntax_message(where, error)) from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ConfigError(
            f"{where} line {line}: the character U+{ord(text[error.position]):04X} is not allowed in YAML"
        ) from error
    except RecursionError as error:
        raise ConfigError(f"{where}: nested too deeply") from error
    return YamlDocument(value, builder.lines)


def plain_value(text: str) -> Any:
    """Return what `text` means when it stands unquoted in a file: `"3"` → 3, `"off"` → "off"."""
    resolver = CoreResolver()
    tag = resolver.resolve(yaml.ScalarNode, text, (True, False))
    return _scalar(tag.removeprefix(_TAG), text)


class _Builder:
    """Nodes → plain data, noting lines and refusing what the core rules do not have."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.lines: dict[KeyPath, int] = {}
        self._open: set[int] = set()  # nodes being built: meeting one again means it contains itself
        self._built: dict[int, Any] = {}  # an alias is built once, so aliases of aliases stay cheap

    def build(self, node: yaml.Node, path: KeyPath) -> Any:
        self.lines.setdefault(path, _line(node))
        if id(node) in self._built:
            return self._built[id(node)]
        if id(node) in self._open:
            raise self._error(node, "this anchor contains itself")
        self._open.add(id(node))
        value: Any
        if isinstance(node, yaml.MappingNode):
            value = self._mapping(node, path)
        elif isinstance(node, yaml.SequenceNode):
            self._expect_tag(node, "seq")
            value = [self.build(item, (*path, index)) for index, item in enumerate(node.value)]
        else:
            value = self._plain(node)
        self._open.discard(id(node))
        self._built[id(node)] = value
        return value

    def _mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Any]:
        self._expect_tag(node, "map")
        result: dict[str, Any] = {}
        first_line: dict[str, int] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise self._error(key_node, "a key must be a word, not a list or a mapping")
            key = key_node.value
            dotted = ".".join(str(part) for part in (*path, key))
            if key == "<<" and key_node.style is None:
                raise self._error(
                    key_node, "merge keys (<<) are not supported; use base: FILE, or write the keys out"
                )
            if key in first_line:
                raise self._error(
                    key_node, f"{dotted} stands twice (first on line {first_line[key]}); keep one"
                )
            first_line[key] = _line(key_node)
            self.lines[*path, key] = first_line[key]
            result[key] = self.build(value_node, (*path, key))
        return result

    def _plain(self, node: yaml.Node) -> Any:
        kind = node.tag.removeprefix(_TAG)
        try:
            return _scalar(kind, node.value)
        except KeyError:
            raise self._unsupported_tag(node) from None
        except ValueError:
            raise self._error(node, f"{node.value!r} cannot be read as !!{kind}") from None

    def _expect_tag(self, node: yaml.Node, kind: str) -> None:
        if node.tag != _TAG + kind:
            raise self._unsupported_tag(node)

    def _unsupported_tag(self, node: yaml.Node) -> ConfigError:
        return self._error(node, f"the tag {node.tag.replace(_TAG, '!!')} is not supported; write plain YAML")

    def _error(self, node: yaml.Node, text: str) -> ConfigError:
        return ConfigError(f"{self.where} line {_line(node)}: {text}")


def _scalar(kind: str, text: str) -> Any:
    """Read a scalar of a core tag (raises KeyError for other tags, ValueError for text that does not fit)."""
    if kind == "str":
        return text
    if kind == "null":
        return None
    if kind == "bool":
        if text.lower() not in ("true", "false"):
            raise ValueError(text)
        return text.lower() == "true"
    if kind == "int":
        base = {"0o": 8, "0x": 16}.get(text[:2], 10)
        return int(text[2:] if base != 10 else text, base)
    if kind == "float":
        return float(re.sub(r"(?i)^([-+]?)\.(inf|nan)$", r"\1\2", text))
    raise KeyError(kind)


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def _syntax_message(where: str, error: yaml.MarkedYAMLError) -> str:
    mark = error.problem_mark or error.context_mark
    line = "" if mark is None else f" line {mark.line + 1}"
    problem = error.problem or "cannot be parsed"
    if "\\t" in problem:
        problem = "indent with spaces, not with a tab"
    elif "mapping values are not allowed" in problem:
        problem = "a second ': ' in one line, or wrong indentation; put text that contains ': ' in quotes"
    elif "quoted scalar" in (error.context or "") and error.context_mark is not None:
        problem = f"the quote opened on line {error.context_mark.line + 1} is never closed"
    elif "expected <block end>" in problem:
        problem = "wrong indentation, or a list and keys at the same level"
    elif "but found another document" in problem:
        problem = "a second document (---) starts here; a config is one document"
    return f"{where}{line}: not valid YAML: {problem}"


def dump_yaml(data: Any) -> str:
    """Write plain data as YAML that `parse_yaml` reads back to the same."""
    return str(yaml.dump(data, Dumper=_CoreDumper))


class _CoreDumper(
    yaml.emitter.Emitter, yaml.serializer.Serializer, yaml.representer.SafeRepresenter, CoreResolver
):
    """Writes what `parse_yaml` reads: text that looks like a number there ("2e-4") is put in quotes."""

    def __init__(self, stream: Any, **options: Any) -> None:
        yaml.emitter.Emitter.__init__(self, stream, width=2**16, allow_unicode=True)
        yaml.serializer.Serializer.__init__(self)
        yaml.representer.SafeRepresenter.__init__(self, default_flow_style=False, sort_keys=False)
        CoreResolver.__init__(self)

    def ignore_aliases(self, data: Any) -> bool:
        return True  # anchors would only puzzle the reader


def _short_list(dumper: _CoreDumper, items: list[Any] | tuple[Any, ...]) -> yaml.Node:
    """Write lists in one line, as people write dimensions and seeds."""
    return dumper.represent_sequence("tag:yaml.org,2002:seq", items, flow_style=True)


def _text(dumper: _CoreDumper, text: str) -> yaml.Node:
    """Write text, in double quotes where YAML would fold its line breaks or take it for a merge key."""
    style = '"' if text == "<<" or any(letter in text for letter in _LINE_BREAKS) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_CoreDumper.add_representer(str, _text)
_CoreDumper.add_representer(list, _short_list)
_CoreDumper.add_representer(tuple, _short_list)
