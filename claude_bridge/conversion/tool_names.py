"""Tool names that an engine accepts, and the way back to the names that the client declared.

Chat Completions allows letters, digits, ``_`` and ``-``, at most 64; names of MCP tools are often longer. The name
that an engine gets is a function of the declared name alone, so that it is the same at every turn.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from hashlib import sha256

from claude_bridge.wire.anthropic import Tool

MAX_NAME_CHARS = 64

_FIT = re.compile(r"[A-Za-z0-9_-]{1,64}")
_UNFIT_CHARS = re.compile(r"[^A-Za-z0-9_-]")
_DIGEST_CHARS = 8


@lru_cache(maxsize=4096)
def engine_name(name: str) -> str:
    """Return the name itself where an engine accepts it, else what it can keep of it and a digest."""
    if _FIT.fullmatch(name):
        return name
    digest = sha256(name.encode()).hexdigest()[:_DIGEST_CHARS]
    kept = _UNFIT_CHARS.sub("_", name)[: MAX_NAME_CHARS - _DIGEST_CHARS - 1]
    return f"{kept}_{digest}"


def declared_names(tools: Iterable[Tool]) -> dict[str, str]:
    """Return the declared name by the name that the engine got, for those that differ."""
    return {told: tool.name for tool in tools if (told := engine_name(tool.name)) != tool.name}
