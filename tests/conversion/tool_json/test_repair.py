"""Malformed JSON: mended where it is sure what it means, and nothing is invented or lost."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_bridge.conversion.tool_json.repair import MAX_CHARS, MAX_STEPS, NotRepaired, read_object, repair_object


@pytest.mark.parametrize(
    ("output", "meant"),
    [
        ("{'a': True, 'b': None,}", {"a": True, "b": None}),
        ('{a: 1, b: "x"}', {"a": 1, "b": "x"}),
        ('{"a": "x" "b": 1}', {"a": "x", "b": 1}),
        ('{"a": [1, 2', {"a": [1, 2]}),
        ('{"a":1}}', {"a": 1}),
        ('{{"a": 1}}', {"a": 1}),
        ('"a": "x"}', {"a": "x"}),
        ('{"a": "one\ntwo\tthree"}', {"a": "one\ntwo\tthree"}),
        ('{"a": "echo "hi" there"}', {"a": 'echo "hi" there'}),
        ('{"a": "<b class="x">", "b": 1}', {"a": '<b class="x">', "b": 1}),
        ('{"a": """one\ntwo "three" """}', {"a": 'one\ntwo "three" '}),
        ('{"a": "\\d+\\s"}', {"a": "\\d+\\s"}),
        ("{'a': 'it\\'s'}", {"a": "it's"}),
        ("{'a': \"it's\"}", {"a": "it's"}),
        ("{“a”: “x”}", {"a": "x"}),
        ('{"a": "\\u00e9 \\ud83d\\ude00",}', {"a": "é 😀"}),
        ('```json\n{"a": 1}\n```', {"a": 1}),
        ('{"a": 1}</tool_call>', {"a": 1}),
        ('{"a": 1}</parameter></function>\n<|im_end|>', {"a": 1}),
        ('{"a": 1}<｜tool▁call▁end｜>', {"a": 1}),
        ('{}{"a": 1}', {"a": 1}),
        ('{"a": 1}{"a": 1}', {"a": 1}),
        ('{"a": "",}', {"a": ""}),
        ('{"a": "x\\n"', {"a": "x\n"}),
        ('{a: "x\\n", b: "y\\n"}', {"a": "x\n", "b": "y\n"}),
        ('{a: "one:\\n\\ttwo"}', {"a": "one:\n\ttwo"}),
        ('{"a": "if x {\\n}"', {"a": "if x {\n}"}),
        ('{"a": """x"""', {"a": "x"}),
        ("{'a': 'x\\b\\f\\r'}", {"a": "x\b\f\r"}),
        ('{a: "one\n\\ttwo"}', {"a": "one\n\ttwo"}),
        ('{"a": "print("x\\n")\nexit()", "b": 1}', {"a": 'print("x\\n")\nexit()', "b": 1}),
        ('{a: "\\d one\\ntwo"}', {"a": "\\d one\ntwo"}),
        ('{"a": """""", b: 1}', {"a": "", "b": 1}),
        ('{"a": "echo "hi"\\n", "b": 1}', {"a": 'echo "hi"\n', "b": 1}),
        ('{"a": "C:\\Users\\me \\"x\\"",}', {"a": 'C:\\Users\\me "x"'}),
        ("{'a': [" + "{'b': 1}, " * 60 + "]}", {"a": [{"b": 1}] * 60}),
    ],
)
def test_it_is_repaired_where_it_is_sure_what_it_means(output: str, meant: object) -> None:
    repaired = repair_object(output)
    assert repaired is not None
    assert json.loads(repaired) == meant


@pytest.mark.parametrize(
    "output",
    [
        '{"command":',
        '{"command": }',
        '{"command": "ls", "timeout": }',
        '{"command": "ls" | grep x}',
        '{"command": "ls"} | grep x',
        '{"command": "ls"} and then look at it',
        '{"a": 1}{"a": 2}',
        "{'a': 'it's'}",
        '{"a": <value>}',
        '{"a": NaN}',
        '{"a": ...}',
        '{"a": 1,',
        '{"a": [1, ',
        '{"a": 1 // one\n}',
        "{'a': 1, 'a': 2}",
        "{'a': 1e999}",
        '{"a": "say "hi""',
        "{'a': [1 2]}",
        '{"a": ["x" "y"],}',
        '{"a": "5" wide", "b": 1}',
        '{"a": "f("x"", "b": 1}',
        '"a": "x"',
        "[1, 2",
        "just text",
        "rm -rf {",
        "{}",
        "{",
        "",
    ],
)
def test_it_is_left_where_something_would_be_invented_or_lost(output: str) -> None:
    assert repair_object(output) is None


_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc_", min_size=1, max_size=3), inner),
    max_leaves=6,
)


@given(st.dictionaries(st.text("abc_", min_size=1), _values, min_size=1), st.integers(0, 200), st.text(max_size=3))
def test_what_comes_out_is_json_of_an_object(value: dict[str, object], at: int, noise: str) -> None:
    output = json.dumps(value, ensure_ascii=False)
    repaired = repair_object(output[:at] + noise + output[at + 1 :])
    assert repaired is None or isinstance(json.loads(repaired), dict)


@given(st.text() | st.text("{}[]\",:\\ a1'", max_size=40))
def test_anything_brings_nothing_down(output: str) -> None:
    repaired = repair_object(output)
    assert repaired is None or isinstance(json.loads(repaired), dict)


@pytest.mark.parametrize(
    "output",
    [
        "{" * 100_000,
        '{"a":' * 50_000,
        '{"a":' + "[" * 5_000,
        '{"a":' + "9" * 6_000 + "}x",
        "{}" * 90_000,
        '{"a":1}' + "```" * 50_000,
        '{"a":1' + " " * 150_000 + "x",
        '{"a":' + "9" * 1_000 + ",}",
    ],
    ids=["braces", "objects", "lists", "digits", "empty objects", "fences", "spaces", "a long number"],
)
def test_absurd_arguments_take_no_time(output: str) -> None:
    repair_object(output)


def test_what_is_longer_than_any_answer_is_not_read_at_all() -> None:
    text = "{'a': 'x" + " " * MAX_CHARS
    assert read_object(text[: MAX_CHARS - 2] + "'}") != NotRepaired.TOO_LARGE
    assert read_object(text + "'}") is NotRepaired.TOO_LARGE


def test_more_quotes_than_any_answer_has_are_not_all_looked_at() -> None:
    assert read_object('{"a": "' + '" ' * (MAX_STEPS + 1) + '",}') is NotRepaired.TOO_LARGE
