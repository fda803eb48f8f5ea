"""Events of made-up exchanges."""

from __future__ import annotations

from typing import Any

import msgspec

from claude_bridge.conversion.loss import Loss
from claude_bridge.trace.events import (
    AnswerGrew,
    AnswerMended,
    ClientLeft,
    ExchangeEnded,
    ExchangeFailed,
    FirstToken,
    ImageDescribed,
    PromptCut,
    PromptRead,
    PromptReread,
    RequestReceived,
    RequestSent,
    ToolInputRepaired,
    UpstreamRetried,
    WaitingForUpstream,
    WebToolCalled,
)
from claude_bridge.wire.anthropic import TextBlock
from claude_bridge.wire.anthropic_answers import (
    AnswerBlock,
    Message,
    Usage,
)

NOON = 43_200.0
EXCHANGE = "req_0000k7Qd"


def received(
    messages: list[dict[str, Any]] | None = None, *, exchange: str = EXCHANGE, body: bytes | None = None, **fields: Any
) -> RequestReceived:
    messages = messages or [{"role": "user", "content": "Hello"}]
    requested = {"model": "claude-sonnet-5", "max_tokens": 32_000, "messages": messages, **fields}
    return RequestReceived(
        exchange=exchange,
        at_s=NOON,
        path="/v1/messages?beta=true",
        model="claude-sonnet-5",
        streamed=True,
        messages=len(messages),
        tools=len(requested.get("tools", [])),
        max_tokens=32_000,
        session="3f2a9c1d-88aa-4e1c",
        user_agent="claude-cli/2.1.330 (external, cli)",
        not_read=["safeguards"] if "safeguards" in fields else [],
        body=msgspec.json.encode(requested) if body is None else body,
    )


def sent(
    messages: list[dict[str, Any]] | None = None,
    *,
    exchange: str = EXCHANGE,
    losses: list[Loss] | None = None,
    body: bytes | None = None,
    **fields: Any,
) -> RequestSent:
    messages = messages or [{"role": "user", "content": "Hello"}]
    return RequestSent(
        exchange=exchange,
        at_s=NOON,
        after_s=0.01,
        method="POST",
        url="http://localhost:11434/v1/chat/completions",
        model="qwen3:1.7b",
        upstream="ollama",
        estimated_tokens=9_100,
        losses=losses or [],
        body=msgspec.json.encode({"model": "qwen3:1.7b", "messages": messages, **fields}) if body is None else body,
    )


def retried(reason: str = "The engine reset the connection without an answer.") -> UpstreamRetried:
    return UpstreamRetried(exchange=EXCHANGE, at_s=NOON + 0.2, after_s=0.2, reason=reason)


def waiting() -> WaitingForUpstream:
    return WaitingForUpstream(exchange=EXCHANGE, at_s=NOON + 10, after_s=10)


def read(read_tokens: int, after_s: float) -> PromptRead:
    return PromptRead(
        exchange=EXCHANGE,
        at_s=NOON + after_s,
        after_s=after_s,
        read_tokens=read_tokens,
        prompt_tokens=9_000,
        cached_tokens=900,
    )


def first_token(*, exchange: str = EXCHANGE) -> FirstToken:
    return FirstToken(exchange=exchange, at_s=NOON + 3.9, after_s=3.9)


def grew(chars: int = 4, *, exchange: str = EXCHANGE) -> AnswerGrew:
    return AnswerGrew(exchange=exchange, at_s=NOON + 4, after_s=4, deltas=1, chars=chars)


def answer_repaired(what: str = "message_stop was missing") -> AnswerMended:
    return AnswerMended(exchange=EXCHANGE, at_s=NOON + 5, what=what)


def reread(tokens: int | None = 21_400) -> PromptReread:
    reason = "tool Bash's description changed"
    return PromptReread(exchange=EXCHANGE, at_s=NOON + 5, turn=3, tokens=tokens, lost_tokens=21_200, reason=reason)


def repaired(what: str = "malformed JSON was mended") -> ToolInputRepaired:
    return ToolInputRepaired(exchange=EXCHANGE, at_s=NOON + 5, tool_name="Bash", what=what)


def described(text: str | None = "A cat on a keyboard.", trouble: str = "") -> ImageDescribed:
    path = "$.messages[2].content[0]"
    return ImageDescribed(
        exchange=EXCHANGE, at_s=NOON, path=path, model="llava", text=text, trouble=trouble, took_s=2.5
    )


def searched(query: str = "bridges", *, error: str | None = None, reason: str = "") -> WebToolCalled:
    found = 0 if error else 2
    return WebToolCalled(
        exchange=EXCHANGE,
        at_s=NOON,
        after_s=1.0,
        tool="web_search",
        input=f'{{"query": "{query}"}}',
        results=found,
        size_bytes=1_200 * found,
        error=error,
        reason=reason,
        took_s=0.5,
    )


def cut() -> PromptCut:
    return PromptCut(
        exchange=EXCHANGE, at_s=NOON + 6, estimated_tokens=44_000, reported_tokens=16_384, window_tokens=32_768
    )


def ended(content: list[AnswerBlock] | None = None, *, exchange: str = EXCHANGE, **fields: Any) -> ExchangeEnded:
    message = Message(
        id="msg_1",
        model="claude-sonnet-5",
        content=[TextBlock("Hi.")] if content is None else content,
        stop_reason=fields.pop("stop_reason", "end_turn"),
        usage=Usage(input_tokens=340, cache_read_input_tokens=8_760, output_tokens=212),
    )
    event = ExchangeEnded(
        exchange=exchange,
        at_s=NOON + 6.4,
        after_s=6.4,
        first_token_s=3.9,
        message=message,
        prompt_tokens=9_100,
        cached_tokens=8_760,
        prompt_ms=1_200.0,
        output_ms=2_400.0,
        usage_is_estimated=False,
    )
    return msgspec.structs.replace(event, **fields)


def failed(message: str, *, exchange: str = EXCHANGE, in_stream: bool = False) -> ExchangeFailed:
    return ExchangeFailed(
        exchange=exchange,
        at_s=NOON + 1,
        after_s=1,
        status=400,
        error_type="invalid_request_error",
        message=message,
        in_stream=in_stream,
    )


def client_left(*, exchange: str = EXCHANGE) -> ClientLeft:
    return ClientLeft(exchange=exchange, at_s=NOON + 5, after_s=5)
