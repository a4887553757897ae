"""The YAML 1.2 core rules, and errors that name file and line."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from edge_glass.config.yaml_files import dump_yaml, parse_yaml, plain_value, read_yaml
from edge_glass.core.errors import ConfigError

PLAIN_DATA = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2e-4", 2e-4),
        ("1E5", 1e5),
        ("-.5e3", -500.0),
        ("1.", 1.0),
        ("off", "off"),
        ("on", "on"),
        ("yes", "yes"),
        ("No", "No"),
        ("true", True),
        ("FALSE", False),
        ("tRue", "tRue"),
        ("010", 10),
        ("0o17", 15),
        ("0x1F", 31),
        ("1_000", "1_000"),
        ("1:30", "1:30"),
        ("2024-01-31", "2024-01-31"),
        ("~", None),
        ("", None),
        (".inf", float("inf")),
        ("-.INF", float("-inf")),
        ("'3'", "3"),
        ("!!str 3", "3"),
        ("!!float 3", 3.0),
        ("1e", "1e"),
        ("=", "="),
    ],
)
def test_scalars_follow_the_core_schema(text: str, value: object) -> None:
    found = parse_yaml(f"key: {text}", "f.yaml").value["key"]
    assert (found, type(found)) == (value, type(value))


def test_plain_value_reads_as_an_unquoted_scalar() -> None:
    assert plain_value("3") == 3
    assert plain_value("off") == "off"
    assert plain_value("2e-4") == 2e-4


def test_keys_are_text() -> None:
    assert parse_yaml("{64: a, true: b, 1.0: c}", "f.yaml").value == {"64": "a", "true": "b", "1.0": "c"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a:\n  b: 1\n  c: 2\n  b: 3\n", "f.yaml line 4: a.b stands twice (first on line 2); keep one"),
        ("a: 1\n'a': 2\n", "f.yaml line 2: a stands twice (first on line 1); keep one"),
        ("a:\n\t- 1\n", "f.yaml line 2: not valid YAML: indent with spaces, not with a tab"),
        ("a: 1\nb: 'open\n", "f.yaml line 3: not valid YAML: the quote opened on line 2 is never closed"),
        (
            "a: 1\n---\nb: 2\n",
            "f.yaml line 2: not valid YAML: a second document (---) starts here; a config is one document",
        ),
        ("a: 1\nb: &x [*x]\n", "f.yaml line 2: this anchor contains itself"),
        ("a: 1\nb: !!int x\n", "f.yaml line 2: 'x' cannot be read as !!int"),
        (
            "a: !!python/name:os.system x\n",
            "f.yaml line 1: the tag !!python/name:os.system is not supported; write plain YAML",
        ),
        ("a: !!set {b}\n", "f.yaml line 1: the tag !!set is not supported; write plain YAML"),
        ("? [a]\n: 1\n", "f.yaml line 1: a key must be a word, not a list or a mapping"),
        ("a: 1\nb: \x07\n", "f.yaml line 2: the character U+0007 is not allowed in YAML"),
        ("[" * 5000, "f.yaml: nested too deeply"),
    ],
)
def test_bad_yaml_names_file_and_line(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_yaml(text, "f.yaml")
    assert str(caught.value) == message


def test_merge_keys_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"^f.yaml line 3: merge keys \(<<\) are not supported"):
        parse_yaml("a: &x {b: 1}\nc:\n  <<: *x\n", "f.yaml")


def test_anchors_work_and_stay_cheap() -> None:
    assert parse_yaml("a: &x {b: 1}\nc: *x\n", "f.yaml").value == {"a": {"b": 1}, "c": {"b": 1}}
    laughs = "a0: &a0 [1]\n" + "".join(f"a{i + 1}: &a{i + 1} [*a{i}, *a{i}, *a{i}]\n" for i in range(40))
    assert len(parse_yaml(laughs, "f.yaml").value) == 41  # 3^40 items if aliases were copied


def test_lines_of_keys_and_items() -> None:
    lines = parse_yaml("# note\na:\n  b: 1\n  c:\n    - x\n    - y\n", "f.yaml").lines
    assert lines["a",] == 2
    assert lines["a", "b"] == 3
    assert lines["a", "c", 1] == 6


def test_files_that_are_not_text(tmp_path: Path) -> None:
    path = tmp_path / "f.yaml"
    path.write_bytes(b"name: \xff\n")
    with pytest.raises(ConfigError, match=r"f\.yaml: not UTF-8 text \(byte 6\)"):
        read_yaml(path)


def test_a_byte_order_mark_is_not_part_of_the_first_key(tmp_path: Path) -> None:
    path = tmp_path / "f.yaml"
    path.write_bytes(b"\xef\xbb\xbfname: x\r\n")
    assert read_yaml(path).value == {"name": "x"}


@given(PLAIN_DATA)
def test_what_is_written_reads_back(value: object) -> None:
    assert parse_yaml(dump_yaml({"key": value}), "f.yaml").value == {"key": value}


@given(st.text())
def test_any_text_gives_data_or_a_config_error(text: str) -> None:
    try:
        parse_yaml(text, "f.yaml")
    except ConfigError as error:
        assert str(error).startswith("f.yaml")


@given(PLAIN_DATA)
def test_a_second_yaml_implementation_can_read_what_is_written(value: object) -> None:
    """Structure only: PyYAML's own loader types scalars by YAML 1.1."""
    assert "key" in yaml.load(dump_yaml({"key": value}), Loader=yaml.BaseLoader)
