"""Tool names that engines accept, both ways."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_bridge.conversion.tool_names import called_tool, engine_name
from claude_bridge.wire.anthropic import Tool


@pytest.mark.parametrize("name", ["Read", "mcp__a-b__c_1", "x" * 64])
def test_a_name_that_engines_accept_stays(name: str) -> None:
    assert engine_name(name) == name


@pytest.mark.parametrize("name", ["x" * 65, "a.b", "a b", "ä", ""])
def test_any_other_name_is_mapped_both_ways(name: str) -> None:
    assert engine_name(name) != name
    assert called_tool(engine_name(name), [Tool("Read"), Tool(name)]) == Tool(name)


DECLARED = [Tool("Read"), Tool("WebSearch"), Tool("mcp__git__log"), Tool("mcp__" + "x" * 80), Tool("run"), Tool("RUN")]


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("Read", "Read"),
        ("read", "Read"),
        ("READ", "Read"),
        (" Read\n", "Read"),
        ("`Read`", "Read"),
        ("Read()", "Read"),
        ("functions.Read", "Read"),
        ("function.read", "Read"),
        ("tools.Read", "Read"),
        ("default_api.Read", "Read"),
        ("default_api:Read", "Read"),
        ("functions.Read:0", "Read"),
        ("Read:12", "Read"),
        ("Read<|channel|>commentary", "Read"),
        ("web_search", "WebSearch"),
        ("web-search", "WebSearch"),
        ("MCP__git__log", "mcp__git__log"),
        ("mcp_git_log", "mcp__git__log"),
        (engine_name("mcp__" + "x" * 80), "mcp__" + "x" * 80),
        (engine_name("mcp__" + "x" * 80).upper(), "mcp__" + "x" * 80),
        ("run", "run"),
        ("RUN", "RUN"),
        ("Run", None),
        ("Reader", None),
        ("log", None),
        ("Bash", None),
        ("", None),
    ],
)
def test_a_name_as_models_write_it_means_a_declared_tool_or_none(said: str, meant: str | None) -> None:
    found = called_tool(said, DECLARED)
    assert (found.name if found else None) == meant


def test_a_declared_name_that_looks_like_another_one_is_itself() -> None:
    tools = [Tool("Read"), Tool("functions.Read")]
    assert [called_tool(tool.name, tools) for tool in tools] == tools


def test_names_that_begin_alike_stay_apart() -> None:
    assert len({engine_name("x" * 80 + end) for end in "abc"} | {engine_name("a.b"), engine_name("a b"), "a_b"}) == 6


@given(st.text())
def test_every_name_becomes_one_that_engines_accept(name: str) -> None:
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,64}", engine_name(name))
