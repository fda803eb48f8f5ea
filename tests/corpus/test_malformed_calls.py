"""Malformed tool calls of the kinds that public bug reports show: how many are repaired, and that none is made worse.

A line of malformed_calls.jsonl has what an engine sent (``said``) and the input that a careful person reads in it
(``wanted``; null where it can't be known). ``outcome`` stands where the bridge repairs less than that person would.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

from claude_bridge.conversion.tool_calls.arguments import repair_arguments
from claude_bridge.conversion.tool_json.text import is_json, open_input_json
from tests.schemas import faults

HERE = Path(__file__).parent
TOOLS: dict[str, Any] = json.loads((HERE / "tools.json").read_text("utf-8"))
CALLS: list[dict[str, Any]] = [
    json.loads(line) for line in (HERE / "malformed_calls.jsonl").read_text("utf-8").split("\n") if line
]
PAGE = HERE.parent.parent / "docs" / "reference" / "conversion.md"

LEFT_ALONE = "left alone"


@cache
def _repaired(printed: str, tool: str) -> str:
    return repair_arguments(printed, json.dumps(TOOLS[tool]).encode(), tool).text


def _outcome(call: dict[str, Any]) -> str:
    printed, repaired = call["said"].strip(), _repaired(call["said"], call["tool"])
    if repaired == printed or repaired == open_input_json(printed):
        return LEFT_ALONE
    return "repaired" if _is_same(json.loads(repaired), call["wanted"]) else "made worse"


def _is_same(one: Any, other: Any) -> bool:
    """Return whether two values are the same as JSON, where true is not 1."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def test_there_are_enough_calls_and_no_two_are_the_same() -> None:
    assert len(CALLS) >= 200
    assert len({(call["tool"], call["said"]) for call in CALLS}) == len(CALLS)
    assert {call["tool"] for call in CALLS} == TOOLS.keys()


def test_a_call_becomes_what_a_careful_person_reads_in_it_or_stays() -> None:
    for call in CALLS:
        is_out_of_reach = call["wanted"] is None or call.get("outcome") == LEFT_ALONE
        expected = LEFT_ALONE if is_out_of_reach else "repaired"
        assert _outcome(call) == expected, (call, _repaired(call["said"], call["tool"]))


def test_an_input_that_is_right_stays_to_the_byte() -> None:
    for call in CALLS:
        if call["wanted"] is not None:
            right = json.dumps(call["wanted"], ensure_ascii=False, indent=1)
            assert faults(call["wanted"], TOOLS[call["tool"]]) == 0, call
            assert _repaired(right, call["tool"]) == right, call


def test_the_schema_never_finds_more_fault_than_before() -> None:
    for call in CALLS:
        schema, repaired = TOOLS[call["tool"]], _repaired(call["said"], call["tool"])
        if is_json(call["said"]) and isinstance(json.loads(call["said"]), dict):
            assert faults(json.loads(repaired), schema) <= faults(json.loads(call["said"]), schema), call


def test_no_required_value_is_invented() -> None:
    for call in CALLS:
        repaired = _repaired(call["said"], call["tool"])
        value = json.loads(repaired) if is_json(repaired) else None
        required = TOOLS[call["tool"]]["required"]
        values = [value[name] for name in required if name in value] if isinstance(value, dict) else []
        words = re.findall(r"\w+", " ".join(map(str, _scalars(values))).casefold())
        assert [word for word in words if word not in call["said"].casefold()] == [], call


def _scalars(value: Any) -> list[Any]:
    if isinstance(value, dict | list):
        inner = value.values() if isinstance(value, dict) else value
        return [scalar for one in inner for scalar in _scalars(one)]
    return [] if value is None else [value]


def test_the_documentation_has_the_figures() -> None:
    outcomes = Counter(map(_outcome, CALLS))
    unknowable = sum(call["wanted"] is None for call in CALLS)
    kinds = len({call["kind"] for call in CALLS})

    assert outcomes["made worse"] == 0
    assert (
        f"Of {len(CALLS)} malformed calls to {len(TOOLS)} tools, in {kinds} kinds (`tests/corpus`), "
        f"{outcomes['repaired']} ({outcomes['repaired'] / len(CALLS):.0%}) are repaired and {outcomes[LEFT_ALONE]} "
        f"({outcomes[LEFT_ALONE] / len(CALLS):.0%}) are handed on as they are: what {unknowable} of them mean can't "
        f"be known, and {outcomes[LEFT_ALONE] - unknowable} a careful person could have repaired. None is made worse."
    ) in PAGE.read_text("utf-8")
