"""What Ollama's errors mean, and what to do about each: advice beside what ``upstream_errors`` knows of any engine."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from claude_bridge.conversion import upstream_errors
from claude_bridge.conversion.upstream_errors import error_words, quote, refusal_words
from claude_bridge.errors import (
    BridgeError,
    ClientError,
    UpstreamError,
    UpstreamLoadingError,
    UpstreamOverloadedError,
    UpstreamRefusedError,
)

LOADING_RETRY_AFTER_S = 2.0


class _Refusal(Struct, frozen=True, kw_only=True):
    """One of Ollama's errors: how it is worded, how the client is told, and the next step for the user.

    ``advice`` may hold {model}, where ``words`` has a group of that name.
    """

    words: re.Pattern[str]
    status: int
    error_type: str
    should_retry: bool | None = False
    advice: str


_MODEL = r"""["']?(?P<model>[^\s"']+)["']?"""

_LIBRARY = "registry.ollama.ai/library/"
"""How Ollama's full names of its own models begin; nobody types that."""

_REFUSALS = (
    _Refusal(
        words=re.compile(rf"model {_MODEL} not found"),
        status=404,
        error_type="not_found_error",
        advice="Try: ollama pull {model}",
    ),
    _Refusal(
        words=re.compile(rf"{_MODEL} does not support tools"),
        status=400,
        error_type="invalid_request_error",
        advice="Claude Code needs a model with the capability `tools`: `ollama show {model}` lists what this one has.",
    ),
    _Refusal(
        words=re.compile(rf"{_MODEL} does not support thinking"),
        status=400,
        error_type="invalid_request_error",
        advice="Switch thinking off, or choose a model with the capability `thinking`.",
    ),
    _Refusal(
        words=re.compile(rf"{_MODEL} does not support (?:chat|generate)"),
        status=400,
        error_type="invalid_request_error",
        advice="It is an embedding model: choose one with the capabilities `completion` and `tools`.",
    ),
    _Refusal(
        words=re.compile(r"invalid think value"),
        status=400,
        error_type="invalid_request_error",
        advice="The model knows other levels of thinking; ask for another effort.",
    ),
    _Refusal(
        words=re.compile(r"cloud is disabled"),
        status=403,
        error_type="permission_error",
        advice="Allow cloud models in Ollama's settings, unset OLLAMA_NO_CLOUD, or choose a model on this machine.",
    ),
    _Refusal(
        words=re.compile(r"system message must be at the beginning", re.IGNORECASE),
        status=502,
        error_type="api_error",
        advice="Ollama before 0.32.15 renders this model's prompts wrongly: upgrade it.",
    ),
    _Refusal(
        words=re.compile(r"does not support multimodal", re.IGNORECASE),
        status=400,
        error_type="invalid_request_error",
        advice="Leave the images out, or choose a model with the capability `vision`.",
    ),
    _Refusal(
        words=re.compile(r"invalid tool call arguments"),
        status=502,
        error_type="api_error",
        should_retry=None,
        advice="The model's tool call was cut off at the limit of its answer, or is no JSON: "
        "raise --max-tokens, or choose a model made for tools.",
    ),
    _Refusal(
        words=re.compile(r"requires more system memory|cudaMalloc failed|out[ -]of[ -]memory", re.IGNORECASE),
        status=502,
        error_type="api_error",
        advice="The model and its context window do not fit into memory: choose a smaller window or a smaller model.",
    ),
    _Refusal(
        words=re.compile(r"newer version of Ollama|not supported by your version", re.IGNORECASE),
        status=502,
        error_type="api_error",
        advice="Upgrade Ollama.",
    ),
    _Refusal(
        words=re.compile(
            r"(?:runner|llama-server) (?:process )?(?:has )?(?:unexpectedly stopped|no longer running|terminated)"
            r"|error was encountered while running the model"
        ),
        status=502,
        error_type="api_error",
        should_retry=None,
        advice="Ollama's log says why; most often the memory did not suffice.",
    ),
)

_UNAUTHORIZED = re.compile(r"^\W*unauthorized\b", re.IGNORECASE)
_BUSY = re.compile(r"server busy|maximum pending requests exceeded", re.IGNORECASE)
_LOADING = re.compile(
    r"loading model|timed out waiting for .*(?:runner|llama-server) to start|model is loading", re.IGNORECASE
)
_NO_SUCH_PAGE = re.compile(r"^\s*404 page not found\s*$")


def explain_refusal(status: int, headers: Mapping[str, str], body: bytes, upstream: str) -> BridgeError:
    """Return the error for an answer that is no 2xx. ``upstream`` names the engine and its URL."""
    general = upstream_errors.explain_refusal(status, headers, body, upstream)
    if isinstance(general, ClientError):
        return general  # the prompt is too long, in whichever words
    words = refusal_words(body)
    if status == 404 and _NO_SUCH_PAGE.match(words):
        return UpstreamRefusedError(
            f"{upstream} has no /api/chat. Is it Ollama, and does --base-url end before /v1?",
            status=404,
            error_type="not_found_error",
            should_retry=False,
        )
    return _explained(status, words, upstream, general.retry_after_s) or general


def explain_error(error: Any, upstream: str) -> UpstreamError:  # noqa: ANN401 - any JSON may stand there
    """Return the error for a line ``{"error": …}`` in the stream, with the HTTP status already spent."""
    explained = _explained(None, error_words({"error": error}), upstream, None)
    return explained or upstream_errors.explain_error_object(error, upstream)


def _explained(status: int | None, words: str, upstream: str, retry_after_s: float | None) -> UpstreamError | None:
    """Return what Ollama's own words mean, or None; ``status`` None: there was none."""
    said = f"{upstream} answered {status}: {quote(words)}" if status else f"{upstream} reported: {quote(words)}"
    if _BUSY.search(words):
        advice = "Its queue is full: let it answer more at once (OLLAMA_NUM_PARALLEL), or run fewer sessions."
        return UpstreamOverloadedError(f"{said.rstrip('.')}. {advice}", retry_after_s=retry_after_s)
    if _LOADING.search(words):
        wait_s = LOADING_RETRY_AFTER_S if retry_after_s is None else retry_after_s
        return UpstreamLoadingError(f"{upstream} is still loading its model.", retry_after_s=wait_s)
    if status == 401 or (status is None and _UNAUTHORIZED.match(words)):
        return UpstreamRefusedError(
            f"{said.rstrip('.')}. Run: ollama signin",  # the link that Ollama sends names this machine and its key
            status=401,
            error_type="authentication_error",
            should_retry=False,
        )
    for row in _REFUSALS:
        if match := row.words.search(words):
            names = {key: quote(found.removeprefix(_LIBRARY)) for key, found in match.groupdict().items()}
            return UpstreamRefusedError(
                f"{said.rstrip('.')}. {row.advice.format_map(names)}",
                status=row.status,
                error_type=row.error_type,
                should_retry=row.should_retry,
                retry_after_s=retry_after_s,
            )
    return None
