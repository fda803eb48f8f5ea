"""A request as a command for curl, without secrets: credentials are variables of the shell."""

from __future__ import annotations

import shlex
from collections.abc import Mapping

from claude_bridge.trace.secrets import REDACTED

KEY_VARIABLE = "UPSTREAM_API_KEY"
MAX_ARGUMENT_BYTES = 100_000
"""A longer body goes through a pipe: Linux takes arguments of 128 KiB."""


def curl_command(method: str, url: str, headers: Mapping[str, str]) -> str:
    """Return the command without the body, which follows as the value of one more option."""
    fields = {"content-type": "application/json", **headers}
    words = ["curl", "--no-buffer", "-X", shlex.quote(method), shlex.quote(url)]
    for name, value in fields.items():
        words += ["-H", _header(name, value)]
    return " ".join(words)


def curl_line(method: str, url: str, headers: Mapping[str, str], body: bytes) -> str:
    """Return the whole command, in one line."""
    command, text = curl_command(method, url, headers), shlex.quote(body.decode("utf-8", "replace"))
    if len(text.encode()) > MAX_ARGUMENT_BYTES:
        return f"printf %s {text} | {command} --data-binary @-"
    return f"{command} --data-raw {text}"


def _header(name: str, value: str) -> str:
    if REDACTED not in value:
        return shlex.quote(f"{name}: {value}")
    scheme = "Bearer " if name == "authorization" else ""
    return f'"{name}: {scheme}${KEY_VARIABLE}"'
