"""Answers of vision-language models: every form is read, and no text is too strange to be an answer."""

from __future__ import annotations

import ast
import json
import time

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from edge_glass.detection.boxes.formats.json import MAX_DEPTH, Node, read_values
from edge_glass.detection.boxes.parsing import ParsedAnswer, parse_qwen_bbox_output

DOG = [[1, 2, 3, 4]], ["dog"]
TWO = [[1, 2, 3, 4], [5, 6, 7, 8]], ["dog", "cat"]
UNNAMED = [[1, 2, 3, 4], [5, 6, 7, 8]], ["", ""]

READ: dict[str, tuple[str, tuple[list[list[float]], list[str]]]] = {
    "json": ('[{"bbox_2d": [1, 2, 3, 4], "label": "dog"}]', DOG),
    "fence": ('```json\n[\n\t{"bbox_2d": [1, 2, 3, 4], "label": "dog"}\n]\n```', DOG),
    "fence without its end": ('```json\n[{"bbox_2d": [1, 2, 3, 4], "label": "dog"}]', DOG),
    "one map": ('{"bbox_2d": [1, 2, 3, 4], "label": "dog"}', DOG),
    "single quotes": ("[{'bbox_2d': [1, 2, 3, 4], 'label': 'dog'}]", DOG),
    "no quotes": ("[{bbox_2d: [1, 2, 3, 4], label: dog}]", DOG),
    "tuples": ("[{'bbox': (1, 2, 3, 4), 'label': 'dog'}]", DOG),
    "trailing commas": ('[{"bbox_2d": [1, 2, 3, 4,], "label": "dog",},]', DOG),
    "label first": ('[{"label": "dog", "bbox_2d": [1, 2, 3, 4]}]', DOG),
    "missing comma": ('[{"bbox_2d": [1, 2, 3, 4]\n"label": "dog"}]', DOG),
    "missing brace": ('[{"bbox_2d": [1, 2, 3, 4], "label": "dog"]', DOG),
    "numbers in quotes": ('[{"bbox_2d": ["1", "2", "3", "4"], "label": "dog"}]', DOG),
    "numbers in one text": ('[{"bbox_2d": "[1, 2, 3, 4]", "label": "dog"}]', DOG),
    "pairs": ('[{"bbox_2d": [[1, 2], [3, 4]], "label": "dog"}]', DOG),
    "text around": ('The dog\'s box is [here]: [{"bbox_2d": [1, 2, 3, 4], "label": "dog"}]. I\'m sure!', DOG),
    "a range in the text": ('In [0, 1000]: {"bbox_2d": [1, 2, 3, 4], "label": "dog"}', DOG),
    "other keys": ('[{"id": 7, "bbox_2d": [1, 2, 3, 4], "size": [3, 3], "label": "dog"}]', DOG),
    "four numbers that are no box": ('{"color": [9, 9, 9, 9], "bbox": [1, 2, 3, 4], "label": "dog"}', DOG),
    "a word too many": ('{"bbox_2d": [1, 2, 3, 4], "sure", "label": "dog"}', DOG),
    "point beside": ('[{"point_2d": [9, 9], "label": "nose"}, {"bbox_2d": [1,2,3,4], "label": "dog"}]', DOG),
    "floats": ('[{"bbox_2d": [1.0, 2.0, 3e0, 0.4e1], "label": "dog"}]', DOG),
    "capitals": ('[{"BBox_2D": [1, 2, 3, 4], "Label": "dog"}]', DOG),
    "end of turn": ('[{"bbox_2d": [1, 2, 3, 4], "label": "dog"}]<|im_end|>\n[[9, 9, 9, 9]]', DOG),
    "list": ('[{"bbox_2d":[1,2,3,4],"label":"dog"},{"bbox_2d":[5,6,7,8],"label":"cat"}]', TWO),
    "lines": ('{"bbox_2d":[1,2,3,4],"label":"dog"}\n{"bbox_2d":[5,6,7,8],"label":"cat"}', TWO),
    "several lists": ('[{"bbox":[1,2,3,4],"label":"dog"}] and [{"box":[5,6,7,8],"label":"cat"}]', TWO),
    "nested lists": ('[[{"bbox_2d":[1,2,3,4],"label":"dog"}],[{"bbox_2d":[5,6,7,8],"label":"cat"}]]', TWO),
    "within a map": (
        '{"objects":[{"bbox_2d":[1,2,3,4],"label":"dog"},{"box":[5,6,7,8],"label":"cat"}]}',
        TWO,
    ),
    "labels are keys": ('{"dog": [1, 2, 3, 4], "cat": [[5, 6, 7, 8]]}', TWO),
    "labels are keys of maps": ('{"dog": {"bbox_2d": [1, 2, 3, 4]}, "cat": {"box_2d": [5, 6, 7, 8]}}', TWO),
    "two lists side by side": ('{"bboxes": [[1,2,3,4],[5,6,7,8]], "labels": ["dog", "cat"]}', TWO),
    "one map for two": ('{"bbox_2d":[1,2,3,4],"label":"dog","bbox_2d":[5,6,7,8],"label":"cat"}', TWO),
    "one label for two": ('{"bbox_2d": [[1,2,3,4],[5,6,7,8]], "label": "dog"}', (TWO[0], ["dog", "dog"])),
    "bare list": ("[1, 2, 3, 4]", ([[1, 2, 3, 4]], [""])),
    "bare lists": ("[[1, 2, 3, 4], [5, 6, 7, 8]]", UNNAMED),
    "bare lists one after another": ("[1, 2, 3, 4]\n[5, 6, 7, 8]", UNNAMED),
    "without labels": ('[{"bbox_2d": [1, 2, 3, 4]}, {"bbox_2d": [5, 6, 7, 8]}]', UNNAMED),
    "beyond the range": ("[[-5, 2, 1001, 4]]", ([[-5, 2, 1001, 4]], [""])),
    "no area": ("[[1, 2, 1, 4]]", ([[1, 2, 1, 4]], [""])),
    "escapes": (
        '[{"bbox": [1, 2, 3, 4], "label": "\\"a\\" \\\\ \\u00e9\\ud83d\\ude00\\n"}]',
        (DOG[0], ['"a" \\ é😀']),
    ),
    "quotes within": ('[{"bbox": [1, 2, 3, 4], "label": "a "big" dog"}]', (DOG[0], ['a "big" dog'])),
    "apostrophe": ("[{'bbox': [1, 2, 3, 4], 'label': 'driver's seat'}]", (DOG[0], ["driver's seat"])),
    "brackets in a label": ('[{"label": "a] {b}", "bbox": [1, 2, 3, 4]}]', (DOG[0], ["a] {b}"])),
    "unicode": ('[{"bbox": [1, 2, 3, 4], "label": "栄養成分表示"}]', (DOG[0], ["栄養成分表示"])),
    "half a pair": ('[{"bbox": [1, 2, 3, 4], "label": "\\ud83d"}]', (DOG[0], ["\ufffd"])),
    "nothing": ("[]", ([], [])),
    "nothing in a fence": ("```json\n[]\n```", ([], [])),
    "nothing in a map": ('{"objects": []}', ([], [])),
    "nothing in words": (" None.\n", ([], [])),
    "tokens": (
        "<|object_ref_start|>dog<|object_ref_end|><|box_start|>(1,2),(3,4)<|box_end|>"
        "<|object_ref_start|>cat<|object_ref_end|><|box_start|>(5,6),(7,8)<|box_end|><|im_end|>",
        TWO,
    ),
    "tokens with blanks": (
        "<|object_ref_start|> dog <|object_ref_end|> <|box_start|> ( 1, 2 ), ( 3, 4 ) <|box_end|>\n"
        "<|object_ref_start|>cat<|object_ref_end|><|box_start|>(5, 6), (7, 8)<|box_end|>",
        TWO,
    ),
    "tokens, one name for two": (
        "<|object_ref_start|>dog<|object_ref_end|><|box_start|>(1,2),(3,4)<|box_end|>"
        "<|box_start|>(5,6),(7,8)<|box_end|>",
        (TWO[0], ["dog", "dog"]),
    ),
    "tokens without a name": ("<|box_start|>(1,2),(3,4)<|box_end|>", ([[1, 2, 3, 4]], [""])),
    "a stray token": ('<|box_end|>[{"bbox_2d": [1, 2, 3, 4], "label": "dog"}]', DOG),
    "skipped tokens": ("dog(1,2),(3,4)cat(5,6),(7,8)", TWO),
    "skipped tokens, lines": ("- dog: (1, 2), (3, 4)\n- cat: (5, 6), (7, 8)\n", TWO),
}


