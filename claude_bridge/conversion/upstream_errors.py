"""What an engine's error means: each engine's own wording becomes one of our errors.

Two wordings matter most. A prompt that is too long must be told in Anthropic's words and numbers, because these
make Claude Code compact. And a passing trouble must look passing, because a permanent one is not tried again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from claude_bridge.errors import (
    BridgeError,
    PromptTooLongError,
    UpstreamBrokenError,
    UpstreamError,
    UpstreamLoadingError,
    UpstreamOverloadedError,
    UpstreamRefusedError,
)
from claude_bridge.wire.lenient import parse_any

MAX_QUOTED_CHARS = 500

# HTTP status of the engine -> status and type for the client, and whether to try again (None: the client decides).
_REFUSALS: dict[int, tuple[int, str, bool | None]] = {
    400: (400, "invalid_request_error", False),
    401: (401, "authentication_error", False),
    402: (402, "billing_error", False),
    403: (403, "permission_error", False),
    404: (404, "not_found_error", False),
    405: (404, "not_found_error", False),
    408: (504, "timeout_error", None),
    413: (413, "request_too_large", False),
    415: (400, "invalid_request_error", False),
    422: (400, "invalid_request_error", False),
    429: (429, "rate_limit_error", None),
}

# How engines say that the prompt does not fit. Groups: prompt tokens and window, where they are told.
_TOO_LONG = [
    # llama.cpp: "request (9031 tokens) exceeds the available context size (8192 tokens), try increasing it"
    re.compile(
        r"request \((?P<prompt>\d{1,12}) tokens\) exceeds the available context size \((?P<window>\d{1,12}) tokens\)"
    ),
    # OpenAI, vLLM: "maximum context length is 8192 tokens. However, you requested 9000 tokens (8500 in the messages,
    # 500 in the completion)"
    re.compile(
        r"maximum context length is (?P<window>\d{1,12}) tokens?.*?\((?P<prompt>\d{1,12}) in the messages", re.DOTALL
    ),
    # OpenAI, vLLM, OpenRouter: "maximum context length is 8192 tokens. However, you requested about 9000 tokens"
    re.compile(
        r"maximum context length is (?P<window>\d{1,12}) tokens?.*?(?P<prompt>\d{1,12}) (?:input )?tokens", re.DOTALL
    ),
    # vLLM: "The decoder prompt (length 9000) is longer than the maximum model length of 8192"
    re.compile(
        r"prompt \(length (?P<prompt>\d{1,12})\) is longer than the maximum model length of (?P<window>\d{1,12})"
    ),
    # Gemini: "The input token count (9000) exceeds the maximum number of tokens allowed (8192)"
    re.compile(
        r"input token count \(?(?P<prompt>\d{1,12})\)? exceeds the maximum number of tokens allowed "
        r"\(?(?P<window>\d{1,12})"
    ),
    # LM Studio: "Trying to keep the first 9000 tokens when context the overflows. However, the model is loaded
    # with context length of only 4096 tokens"
    re.compile(
        r"keep the first (?P<prompt>\d{1,12}) tokens.*?context length of only (?P<window>\d{1,12}) tokens", re.DOTALL
    ),
    # xAI: "This model's maximum prompt length is 131072 but the request contains 150000 tokens."
    re.compile(r"maximum prompt length is (?P<window>\d{1,12}) but the request contains (?P<prompt>\d{1,12}) tokens"),
    # Text Generation Inference: "`inputs` tokens + `max_new_tokens` must be <= 4096. Given: 5000 `inputs` tokens and …"
    re.compile(r"`max_new_tokens` must be <= (?P<window>\d{1,12})\. Given: (?P<prompt>\d{1,12}) `inputs` tokens"),
    # Anthropic
    re.compile(r"prompt is too long: (?P<prompt>\d{1,12}) tokens > (?P<window>\d{1,12})"),
    # Ollama, Groq, SGLang, DeepSeek, Moonshot, Z.ai and others give no numbers, or not in this order
    re.compile(
        r"prompt is (?:longer than|too long)|context_length_exceeded|exceed_context_size|maximum context length"
        r"|exceeds the (?:model's |available )?(?:maximum )?context|longer than the model's context length"
        r"|reduce the length of the (?:messages|prompt|input)|input is too long"
        r"|exceeded model token limit|prompt exceeds max length|input token length too long"
        r"|but model only supports up to|input tokens exceed the configured limit|context exceeds your deployment",
        re.IGNORECASE,
    ),
]

_LOADING = re.compile(r"loading model|model is (?:still )?loading|is currently loading", re.IGNORECASE)

# Keys by their makers' prefixes, tokens in headers, JSON web tokens, and passwords in URLs.
_SECRET = re.compile(
    r"\b(?:sk|pk|rk|gsk|csk|xai|hf|nvapi|tgp|fw|r8|ghp|key)[-_][A-Za-z0-9_*.\-]{6,}|\bAIza[\w-]{10,}"
    r"|\b(?i:bearer)\s+\S{6,}|\beyJ[\w-]+\.[\w-]+\.[\w-]*|(?<=://)[^\s/@]+:[^\s/@]+(?=@)"
)


def explain_refusal(status: int, headers: Mapping[str, str], body: bytes, upstream: str) -> BridgeError:
    """Return the error for an engine's answer that is no 2xx. ``upstream`` names the engine and its URL."""
    document = _json_or_none(body)
    words = refusal_words(body)
    if status in (400, 413, 422, 500) and (too_long := _prompt_too_long(words, document)):
        return too_long
    if 300 <= status < 400:
        where = quote(headers.get("location", "elsewhere"))
        return UpstreamRefusedError(
            f"{upstream} redirects to {where}. Give that address as --base-url.",
            status=502,
            error_type="api_error",
            should_retry=False,
        )
    return _refusal(status, words, upstream, _retry_after_s(headers))


