"""Ids of tool calls that an engine accepts and that no two calls share, in place of those that came.

A history may be of other models' making: with ids in any characters and of any length, and with the same ``call_0`` at
every turn. The id that an engine gets is a function of the calls up to this one, so that it is the same at every turn.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Set
from hashlib import sha256

from claude_bridge.conversion.profile import Profile
from claude_bridge.conversion.tool_names import engine_name
from claude_bridge.wire.anthropic import ToolUseBlock

_ACCEPTED_BY_ALL = re.compile(r"[A-Za-z0-9_-]{1,40}")
"""What every engine accepts: OpenAI takes 40 characters, Anthropic's models behind others no other characters."""

_LETTERS = "0123456789abcdefghijklmnopqrstuvwxyz"


class ToolIds:
    """Gives the calls of one conversation their ids, in their order."""

    def __init__(
        self, profile: Profile, *, taken: Set[str] = frozenset(), times: Mapping[str, int] | None = None
    ) -> None:
        """``taken`` and ``times`` are of the calls that came before."""
        self._profile = profile
        self._length = profile.tool_id_length
        self._is_numbered = profile.numbers_tool_ids
        self._taken = set(taken)
        self._times = dict(times or {})
        """How often each id of the client came, so that no search begins at one again."""

    def copy(self) -> ToolIds:
        """Return what gives the next calls the same ids."""
        return ToolIds(self._profile, taken=self._taken, times=self._times)

    def of(self, call: ToolUseBlock) -> str:
        """Return the id for the next call."""
        if self._is_numbered:
            engine_id = f"functions.{engine_name(call.name)}:{len(self._taken)}"
        else:
            times = self._times.get(call.id, 0) + 1
            engine_id = self._accepted(call.id if times == 1 else f"{call.id}_{times}")
            while engine_id in self._taken:
                times += 1
                engine_id = self._accepted(f"{call.id}_{times}")
            self._times[call.id] = times
        self._taken.add(engine_id)
        return engine_id

    def _accepted(self, tool_id: str) -> str:
        if self._length is not None:
            return hashed_tool_id(tool_id, self._length)
        return tool_id if _ACCEPTED_BY_ALL.fullmatch(tool_id) else f"call_{hashed_tool_id(tool_id, 24)}"


def hashed_tool_id(tool_id: str, length: int) -> str:
    """Return the id with exactly ``length`` letters and digits, always the same for the same id."""
    if len(tool_id) == length and tool_id.isascii() and tool_id.isalnum():
        return tool_id
    number = int.from_bytes(sha256(tool_id.encode(errors="surrogatepass")).digest(), "big")
    digits = []
    for _ in range(length):
        number, digit = divmod(number, len(_LETTERS))
        digits.append(_LETTERS[digit])
    return "".join(digits)
