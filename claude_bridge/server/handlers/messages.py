"""POST /v1/messages and its count_tokens: decode, run the exchange, stream its events, stop when the client leaves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from typing import TypeVar

import anyio

from claude_bridge.clients.claude_code import SESSION_HEADER
from claude_bridge.conversion.request.history import KnownHistory
from claude_bridge.errors import BridgeError, ClientError
from claude_bridge.off_loop import run_off_loop_if_large
from claude_bridge.server.app import Service
from claude_bridge.server.http1 import ClientGoneError, HttpRequest, Responder
from claude_bridge.trace.recorder import Recorder
from claude_bridge.wire.anthropic import CountTokensRequest, MessagesRequest
from claude_bridge.wire.anthropic_answers import ErrorDetail, ErrorEvent, ResponseItem
from claude_bridge.wire.anthropic_codec import (
    encode_stream_event,
    encode_token_count,
    parse_count_tokens_request,
    parse_messages_request,
)

_Request = TypeVar("_Request", bound=CountTokensRequest)

LAST_WORDS_S = 1.0
"""How long a client may take to read why its answer was stopped."""


async def post_messages(service: Service, request: HttpRequest, responder: Responder) -> None:
    """Answer a Messages request.

    Raises:
        ClientError: the request is malformed.
    """
    body = await request.read_body()
    recorder = Recorder(service.bus, responder.request_id, stats=service.stats)
    try:
        parsed, history = await _parsed(service, body, parse_messages_request)
    except ClientError as error:
        _record_received(recorder, None, request, body)
        recorder.failed(error, in_stream=False)
        raise
    _record_received(recorder, parsed, request, body)

    async def send(items: Sequence[ResponseItem]) -> None:
        data = b"".join(map(encode_stream_event, items))
        recorder.client_got(data)
        await responder.write(data)

    try:
        with service.running_answer(recorder, responder) as running:
            try:
                running.bridge = bridge = await service.bridge()
                async with AsyncExitStack() as upstream:
                    raw = service.client_request(request, body, history)
                    answer = await bridge.begin(parsed, recorder, raw, upstream)
                    if parsed.stream:
                        responder.start_stream(headers=answer.headers)
                        await answer.send_to(send)
                        await responder.end()
                    else:
                        whole = await answer.body()
                        recorder.client_got(whole)
                        await responder.send(200, whole, headers=answer.headers)
            except BridgeError as error:
                recorder.failed(error, in_stream=False)
                await responder.send_error(error)
            except ClientGoneError:
                recorder.client_left()
        if running.stopped_by is not None:
            await _end_early(running.stopped_by, responder, recorder)
    finally:
        recorder.close()


async def post_count_tokens(service: Service, request: HttpRequest, responder: Responder) -> None:
    """Count the prompt's tokens; raises ClientError for a malformed request."""
    body = await request.read_body()
    parsed, history = await _parsed(service, body, parse_count_tokens_request)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(responder.cancel_when_client_leaves, tasks.cancel_scope)
        try:
            bridge = await service.bridge()
            count = await bridge.count_tokens(parsed, service.client_request(request, body, history))
            await responder.send(200, encode_token_count(count))
        except BridgeError as error:
            await responder.send_error(error)
        except ClientGoneError:
            pass
        tasks.cancel_scope.cancel()


async def _parsed(
    service: Service, body: bytes, parse: Callable[[bytes], _Request]
) -> tuple[_Request | MessagesRequest, KnownHistory | None]:
    """Return the typed request, and what is known of its conversation; raises ClientError for a malformed one."""
    known = service.memo.find(body)
    new_bytes = len(body) - (known.size_bytes if known else 0)
    try:
        return await run_off_loop_if_large(new_bytes, service.memo.parse, body, parse, known)
    except ClientError:
        outline = await run_off_loop_if_large(len(body), service.outline, body)
        if outline is None:
            raise
        return outline, None


def _record_received(recorder: Recorder, parsed: MessagesRequest | None, request: HttpRequest, body: bytes) -> None:
    recorder.received(
        parsed,
        path=request.path,
        body=body,
        session=request.headers.get(SESSION_HEADER),
        user_agent=request.headers.get("user-agent"),
    )


async def _end_early(reason: BridgeError, responder: Responder, recorder: Recorder) -> None:
    """Send the client the reason why its answer ends here, as far as that is still possible."""
    recorder.failed(reason, in_stream=responder.started)
    with anyio.CancelScope(shield=True, deadline=anyio.current_time() + LAST_WORDS_S):
        if not responder.started:
            await responder.send_error(reason)
        elif responder.is_open:
            error = ErrorDetail(reason.error_type, reason.message)
            data = encode_stream_event(ErrorEvent(error, responder.request_id))
            recorder.client_got(data)
            await responder.write(data)
            await responder.end()
