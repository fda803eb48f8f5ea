"""POST /v1/messages: decode, run the exchange, stream its events, and stop it all when the client leaves."""

from __future__ import annotations

from contextlib import aclosing

import anyio

from claude_bridge.adapters.base import ClientRequest
from claude_bridge.bridge import BridgeProtocol
from claude_bridge.errors import BridgeError, ClientError
from claude_bridge.server.app import Service
from claude_bridge.server.http1 import ClientGoneError, HttpRequest, Responder
from claude_bridge.trace.recorder import Recorder
from claude_bridge.wire.anthropic import MessagesRequest
from claude_bridge.wire.anthropic_codec import encode_stream_event, parse_messages_request


async def post_messages(service: Service, request: HttpRequest, responder: Responder) -> None:
    """Answer a Messages request.

    Raises:
        ClientError: the request is malformed.
    """
    recorder = Recorder(service.bus, responder.request_id, stats=service.stats)
    try:
        asked = parse_messages_request(request.body)
    except ClientError as error:
        outline = service.outline(request)
        if outline is None:
            _tell_received(recorder, None, request)
            recorder.failed(error, in_stream=False)
            raise
        asked = outline
    _tell_received(recorder, asked, request)
    service.running.add(responder.request_id)
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_cancel_when_client_leaves, responder, recorder, tasks.cancel_scope)
            try:
                bridge = await service.bridge()
                await _answer(bridge, asked, service.given(request), responder, recorder)
            except ClientGoneError:
                recorder.client_left()
            tasks.cancel_scope.cancel()
    finally:
        service.running.discard(responder.request_id)
        recorder.broken_off()


def _tell_received(recorder: Recorder, asked: MessagesRequest | None, request: HttpRequest) -> None:
    recorder.received(
        asked,
        path=request.path,
        body=request.body,
        session=request.headers.get("x-claude-code-session-id"),
        user_agent=request.headers.get("user-agent"),
    )


async def _cancel_when_client_leaves(responder: Responder, recorder: Recorder, scope: anyio.CancelScope) -> None:
    await responder.wait_until_client_leaves()
    recorder.client_left()
    scope.cancel()


async def _answer(
    bridge: BridgeProtocol, asked: MessagesRequest, raw: ClientRequest, responder: Responder, recorder: Recorder
) -> None:
    try:
        async with bridge.exchange(asked, recorder, raw=raw) as exchange:
            if not asked.stream:
                body = await exchange.body()
                await responder.send(200, body, headers=exchange.headers)
                return
            responder.start_stream(headers=exchange.headers)
            async with aclosing(exchange.items()) as stream:
                async for items in stream:
                    await responder.write(b"".join(map(encode_stream_event, items)))
            await responder.end()
    except BridgeError as error:
        recorder.failed(error, in_stream=False)
        await responder.send_error(error)