def refusal_words(body: bytes) -> str:
    """Return what the body of a refusal says, as JSON of any common shape or as text."""
    document = _json_or_none(body)
    return error_words(document) if document is not None else _plain_text(body)


def explain_error_object(error: Any, upstream: str) -> UpstreamError:  # noqa: ANN401 - engines put any JSON there
    """Return the error for an error object that came in place of an answer, with the HTTP status already spent."""
    words = error_words({"error": error})
    if too_long := _prompt_too_long(words, {"error": error}):
        return UpstreamRefusedError(too_long.message, status=400, error_type=too_long.error_type)
    status = _status_in(error)
    if status is not None and status != 500:
        return _refusal(status, words, upstream, None)
    return UpstreamBrokenError(f"{upstream} reported an error: {quote(words) or '(no explanation)'}")


def _refusal(status: int, words: str, upstream: str, retry_after_s: float | None) -> UpstreamError:
    """Return what a status and the words beside it mean, for an answer and for an error inside one alike."""
    quoted = quote(words) or "(no explanation)"
    if status == 503 and _LOADING.search(words):
        wait = 2.0 if retry_after_s is None else retry_after_s
        return UpstreamLoadingError(f"{upstream} is still loading its model.", retry_after_s=wait)
    if status in (503, 529):
        return UpstreamOverloadedError(f"{upstream} is overloaded: {quoted}", retry_after_s=retry_after_s)
    told_status, error_type, should_retry = _REFUSALS.get(status, (502, "api_error", None))
    return UpstreamRefusedError(
        f"{upstream} answered {status}: {quoted}",
        status=told_status,
        error_type=error_type,
        should_retry=should_retry,
        retry_after_s=retry_after_s,
    )