def boxes_of(found: ParsedAnswer) -> tuple[list[list[float]], list[str]]:
    assert found.numbers.dtype == np.float64
    assert found.numbers.shape == (len(found.labels), 4)
    return found.numbers.tolist(), found.labels


@pytest.mark.parametrize(("text", "right"), READ.values(), ids=READ)
def test_every_form_is_read(text, right):
    found = parse_qwen_bbox_output(text)
    assert boxes_of(found) == right
    assert (found.problem, found.cut_off, found.dropped) == (None, False, [])


FIRST = '[{"bbox_2d": [1, 2, 3, 4], "label": "dog"}, '
REFERENCE = "<|object_ref_start|>dog<|object_ref_end|>"


@pytest.mark.parametrize(
    "text",
    [
        FIRST,
        FIRST + '{"bbox_2d": [5, 6, 7',
        FIRST + '{"bbox_2d": [5, 6, 7, 8], "label": "c',
        FIRST + '{"bbox_2d": [5, 6, 7, 8], "label": "cat"',
        FIRST + '{"bbox_2d": [[5, 6, 7, 8], [9',
        '{"objects": ' + FIRST + '{"label": "cat", "bbox_2d": [5, 6, 7, 8]',
        "```json\n" + FIRST.replace('"', "'"),
        f"{REFERENCE}<|box_start|>(1,2),(3,4)<|box_end|><|object_ref_start|>ca",
        f"{REFERENCE}<|box_start|>(1,2),(3,4)<|box_end|>{REFERENCE}",
        f"{REFERENCE}<|box_start|>(1,2),(3,4)<|box_end|>{REFERENCE}<|box_start|>(5,6),(7,8",
        f"{REFERENCE}<|box_start|>(1,2),(3,4)",
    ],
)
def test_what_is_whole_before_the_cut_is_kept(text):
    found = parse_qwen_bbox_output(text)
    assert boxes_of(found) == DOG
    assert (found.problem, found.cut_off, found.dropped) == (None, True, [])


