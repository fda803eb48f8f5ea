"""Tool names that engines accept, both ways."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_bridge.conversion.tool_names import DeclaredTools, engine_name
from claude_bridge.wire.anthropic import Tool


@pytest.mark.parametrize("name", ["Read", "mcp__a-b__c_1", "x" * 64])
def test_a_name_that_engines_accept_stays(name: str) -> None:
    assert engine_name(name) == name


@pytest.mark.parametrize("name", ["x" * 65, "a.b", "a b", "ä", ""])
def test_any_other_name_is_mapped_both_ways(name: str) -> None:
    assert engine_name(name) != name
    assert DeclaredTools([Tool("Read"), Tool(name)]).find(engine_name(name)) == Tool(name)


DECLARED = [Tool("Read"), Tool("WebSearch"), Tool("mcp__git__log"), Tool("mcp__" + "x" * 80), Tool("run"), Tool("RUN")]


@pytest.mark.parametrize(
    ("output", "meant"),
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
def test_a_name_as_models_write_it_means_a_declared_tool_or_none(output: str, meant: str | None) -> None:
    found = DeclaredTools(DECLARED).find(output)
    assert (found.name if found else None) == meant


@pytest.mark.parametrize(
    "left",
    [
        "<tool_call>{}",
        "<tool_call>\n{}\n",
        "{}</arg_value>",
        "{}<arg_key>file_path</arg_key><arg_value>a</arg_value>",
        "{}</tool_call>",
        "call:{}",
        "call:{}{{",
        "to=functions.{}",
        "<|channel|>commentary to=functions.{} <|constrain|>json",
        "commentary to=functions.{}",
        "{}<|channel|>commentary",
        "<|tool_call_begin|>functions.{}:0",
        "<function={}>",
        "<function={}",
        'name="{}"',
        '<invoke name="{}">',
        "<｜tool▁sep｜>{}",
        "{}<｜tool▁sep｜>",
        "{}()",
        "{}(",
    ],
)
def test_what_a_chat_format_left_on_a_name_is_cut_off(left: str) -> None:
    for name in ("Read", "mcp__git__log"):
        found = DeclaredTools(DECLARED).find(left.format(name))
        assert found is not None
        assert found.name == name
    assert DeclaredTools(DECLARED).find(left.format("Unknown")) is None


def test_a_declared_name_that_looks_like_another_one_is_itself() -> None:
    tools = [Tool("Read"), Tool("functions.Read")]
    assert [DeclaredTools(tools).find(tool.name) for tool in tools] == tools


def test_names_that_begin_alike_stay_apart() -> None:
    assert len({engine_name("x" * 80 + end) for end in "abc"} | {engine_name("a.b"), engine_name("a b"), "a_b"}) == 6


@given(st.text())
def test_every_name_becomes_one_that_engines_accept(name: str) -> None:
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,64}", engine_name(name))