def _status_in(error: Any) -> int | None:  # noqa: ANN401 - as above
    """Return the HTTP status that an error object gives as its code, as a number or in digits."""
    code = error.get("code", error.get("status")) if isinstance(error, dict) else None
    if isinstance(code, str) and re.fullmatch(r"[45]\d\d", code):
        return int(code)
    return code if isinstance(code, int) and 400 <= code < 600 else None


def explain_no_json(body: bytes, upstream: str) -> UpstreamError:
    """Return the error for an answer that is neither a stream nor JSON."""
    if b"<html" in body[:2000].lower() or b"<!doctype" in body[:200].lower():
        return UpstreamBrokenError(
            f"{upstream} answered with a web page in place of an API answer. "
            "Is --base-url right, or is a proxy in the way?"
        )
    return UpstreamBrokenError(f"{upstream} answered with something that is no JSON: {quote(_plain_text(body))!r}")


def quote(words: str) -> str:
    """Return an engine's words on one line, shortened, with what looks like a key removed."""
    line = " ".join(_SECRET.sub("[key removed]", words).split())
    return line if len(line) <= MAX_QUOTED_CHARS else line[: MAX_QUOTED_CHARS - 1] + "…"


def _prompt_too_long(words: str, document: Any) -> PromptTooLongError | None:  # noqa: ANN401 - any JSON
    error = document.get("error") if isinstance(document, dict) else None
    if (
        isinstance(error, dict)
        and isinstance(error.get("n_prompt_tokens"), int)
        and isinstance(error.get("n_ctx"), int)
    ):
        return PromptTooLongError(error["n_prompt_tokens"], error["n_ctx"])  # llama.cpp
    for pattern in _TOO_LONG:
        if match := pattern.search(words):
            numbers = match.groupdict()
            if not numbers:
                return PromptTooLongError(None, None)
            prompt, window = int(numbers["prompt"]), int(numbers["window"])
            if prompt < window // 2:
                return None  # it is max_tokens that does not fit, and compacting would not help
            # Where the limit on the answer is counted in, the first number may be the smaller one.
            return PromptTooLongError(max(prompt, window + 1), window)
    return None


def error_words(document: Any) -> str:  # noqa: ANN401 - any JSON
    """Return all that an error document says, whichever of the common shapes it has."""
    error = document.get("error") or document if isinstance(document, dict) else document
    if isinstance(error, str):
        return _quoted_words(error)
    if not isinstance(error, dict):
        return msgspec.json.encode(document).decode()
    said = [error.get("message"), error.get("detail"), document.get("message"), document.get("detail")]
    texts = [text for text in said if isinstance(text, str)]
    words = next(filter(None, texts), "")
    code = error.get("code") or error.get("type")
    metadata = error.get("metadata")
    raw = metadata.get("raw") if isinstance(metadata, dict) else None  # OpenRouter: the provider's own words
    parts = [words or msgspec.json.encode(error).decode(), raw if isinstance(raw, str) else ""]
    if isinstance(code, str) and code not in words:
        parts.append(f"({code})")
    return " ".join(part for part in parts if part)


def _quoted_words(words: str) -> str:
    """Return the words; those inside, where an engine hands on another's error document as text (Ollama 0.30)."""
    inner = _json_or_none(words.encode("utf-8", "replace")) if words.startswith("{") else None
    return error_words(inner) if isinstance(inner, dict) and inner.get("error") else words


def _json_or_none(body: bytes) -> Any:  # noqa: ANN401 - any JSON
    try:
        return parse_any(body)
    except msgspec.DecodeError:
        return None


def _plain_text(body: bytes) -> str:
    text = body[:4000].decode("utf-8", "replace")
    return re.sub(r"<[^>]*>", " ", text) if "<" in text else text


def _retry_after_s(headers: Mapping[str, str]) -> float | None:
    try:
        wait_s = float(headers["retry-after"])
    except (KeyError, ValueError):
        return None
    return max(0.0, wait_s) if wait_s < float("inf") else None  # "inf" and "nan" are floats too