@pytest.mark.parametrize(
    "text", ["[", '[{"bbox_2d": [1, 2, 3', "[1, 2, 3, 4", REFERENCE, "<|box_start|>(1,2)"]
)
def test_cut_off_before_the_first_box(text):
    found = parse_qwen_bbox_output(text)
    assert boxes_of(found) == ([], [])
    assert found.cut_off
    assert found.problem == "the answer is cut off before its first box is whole"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "the answer is empty"),
        (" \n<|im_end|>[1, 2, 3, 4]", "the answer is empty"),
        ("I see  no\ndogs.", "there is no box in 'I see no dogs.'"),
        ("x" * 100, f"there is no box in '{'x' * 60}'…"),
        ('[{"label": "dog"}]', 'there is no box in \'[{"label": "dog"}]\''),
        ("[1, 2, 3]", "there is no box in '[1, 2, 3]'"),
        (
            "[5, 6, 1, 2]",
            "box 1 is inverted: [5, 6, 1, 2] should be x1, y1, x2, y2 with x1 <= x2 and y1 <= y2",
        ),
        ('{"bbox": [1, NaN, 3, 4]}', "box 1 has numbers that are not finite: [1, nan, 3, 4]"),
        ('{"bbox": [1, 2, 3, 1e999]}', "box 1 has numbers that are not finite: [1, 2, 3, inf]"),
        ('{"bbox": [1, 2, 3]}', "box 1 has 3 numbers instead of 4"),
        ('{"bbox": []}', "box 1 has 0 numbers instead of 4"),
        ('{"bbox": "1, 2"}', "box 1 has 2 numbers instead of 4"),
        ('{"bbox": null, "label": "dog"}', "box 1 has words where its 4 numbers should be"),
        ('{"bbox": [1, [2, 3], 4]}', "box 1 is no list of 4 numbers"),
        ("<|box_start|>(1,nan),(3,4)<|box_end|>", "box 1 has numbers that are not finite: [1, nan, 3, 4]"),
        ("<|box_start|>(x1,y1)<|box_end|>", "box 1 has 2 numbers instead of 4"),
        (
            '[{"bbox": [1]}, {"bbox": [2]}, {"bbox": [3]}, {"bbox": [4]}, {"bbox": [5]}]',
            "box 1 has 1 numbers instead of 4; box 2 has 1 numbers instead of 4; "
            "box 3 has 1 numbers instead of 4; and 2 more",
        ),
        ("[" * 17 + "]" * 17, "brackets stand more than 16 deep within one another"),
    ],
)
def test_it_says_when_it_cannot(text, problem):
    found = parse_qwen_bbox_output(text)
    assert found.problem == problem
    assert boxes_of(found) == ([], [])


