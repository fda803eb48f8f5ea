"""What an engine's error means: each engine's own wording becomes one of our errors.

Two wordings matter most. A prompt that is too long must be reported in Anthropic's words and numbers, because these
make Claude Code compact. And a passing trouble must look passing, because a permanent one is not tried again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from claude_bridge.conversion.upstream_errors.context_overflow import overflow_numbers, prompt_too_long
from claude_bridge.conversion.upstream_errors.retry_after import retry_after_s, wants_retry
from claude_bridge.conversion.upstream_errors.rules import (
    LOADING_STATUS,
    OVERLOADED_STATUS,
    REFUSED_STATUS,
    Refusal,
    find_refusal,
    refusals,
)
from claude_bridge.errors import (
    BridgeError,
    InvalidRequestError,
    PromptTooLongError,
    UpstreamBrokenError,
    UpstreamError,
    UpstreamLoadingError,
    UpstreamOverloadedError,
    UpstreamRefusedError,
    UpstreamReport,
)
from claude_bridge.wire.lenient_json import as_object, list_in, object_in, parse_any, read_or_none, text_in

MAX_QUOTED_CHARS = 500

_FINAL = frozenset({401, 402, 403, 404, 413})
"""Statuses that the client gets as they are, and after which another attempt can't help."""

_PASSING = {
    408: 504,
    424: 502,  # Text Generation Inference: "Request failed during generation"
    429: 429,
    499: 502,  # Ollama, nginx: somebody on the way gave up
    503: OVERLOADED_STATUS,
    529: OVERLOADED_STATUS,
}
"""Statuses after which the client decides whether to try again, with what it gets in their place.

Every other 4xx was refused for good; all else is the engine's own trouble.
"""

_MAY_BE_TOO_LONG = frozenset({400, 413, 422, 429, 500})

_CLIENTS_OWN = ("temperature", "top_p", "top_k", "stop")
"""Fields that an engine gets as the client gave them, and with the client's own names."""

_ADVICE = {401: "Check the engine's key: --api-key, or the provider's variable."}
"""Advice for errors that match no row with advice of its own; Claude Code itself adds that one should log in."""

_RETRY_AFTER_S = {LOADING_STATUS: 2.0, OVERLOADED_STATUS: 2.0}
"""How long to wait where the engine does not tell."""

# Keys by their makers' prefixes, tokens in headers, JSON web tokens, and passwords in URLs.
_SECRET = re.compile(
    r"\b(?:sk|pk|rk|gsk|csk|xai|hf|nvapi|tgp|fw|r8|ghp|key)[-_][A-Za-z0-9_*.\-]{6,}|\bAIza[\w-]{10,}"
    r"|\b(?i:bearer)\s+\S{6,}|\beyJ[\w-]{1,2000}\.[\w-]{1,4000}\.[\w-]*|(?<=://)[^\s/@]{1,200}:[^\s/@]{1,200}(?=@)"
)

_CLEANED_CHARS = 8_000
"""How much of an engine's words is looked through for keys; less than a tenth of it is quoted."""


def explain_refusal(
    status: int, headers: Mapping[str, str], body: bytes, upstream: str, rows: Sequence[Refusal] | None = None
) -> BridgeError:
    """Return the error for an engine's answer that is no 2xx.

    ``upstream`` names the engine and its URL; ``rows`` are the wordings to look for (None: those of any engine).
    """
    document, words = read_or_none(parse_any, body), refusal_words(body)
    rows = refusals() if rows is None else rows
    too_long = _too_long(status, words, document, rows) if status in _MAY_BE_TOO_LONG else None
    error: BridgeError
    if too_long is not None:
        error = too_long
    elif 300 <= status < 400:
        where = quote(headers.get("location", "elsewhere"))
        text = f"{upstream} redirects to {where}. Give that address as --base-url."
        error = UpstreamRefusedError(text, status=502, should_retry=False)
    elif status in (400, 422) and _refused_field(document) in _CLIENTS_OWN:
        error = InvalidRequestError(f"{upstream} answered {status}: {quote(words)}")
    else:
        error = _refusal(status, words, upstream, retry_after_s(headers, words, document), rows)
        wanted = wants_retry(headers)
        error.should_retry = error.should_retry if wanted is None else wanted
    error.report = _report(error, words, document)
    return error


