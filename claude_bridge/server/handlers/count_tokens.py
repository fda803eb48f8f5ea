"""POST /v1/messages/count_tokens: how long a prompt is."""

from __future__ import annotations

from claude_bridge.errors import ClientError
from claude_bridge.off_loop import run_off_loop_if_large
from claude_bridge.server.app import Service
from claude_bridge.server.http1 import HttpRequest, Responder
from claude_bridge.wire.anthropic import CountTokensRequest
from claude_bridge.wire.anthropic_codec import encode_token_count, parse_count_tokens_request


async def post_count_tokens(service: Service, request: HttpRequest, responder: Responder) -> None:
    """Count the prompt's tokens; raises ClientError for a malformed request."""
    body = await request.read_body()
    known = service.memo.find(body)
    new_bytes = len(body) - (known.size_bytes if known else 0)
    parsed: CountTokensRequest
    try:
        parsed, history = await run_off_loop_if_large(
            new_bytes, service.memo.parse, body, parse_count_tokens_request, known
        )
    except ClientError:
        outline = service.outline(body)
        if outline is None:
            raise
        parsed, history = outline, None
    bridge = await service.bridge()
    count = await bridge.count_tokens(parsed, service.client_request(request, body, history))
    await responder.send(200, encode_token_count(count))
