"""The endpoints beside messages: token counts, the model list, and whether the bridge lives."""

from __future__ import annotations

from urllib.parse import unquote

import anyio
from msgspec.structs import replace

from claude_bridge import __version__
from claude_bridge.bridge import BridgeProtocol
from claude_bridge.errors import BridgeError, ClientError, NotFoundError
from claude_bridge.routing import ALIAS_PREFIX, plain_name
from claude_bridge.server.app import Service
from claude_bridge.server.handlers.metrics import render_metrics
from claude_bridge.server.http1 import HttpRequest, Responder
from claude_bridge.wire.admin_api import Readiness, encode_readiness, encode_stats
from claude_bridge.wire.anthropic import ModelInfo
from claude_bridge.wire.anthropic_codec import (
    encode_model,
    encode_model_list,
    encode_token_count,
    parse_count_tokens_request,
)

READY_WITHIN_S = 3.0
"""How long an engine may take to answer a question for its models: a load balancer waits no longer."""

MODELS_PATH = "/v1/models"
_CREATED_AT = "1970-01-01T00:00:00Z"
"""What Anthropic's API gives where the date of a model is not known."""


async def get_root(_service: Service, _request: HttpRequest, responder: Responder) -> None:
    """Say who is here."""
    await responder.send(200, b"claude-bridge is running\n", content_type="text/plain; charset=utf-8")


async def get_health(_service: Service, _request: HttpRequest, responder: Responder) -> None:
    """Say that the bridge lives; its engine is not asked."""
    await responder.send(200, b'{"status":"ok","version":"%b"}' % __version__.encode())


async def get_ready(service: Service, _request: HttpRequest, responder: Responder) -> None:
    """Say whether the engine answers, and what is served; 503 while it does not."""
    bridge = service.bridge_if_known
    told = Readiness(ready=False, version=__version__, reason="It is not known yet which engine this is.")
    if bridge is not None:
        told = await _readiness(bridge)
    await responder.send(200 if told.ready else 503, encode_readiness(told))


async def _readiness(bridge: BridgeProtocol) -> Readiness:
    upstream = bridge.upstream
    reason: str | None = f"{upstream.name} is silent."
    with anyio.move_on_after(READY_WITHIN_S):
        try:
            await bridge.reach()
            reason = None
        except BridgeError as error:
            reason = error.message
    return Readiness(
        ready=reason is None,
        version=__version__,
        reason=reason,
        upstream=upstream.name,
        kind=upstream.adapter.kind,
        base_url=upstream.base_url,
        model=upstream.model or None,
        window_tokens=upstream.window_tokens,
        max_output_tokens=upstream.max_output_tokens,
        slots=upstream.slots,
        forwards_client_auth=upstream.forwards_client_auth,
    )


async def get_stats(service: Service, _request: HttpRequest, responder: Responder) -> None:
    """Tell what the exchanges of this run came to."""
    bridge = service.bridge_if_known
    serves = bridge.upstream.model if bridge else None
    await responder.send(200, encode_stats(service.stats.report(running=len(service.running), serves=serves)))


async def get_metrics(service: Service, _request: HttpRequest, responder: Responder) -> None:
    """Tell the same to Prometheus; raises NotFoundError where its library is not installed."""
    body, content_type = render_metrics(service.stats, running=len(service.running))
    await responder.send(200, body, content_type=content_type)


async def post_count_tokens(service: Service, request: HttpRequest, responder: Responder) -> None:
    """Count the prompt's tokens; raises ClientError for a malformed request."""
    try:
        asked = parse_count_tokens_request(request.body)
    except ClientError:
        outline = service.outline(request)
        if outline is None:
            raise
        asked = outline
    bridge = await service.bridge()
    await responder.send(200, encode_token_count(await bridge.count_tokens(asked, service.given(request))))


async def get_models(service: Service, _request: HttpRequest, responder: Responder) -> None:
    """List the models that requests may name, the served one first; none where the engine takes any name.

    Each has a second entry under a name that begins with "claude": Claude Code's model picker shows no others.
    """
    models = await _models(await service.bridge())
    aliases = [replace(model, id=ALIAS_PREFIX + model.id) for model in models if not model.id.startswith("claude")]
    await responder.send(200, encode_model_list(models + aliases))


async def get_model(service: Service, request: HttpRequest, responder: Responder) -> None:
    """Describe one model.

    Raises:
        NotFoundError: the bridge serves no model of this name.
    """
    bridge = await service.bridge()
    models = await _models(bridge)
    asked = unquote(request.path.removeprefix(MODELS_PATH + "/"))
    name = plain_name(asked)
    if not bridge.upstream.model:  # whether there is one, the engine says
        models.append(ModelInfo(id=name, display_name=name, created_at=_CREATED_AT))
    model = next((model for model in models if model.id == name), None)
    if model is None:
        raise NotFoundError(f"There is no model {name!r} here; this bridge serves {bridge.upstream.model!r}.")
    await responder.send(200, encode_model(replace(model, id=asked)))


async def _models(bridge: BridgeProtocol) -> list[ModelInfo]:
    upstream = bridge.upstream
    models = {
        model.id: ModelInfo(
            id=model.id,
            display_name=f"{model.id} ({upstream.name})",
            created_at=_CREATED_AT,
            max_input_tokens=model.context_window,
            max_tokens=model.max_output_tokens,
        )
        for model in await bridge.offered()
        if model.tools is not False
    }
    if not upstream.model:
        return list(models.values())
    served = ModelInfo(
        id=upstream.model,
        display_name=f"{upstream.model} ({upstream.name})",
        created_at=_CREATED_AT,
        max_input_tokens=upstream.window_tokens,
        max_tokens=upstream.max_output_tokens,
    )
    return list(({served.id: served} | models | {served.id: served}).values())


async def drop_telemetry(_service: Service, _request: HttpRequest, responder: Responder) -> None:
    """Accept what Claude Code reports to its maker, and send it nowhere."""
    await responder.send(200, b"{}")