def refusal_words(body: bytes) -> str:
    """Return what the body of a refusal says, as JSON of any common shape or as text."""
    document = read_or_none(parse_any, body)
    return error_words(document) if document is not None else _plain_text(body)


def explain_error_object(
    error: Any,  # noqa: ANN401 - engines put any JSON there
    upstream: str,
    rows: Sequence[Refusal] | None = None,
) -> BridgeError:
    """Return the error for an error object that came in place of an answer, with the HTTP status already spent."""
    if isinstance(error, list) and len(error) == 1:
        error = error[0].get("error", error[0]) if isinstance(error[0], dict) else error[0]  # Gemini
    document = {"error": error}
    words, status = error_words(document), _status_in(error)
    rows = refusals() if rows is None else rows
    explained: BridgeError | None = _too_long(status, words, document, rows)
    if explained is None:
        wait_s = retry_after_s({}, words, document)
        explained = _refusal(None if status == 500 else status, words, upstream, wait_s, rows)
    explained.report = _report(explained, words, document)
    return explained


def _too_long(
    status: int | None,
    words: str,
    document: Any,  # noqa: ANN401 - any JSON
    rows: Sequence[Refusal],
) -> PromptTooLongError | None:
    """Return the error for a prompt that is too long; None also for an engine that broke down, whose words are old."""
    failures = (row for row in rows if row.is_engine_failure)
    return None if find_refusal(failures, status, words) else prompt_too_long(words, document)


def _report(error: BridgeError, words: str, document: Any) -> UpstreamReport:  # noqa: ANN401 - any JSON
    numbers = None if error.status >= 500 else overflow_numbers(words, document)  # an engine's old log may come along
    return UpstreamReport(
        words=words,
        field=_refused_field(document),
        prompt_tokens=numbers.prompt_tokens if numbers else None,
        window_tokens=numbers.window_tokens if numbers else None,
    )


def _refusal(
    status: int | None, words: str, upstream: str, wait_s: float | None, rows: Sequence[Refusal]
) -> UpstreamError:
    """Return what a status and the words beside it mean, for an answer and for an error inside one alike."""
    quoted = quote(words) or "(no explanation)"
    text = f"{upstream} answered {status}: {quoted}" if status else f"{upstream} reported an error: {quoted}"
    found, advice = find_refusal(rows, status, words), ""
    if found is not None:
        row, advice = found
        client_status, is_final = row.status, row.is_final
    elif status in _PASSING:
        client_status, is_final = _PASSING[status], False
    elif status in _FINAL:
        client_status, is_final = status, True
    else:
        is_final = status is not None and 400 <= status < 500
        client_status = REFUSED_STATUS if is_final else 502
    advice = advice or _ADVICE.get(client_status, "")
    text = f"{text.rstrip('.')}. {advice}" if advice else text
    wait_s = _RETRY_AFTER_S.get(client_status) if wait_s is None else wait_s
    if client_status == LOADING_STATUS:
        return UpstreamLoadingError(f"{upstream} is still loading its model.", retry_after_s=wait_s)
    if client_status == OVERLOADED_STATUS:
        return UpstreamOverloadedError(text, retry_after_s=wait_s)
    if client_status == UpstreamBrokenError.status and status is None and not is_final:
        return UpstreamBrokenError(text)
    refused = UpstreamRefusedError(
        text,
        status=client_status,
        should_retry=False if is_final else None,
        retry_after_s=None if is_final else wait_s,
    )
    refused.may_succeed_elsewhere = client_status == 402 or (found is not None and found[0].may_succeed_elsewhere)
    return refused


