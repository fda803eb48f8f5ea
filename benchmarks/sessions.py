"""A coding session as Claude Code has it: it grows with every turn, and its first line is another one each time."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

TOOLS: list[dict[str, Any]] = [
    {
        "name": name,
        "description": f"{what} Use it whenever that is what the task needs, and say beforehand why.",
        "input_schema": {
            "type": "object",
            "properties": {field: {"type": "string", "description": f"The {field} in question."} for field in fields},
            "required": list(fields),
        },
    }
    for name, what, fields in (
        ("Bash", "Run a command in a shell.", ("command", "description")),
        ("Read", "Read a file from the disk.", ("file_path",)),
        ("Edit", "Replace a text in a file by another one.", ("file_path", "old_string", "new_string")),
    )
]

_RULE = "Rule {number}: keep the change small, run the tests before you call it done, and never guess what a file says."
_RULE_TOKENS = 28
_NOTE = "Note {number}: {boats} boats, one of them {colour}."
_COLOURS = ("red", "green", "blue", "white", "black")
ANSWER_TOKENS = 8


class Session:
    """One conversation; ``name`` makes it differ from all others from its first words on."""

    def __init__(self, name: str, *, prompt_tokens: int, cch_digits: int = 6) -> None:
        """``prompt_tokens`` is about how long the first prompt is; ``cch_digits`` how long the volatile value."""
        rules = range(1, max(1, prompt_tokens - 400) // _RULE_TOKENS + 1)
        self._name = name
        self._digits = cch_digits
        self._rules = "\n".join(_RULE.format(number=number) for number in rules)
        self._messages: list[dict[str, Any]] = []
        self._turns = 0

    def ask(self) -> dict[str, Any]:
        """Return the body of the next request."""
        self._turns += 1
        note = _NOTE.format(number=self._turns, boats=self._turns * 7, colour=_COLOURS[self._turns % len(_COLOURS)])
        self._messages.append({"role": "user", "content": f"{note} How many?"})
        return {
            "model": "claude-sonnet-5-5",
            "max_tokens": ANSWER_TOKENS,
            "stream": True,
            "system": [
                {"type": "text", "text": self._header()},
                {"type": "text", "text": f"You help with the project {self._name}."},
                {"type": "text", "text": self._rules, "cache_control": {"type": "ephemeral"}},
            ],
            "tools": TOOLS,
            "messages": self._messages,
        }

    def answer(self, text: str) -> None:
        """Take what the model answered."""
        self._messages.append({"role": "assistant", "content": text or "Understood."})

    def _header(self) -> str:
        cch = sha256(f"{self._name} {self._turns}".encode()).hexdigest()[: self._digits]
        return f"x-anthropic-billing-header: cc_version=2.1.101.e51; cc_entrypoint=cli; cch={cch};"
