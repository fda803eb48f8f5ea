"""Tool names that engines accept, both ways."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_bridge.conversion.tool_names import declared_names, engine_name
from claude_bridge.wire.anthropic import Tool


@pytest.mark.parametrize("name", ["Read", "mcp__a-b__c_1", "x" * 64])
def test_a_name_that_engines_accept_stays(name: str) -> None:
    assert engine_name(name) == name
    assert declared_names([Tool(name)]) == {}


@pytest.mark.parametrize("name", ["x" * 65, "a.b", "a b", "ä", ""])
def test_any_other_name_is_mapped_both_ways(name: str) -> None:
    assert declared_names([Tool("Read"), Tool(name)]) == {engine_name(name): name}


def test_names_that_begin_alike_stay_apart() -> None:
    assert len({engine_name("x" * 80 + end) for end in "abc"} | {engine_name("a.b"), engine_name("a b"), "a_b"}) == 6


@given(st.text())
def test_every_name_becomes_one_that_engines_accept(name: str) -> None:
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,64}", engine_name(name))