def _status_in(error: Any) -> int | None:  # noqa: ANN401 - as above
    """Return the HTTP status that an error object gives as its code, as a number or in digits."""
    code = error.get("code", error.get("status")) if isinstance(error, dict) else None
    if isinstance(code, str) and re.fullmatch(r"[45]\d\d", code):
        return int(code)
    return code if isinstance(code, int) and 400 <= code < 600 else None


def _refused_field(document: Any) -> str | None:  # noqa: ANN401 - as above
    """Return the field of the request that an engine names as the wrong one, as OpenAI does."""
    return text_in(object_in(as_object(document), "error"), "param") or None


def explain_no_json(body: bytes, upstream: str) -> UpstreamError:
    """Return the error for an answer that is neither a stream nor JSON."""
    if b"<html" in body[:2000].lower() or b"<!doctype" in body[:200].lower():
        return UpstreamBrokenError(
            f"{upstream} answered with a web page in place of an API answer. "
            "Is --base-url right, or is a proxy in the way?"
        )
    return UpstreamBrokenError(f"{upstream} answered with something that is no JSON: {quote(_plain_text(body))!r}")


def explain_no_object(payload: bytes, upstream: str) -> BridgeError:
    """Return the error for what is no JSON object: Gemini's errors are lists of one, proxies send pages and words."""
    try:
        return explain_error_object(parse_any(payload), upstream)
    except msgspec.DecodeError:
        return explain_no_json(payload, upstream)


def quote(words: str) -> str:
    """Return an engine's words on one line, shortened, with what looks like a key removed."""
    line = " ".join(_SECRET.sub("[key removed]", words[:_CLEANED_CHARS]).split())
    return line if len(line) <= MAX_QUOTED_CHARS else line[: MAX_QUOTED_CHARS - 1] + "…"


_WORDS_FIELDS = ("message", "detail", "msg", "error_msg", "status_msg", "title")


def reports_error(value: Any) -> bool:  # noqa: ANN401 - as above
    """Return whether an object that is no part of an answer reports an error, in whichever shape."""
    if not isinstance(value, dict):
        return False
    says_why = any(isinstance(value.get(name), str) for name in _WORDS_FIELDS)
    status = object_in(value, "base_resp").get("status_code")  # MiniMax
    return says_why or "code" in value or bool(value.get("errors")) or bool(status)


def error_words(document: Any) -> str:  # noqa: ANN401 - any JSON
    """Return all that an error document says, whichever of the common shapes it has."""
    if isinstance(document, list) and len(document) == 1:
        document = document[0]  # Gemini
    fields = as_object(document)
    error = fields.get("error") or fields.get("base_resp") or document
    if errors := list_in(as_object(error), "errors"):
        error = errors[0]
    if isinstance(error, str):
        return _quoted_words(error)
    if not isinstance(error, dict):
        return msgspec.json.encode(document).decode()
    texts = [source.get(name) for source in (error, document) for name in _WORDS_FIELDS]
    words = next((text for text in texts if text and isinstance(text, str)), "")
    code = error.get("code")
    if not code or (isinstance(code, str) and code.isdigit()):  # Mistral numbers its errors
        code = error.get("type") or code
    raw = text_in(object_in(error, "metadata"), "raw")  # OpenRouter: the provider's own words
    parts = [words or msgspec.json.encode(error).decode(), raw]
    if isinstance(code, str) and code not in words:
        parts.append(f"({code})")
    return " ".join(part for part in parts if part)


def _quoted_words(words: str) -> str:
    """Return the words; those inside, where an engine hands on another's error document as text (Ollama 0.30)."""
    inner = read_or_none(parse_any, words.encode("utf-8", "replace")) if words.startswith("{") else None
    return error_words(inner) if isinstance(inner, dict) and inner.get("error") else words


def _plain_text(body: bytes) -> str:
    text = body[:4000].decode("utf-8", "replace")
    return re.sub(r"<[^>]*>", " ", text) if "<" in text else text