def test_bad_boxes_are_dropped_and_said_and_the_others_kept():
    found = parse_qwen_bbox_output(
        '[{"bbox_2d": [9, 2, 3, 4], "label": "cow"}, {"bbox_2d": [1, 2, 3, 4], "label": "dog"}, '
        '{"bbox_2d": [1, 2, -Infinity, 4], "label": "pig"}]'
    )
    assert boxes_of(found) == DOG
    assert found.problem is None
    assert [one[:25] for one in found.dropped] == ["box 1 is inverted: [9, 2,", "box 3 has numbers that ar"]


@pytest.mark.parametrize(
    "thought", ['<think>Perhaps [{"bbox_2d": [1, 1, 5, 5], "label": "dog"}]?', "[1, 1, 5, 5]."]
)
def test_what_is_thought_is_no_answer(thought):
    text = thought + '</think>\n[{"bbox_2d": [6, 6, 9, 9], "label": "dog"}]'
    found = parse_qwen_bbox_output(text)
    assert boxes_of(found) == ([[6, 6, 9, 9]], ["dog"])
    assert [text[slice(*span)] for span in found.spans] == ["[6, 6, 9, 9]"]


def test_per_cent_are_not_thousandths():
    found = parse_qwen_bbox_output('[{"bbox_2d": [10%, 20%, 50%, 60%], "label": "dog"}]')
    assert len(found.boxes) == 0 and found.problem == "box 1 is written in per cent"


def test_spans_are_the_numbers():
    text = '```\n[{"bbox_2d": [1, 2, 3, 4]}, {"bbox_2d": [[5, 6], [7, 8]]}, {"dog": [1, 1, 2, 2]}]'
    spans = parse_qwen_bbox_output(text).spans
    assert [text[slice(*span)] for span in spans] == ["[1, 2, 3, 4]", "[[5, 6], [7, 8]]", "[1, 1, 2, 2]"]
    text = "dog (1,2),(3,4) cat(5,6),(7,8)"
    assert [text[slice(*span)] for span in parse_qwen_bbox_output(text).spans] == [
        "(1,2),(3,4)",
        "(5,6),(7,8)",
    ]
    text = "<|box_start|>(1,2),(3,4)<|box_end|>"
    assert [text[slice(*span)] for span in parse_qwen_bbox_output(text).spans] == ["(1,2),(3,4)"]


# The reader of values

scalars = (
    st.text(max_size=8) | st.integers(-(10**6), 10**6) | st.floats(allow_nan=False, allow_infinity=False)
)
documents = st.lists(
    st.recursive(
        scalars,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
        max_leaves=12,
    ),
    max_size=4,
)


def plain(value):
    if not isinstance(value, Node):
        return value
    values = [plain(one) for one in value.values]
    return list(zip(value.keys, values, strict=True)) if value.is_map else values


def ordered(value):
    """A parsed document in the form of `plain`: maps as lists of pairs, all numbers as floats."""
    if isinstance(value, dict):
        return [(key, ordered(one)) for key, one in value.items()]
    return (
        [ordered(one) for one in value]
        if isinstance(value, list)
        else value
        if isinstance(value, str)
        else float(value)
    )


