"""What Ollama's errors mean, and what to do about each: advice (``errors.toml``) beside what is known of any engine."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Any

from claude_bridge.conversion.upstream_errors import translate
from claude_bridge.conversion.upstream_errors.rules import Refusal, read_refusals, refusals
from claude_bridge.conversion.upstream_errors.translate import refusal_words
from claude_bridge.errors import BridgeError, UpstreamRefusedError


@cache
def _rows() -> tuple[Refusal, ...]:
    return (*read_refusals("adapters/ollama_chat/errors.toml"), *refusals())


_NO_SUCH_PAGE = re.compile(r"^\s*404 page not found\s*$")


def explain_refusal(status: int, headers: Mapping[str, str], body: bytes, upstream: str) -> BridgeError:
    """Return the error for an answer that is no 2xx. ``upstream`` names the engine and its URL."""
    if status == 404 and _NO_SUCH_PAGE.match(refusal_words(body)):
        return UpstreamRefusedError(
            f"{upstream} has no /api/chat. Is it Ollama, and does --base-url end before /v1?",
            status=404,
            should_retry=False,
        )
    return translate.explain_refusal(status, headers, body, upstream, _rows())


def explain_error(error: Any, upstream: str) -> BridgeError:  # noqa: ANN401 - any JSON may stand there
    """Return the error for a line ``{"error": …}`` in the stream, with the HTTP status already spent."""
    return translate.explain_error_object(error, upstream, _rows())
