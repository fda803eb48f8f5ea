"""What Ollama's errors mean, and what to do about each: advice beside what ``refusals`` knows of any engine."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from claude_bridge.conversion.upstream_errors import translate
from claude_bridge.conversion.upstream_errors.rules import (
    IN_ANSWER,
    LOADING_STATUS,
    OVERLOADED_STATUS,
    REFUSALS,
    Refusal,
)
from claude_bridge.conversion.upstream_errors.translate import refusal_words
from claude_bridge.errors import BridgeError, UpstreamRefusedError

_MODEL = r"""["']?(?:registry\.ollama\.ai/library/)?(?P<model>[^\s"']{1,200})["']?"""
"""A model; before its own ones Ollama puts what nobody types."""

_SIGN_IN = "Run: ollama signin"  # the link that Ollama sends names this machine and its key

_REFUSALS = (
    Refusal(
        words=re.compile(r"server busy|maximum pending requests exceeded", re.IGNORECASE),
        status=OVERLOADED_STATUS,
        error_type="overloaded_error",
        should_retry=None,
        advice="Its queue is full: let it answer more at once (OLLAMA_NUM_PARALLEL), or run fewer sessions.",
    ),
    Refusal(
        words=re.compile(
            r"loading model|timed out waiting for .*(?:runner|llama-server) to start|model is loading", re.IGNORECASE
        ),
        status=LOADING_STATUS,
        error_type="overloaded_error",
        should_retry=None,
    ),
    Refusal(
        words=re.compile(""),
        at=frozenset({401}),
        status=401,
        error_type="authentication_error",
        advice=_SIGN_IN,
    ),
    Refusal(
        words=re.compile(r"^\W*unauthorized\b", re.IGNORECASE),
        at=frozenset({IN_ANSWER}),
        status=401,
        error_type="authentication_error",
        advice=_SIGN_IN,
    ),
    Refusal(
        words=re.compile(rf"model {_MODEL} not found"),
        status=404,
        error_type="not_found_error",
        advice="Try: ollama pull {model}",
    ),
    Refusal(
        words=re.compile(rf"{_MODEL} does not support tools"),
        advice="Claude Code needs a model with the capability `tools`: `ollama show {model}` lists what this one has.",
    ),
    Refusal(
        words=re.compile(rf"{_MODEL} does not support thinking"),
        advice="Switch thinking off, or choose a model with the capability `thinking`.",
    ),
    Refusal(
        words=re.compile(rf"{_MODEL} does not support (?:chat|generate)"),
        advice="It is an embedding model: choose one with the capabilities `completion` and `tools`.",
    ),
    Refusal(
        words=re.compile(r"invalid think value"),
        advice="The model knows other levels of thinking; ask for another effort.",
    ),
    Refusal(
        words=re.compile(r"cloud is disabled"),
        status=403,
        error_type="permission_error",
        advice="Allow cloud models in Ollama's settings, unset OLLAMA_NO_CLOUD, or choose a model on this machine.",
    ),
    Refusal(
        words=re.compile(r"system message must be at the beginning", re.IGNORECASE),
        status=502,
        error_type="api_error",
        advice="Ollama before 0.32.15 renders this model's prompts wrongly: upgrade it.",
    ),
    Refusal(
        words=re.compile(r"does not support multimodal", re.IGNORECASE),
        advice="Leave the images out, or choose a model with the capability `vision`.",
    ),
    Refusal(
        words=re.compile(r"invalid tool call arguments"),
        status=502,
        error_type="api_error",
        should_retry=None,
        advice="The model's tool call was cut off at the limit of its answer, or is no JSON: "
        "raise --max-tokens, or choose a model made for tools.",
    ),
    Refusal(
        words=re.compile(r"requires more system memory|cudaMalloc failed|out[ -]of[ -]memory", re.IGNORECASE),
        status=502,
        error_type="api_error",
        advice="The model and its context window do not fit into memory: choose a smaller window or a smaller model.",
    ),
    Refusal(
        words=re.compile(r"newer version of Ollama|not supported by your version", re.IGNORECASE),
        status=502,
        error_type="api_error",
        advice="Upgrade Ollama.",
    ),
)

_ALL = (*_REFUSALS, *REFUSALS)
_NO_SUCH_PAGE = re.compile(r"^\s*404 page not found\s*$")


def explain_refusal(status: int, headers: Mapping[str, str], body: bytes, upstream: str) -> BridgeError:
    """Return the error for an answer that is no 2xx. ``upstream`` names the engine and its URL."""
    if status == 404 and _NO_SUCH_PAGE.match(refusal_words(body)):
        return UpstreamRefusedError(
            f"{upstream} has no /api/chat. Is it Ollama, and does --base-url end before /v1?",
            status=404,
            error_type="not_found_error",
            should_retry=False,
        )
    return translate.explain_refusal(status, headers, body, upstream, _ALL)


def explain_error(error: Any, upstream: str) -> BridgeError:  # noqa: ANN401 - any JSON may stand there
    """Return the error for a line ``{"error": …}`` in the stream, with the HTTP status already spent."""
    return translate.explain_error_object(error, upstream, _ALL)