@settings(deadline=None)
@given(documents, st.sampled_from([None, 2]), st.booleans())
def test_valid_json_is_read_as_the_json_parser_does(document, indent, ascii_only):
    text = json.dumps(document, indent=indent, ensure_ascii=ascii_only)
    values = read_values(f"so it is: {text} and that is all")
    assert [plain(root) for root in values.roots] == [ordered(json.loads(text))]
    assert not values.cut_off
    assert values.problem is None


@settings(deadline=None)
@given(documents)
def test_python_literals_are_read_as_python_does(document):
    text = repr(document)
    assert [plain(root) for root in read_values(text).roots] == [ordered(ast.literal_eval(text))]


# Any text is an answer

PIECES = [
    *"[]{}(),:\"'\\ \n.-+e0159_",
    *("nan", "NaN", "inf", "1e999", "null", "none", "```json", "<|box_start|>", "<|box_end|>", "<|im_end|>"),
    *("<|object_ref_start|>", "<|object_ref_end|>", '"bbox_2d"', "'bbox': ", '"label": ', "\\u12", "\\ud83d"),
    *(
        "[1, 2, 3, 4]",
        "(1,2),(3,4)",
        '{"bbox_2d": [1, 2, 3, 4], "label": "dog"}',
        "é",
        "日",
        "٣",
        "\x00",
        "\ud800",
    ),
]
strange = st.lists(st.sampled_from(PIECES), max_size=40).map("".join) | st.text(max_size=60)


def check_answer(found: ParsedAnswer) -> None:
    numbers, labels = boxes_of(found)
    assert np.isfinite(found.numbers).all()
    assert (found.numbers[:, 2:] >= found.numbers[:, :2]).all()
    assert len(found.spans) == len(numbers)
    assert all(isinstance(label, str) for label in labels)
    assert found.problem is None or not labels
    assert found.problem is None or "\n" not in found.problem


@settings(deadline=None, max_examples=600)
@given(strange)
@example("٣[٣,٣,٣,٣]")
@example("[1, 2, 3, 4]" + "]" * 50)
def test_no_text_raises(text):
    check_answer(parse_qwen_bbox_output(text))


@settings(deadline=None, max_examples=200)
@given(st.integers(0, 140))
def test_every_cut_of_a_long_answer(length):
    whole = (
        'Here: ```json\n[{"bbox_2d": [1, 2, 3, 4], "label": "dog"}, '
        '{"bbox_2d": [5, 6, 7, 8], "label": "a \\"cat\\""}, '
        "{'bbox_2d': [1, 1, 2, 2], 'label': 'it\\'s'}]"
    )
    found = parse_qwen_bbox_output(whole[:length])
    check_answer(found)
    complete = whole[:length].count("}")
    assert len(found.labels) == complete
    assert found.cut_off == ("[" in whole[:length] and length < len(whole))


HOSTILE = [
    *(piece * (100_000 // len(piece)) for piece in PIECES),
    *("[" + piece * (100_000 // len(piece)) for piece in PIECES),
    *("{" + piece * (100_000 // len(piece)) for piece in PIECES[:20]),
    *(
        '["' * 50_000,
        "['\"" * 33_000,
        '["a" ' * 20_000,
        '[" ' * 33_000,
        "[" + '" ' * 50_000,
        '["' + '\\"' * 50_000,
    ),
    *("[" * 50_000 + "]" * 50_000, '{"a":' * 20_000, "[" * MAX_DEPTH + "]," * 50_000, "[[1,2]," * 14_000),
    *(
        "(1,2)" + " " * 100_000,
        "(1,2)," * 16_000,
        "(" + "1" * 100_000,
        "(1," * 33_000,
        "[1" + "0" * 100_000 + "]",
    ),
    "[" * (MAX_DEPTH - 2) + "[1,2,3,4]," * 10_000,
    ("[" * MAX_DEPTH + "]" * MAX_DEPTH) * (50_000 // MAX_DEPTH),
    '{"bboxes":[' + "[1,2,3,4]," * 5_000 + '],"labels":[' + '"a",' * 10_000 + "]}",
    '[]"' + '\n"' * 50_000,
]


def test_hostile_texts_take_linear_time():
    """100 kB each; what is quadratic in that takes minutes."""
    for text in HOSTILE:
        start = time.process_time()
        check_answer(parse_qwen_bbox_output(text))
        assert time.process_time() - start < 4.0, text[:40]
