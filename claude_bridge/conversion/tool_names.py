"""Tool names that an engine accepts, and the way back to the names that the client declared.

Chat Completions allows letters, digits, ``_`` and ``-``, at most 64; names of MCP tools are often longer. The name
that an engine gets is a function of the declared name alone, so that it is the same at every turn.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from hashlib import sha256

from claude_bridge.wire.anthropic import Tool

MAX_NAME_CHARS = 64

_FIT = re.compile(r"[A-Za-z0-9_-]{1,64}")
_UNFIT_CHARS = re.compile(r"[^A-Za-z0-9_-]")
_DIGEST_CHARS = 8

_PREFIX = re.compile(r"(?:functions?|tools?|default_api)[.:]")
"""OpenAI's and Kimi's namespace of tools, and Gemini's."""
_TAIL = re.compile(r"(?:<\|.*|:\d+|\(\))\Z", re.DOTALL)
"""gpt-oss's next special token, Kimi's number of the call."""
_QUOTES = " \t\r\n\"'`"
_JOINTS = re.compile(r"[\s_\-\"'`]+")


@lru_cache(maxsize=4096)
def engine_name(name: str) -> str:
    """Return the name itself where an engine accepts it, else what it can keep of it and a digest."""
    if _FIT.fullmatch(name):
        return name
    digest = sha256(name.encode()).hexdigest()[:_DIGEST_CHARS]
    kept = _UNFIT_CHARS.sub("_", name)[: MAX_NAME_CHARS - _DIGEST_CHARS - 1]
    return f"{kept}_{digest}"


def called_tool(said: str, tools: Sequence[Tool]) -> Tool | None:
    """Return the declared tool that an engine's call means, or None where that is not sure.

    Models add what their chat format puts before and behind a name (``functions.Read``, ``Read:0``), and get its case
    wrong.
    """
    for tool in tools:
        if said in (tool.name, engine_name(tool.name)):
            return tool
    bare = _TAIL.sub("", said.strip(_QUOTES))
    bare = _PREFIX.sub("", bare).strip(_QUOTES)
    for spelling in (str, folded_name):
        meant = [tool for tool in tools if spelling(bare) in map(spelling, (tool.name, engine_name(tool.name)))]
        if meant:
            return meant[0] if len({tool.name for tool in meant}) == 1 else None
    return None


def folded_name(name: str) -> str:
    """Return a name without what models get wrong in it: case, spaces, quotes, and how its words are joined."""
    return _JOINTS.sub("", name).casefold()
