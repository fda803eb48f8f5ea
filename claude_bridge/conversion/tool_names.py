"""Tool names that an engine accepts, and the way back to the names that the client declared.

Chat Completions allows letters, digits, ``_`` and ``-``, at most 64; names of MCP tools are often longer. The name
that an engine gets is a function of the declared name alone, so that it is the same at every turn.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from functools import cached_property, lru_cache
from hashlib import sha256

from claude_bridge.wire.anthropic import Tool

MAX_NAME_CHARS = 64

_FIT = re.compile(r"[A-Za-z0-9_-]{1,64}")
_UNFIT_CHARS = re.compile(r"[^A-Za-z0-9_-]")
_DIGEST_CHARS = 8
_MAX_CACHED_CHARS = 256

_PREFIX = re.compile(
    r"""(?:
    <?(?:function|invoke\ name|name|to)= | <[^<>]{1,60}> | (?:functions?|tools?|default_api)[.:] | call: | [\s"'`]
    )+""",
    re.VERBOSE,
)
"""Namespaces of tools (OpenAI's, Kimi's, Gemini's), and what chat formats put before a name."""
_TAIL = re.compile(r"(?:[<>(\[{].*|:\d+)\Z", re.DOTALL)
"""What chat formats put behind a name, such as gpt-oss's next token or a tag of GLM's; Kimi's number of the call."""
_MAX_FOUND_CHARS = 1_000
"""Of a name that is searched for what was left on it."""
_QUOTES = " \t\r\n\"'`"
_JOINTS = re.compile(r"[\s_\-\"'`]+")


def engine_name(name: str) -> str:
    """Return the name itself where an engine accepts it, else what it can keep of it and a digest."""
    return _engine_name(name) if len(name) <= _MAX_CACHED_CHARS else _shortened(name)


@lru_cache(maxsize=4096)
def _engine_name(name: str) -> str:
    return name if _FIT.fullmatch(name) else _shortened(name)


def _shortened(name: str) -> str:
    digest = sha256(name.encode()).hexdigest()[:_DIGEST_CHARS]
    kept = _UNFIT_CHARS.sub("_", name[: MAX_NAME_CHARS - _DIGEST_CHARS - 1])
    return f"{kept}_{digest}"


class DeclaredTools:
    """The tools of one request, by all the names that an engine's call may give them."""

    def __init__(self, tools: Sequence[Tool]) -> None:
        self._tools = tools

    @cached_property
    def _by_name(self) -> dict[str, Tool]:
        by_name: dict[str, Tool] = {}
        for tool in self._tools:
            by_name.setdefault(tool.name, tool)
            by_name.setdefault(engine_name(tool.name), tool)
        return by_name

    @cached_property
    def _by_folded_name(self) -> dict[str, list[Tool]]:
        by_folded_name: dict[str, list[Tool]] = {}
        for name, tool in self._by_name.items():
            by_folded_name.setdefault(folded_name(name), []).append(tool)
        return by_folded_name

    @property
    def names(self) -> Collection[str]:
        """The names that were declared, and those that engines get."""
        return self._by_name.keys()

    def find(self, name: str) -> Tool | None:
        """Return the tool that a call means, or None where that is not sure.

        Models and engines leave on a name what the chat format puts before and behind it (``functions.Read``,
        ``Read:0``, ``<tool_call>Read``, ``Read</arg_value>``), and get its case wrong.
        """
        if name in self._by_name:
            return self._by_name[name]
        bare = _bare(name[:_MAX_FOUND_CHARS])
        if bare in self._by_name:
            return self._by_name[bare]
        meant = self._by_folded_name.get(folded_name(bare), [])
        return meant[0] if len({tool.name for tool in meant}) == 1 else None


def _bare(name: str) -> str:
    """Return the name without what a chat format left on it."""
    prefix = _PREFIX.match(name)
    bare = name[prefix.end() :] if prefix else name
    bare = bare.rpartition(" to=")[2].removeprefix("functions.")  # behind harmony's channel
    return _TAIL.sub("", bare).strip(_QUOTES)


def folded_name(name: str) -> str:
    """Return a name without what models get wrong in it: case, spaces, quotes, and how its words are joined."""
    return _JOINTS.sub("", name).casefold()
