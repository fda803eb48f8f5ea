"""GET /v1/models: which models requests may name."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import parse_qs, unquote

from msgspec.structs import replace

from claude_bridge.clients.claude_code import ALIAS_PREFIX
from claude_bridge.errors import InvalidRequestError, NotFoundError
from claude_bridge.providers import UNNAMED, Upstream
from claude_bridge.router import AnyBridge
from claude_bridge.routing import plain_name
from claude_bridge.server.app import Service
from claude_bridge.server.http1 import HttpRequest, Responder
from claude_bridge.wire.anthropic_answers import ModelInfo
from claude_bridge.wire.anthropic_codec import encode_model, encode_model_list

PATH = "/v1/models"
MAX_PAGE = 1000
"""Most models in one answer; also the default, so that nobody must ask for a second page."""

_CREATED_AT = "1970-01-01T00:00:00Z"
"""What Anthropic's API gives where the date of a model is not known."""


async def get_models(service: Service, request: HttpRequest, responder: Responder) -> None:
    """List the models that requests may name, the served one first; none where the engine takes any name.

    Each has a second entry under a name that begins with "claude": Claude Code's model picker shows no others.

    Raises:
        InvalidRequestError: ``limit`` is out of range, or ``before_id`` or ``after_id`` names none of them.
    """
    models = await _models(await service.bridge())
    aliases = [replace(model, id=ALIAS_PREFIX + model.id) for model in models if not model.id.startswith("claude")]
    page, has_more = _page([*models, *aliases], request.query)
    await responder.send(200, encode_model_list(page, has_more=has_more))


async def get_model(service: Service, request: HttpRequest, responder: Responder) -> None:
    """Describe one model.

    Raises:
        NotFoundError: the bridge serves no model of this name.
    """
    bridge = await service.bridge()
    models = await _models(bridge)
    requested = unquote(request.path.removeprefix(PATH + "/"))
    name = plain_name(requested)
    if not bridge.upstream.model:  # whether there is one, the engine says
        models.append(ModelInfo(id=name, display_name=name, created_at=_CREATED_AT))
    model = next((model for model in models if model.id == name), None)
    if model is None:
        raise NotFoundError(f"There is no model {name!r} here; this bridge serves {bridge.upstream.model!r}.")
    await responder.send(200, encode_model(replace(model, id=requested)))


def _page(models: Sequence[ModelInfo], query: str) -> tuple[Sequence[ModelInfo], bool]:
    """Return the part of a list that a query asks for, as Anthropic's API pages, and whether there is more."""
    parameters = {name: values[-1] for name, values in parse_qs(query.removeprefix("?")).items()}
    limit = parameters.get("limit", str(MAX_PAGE))
    if not (limit.isascii() and limit.isdigit() and 1 <= int(limit[:6]) <= MAX_PAGE):
        raise InvalidRequestError(f"limit: must be from 1 to {MAX_PAGE}")
    size = int(limit)
    if "before_id" in parameters:
        before = models[: _position(models, "before_id", parameters["before_id"])]
        return before[-size:], len(before) > size
    if "after_id" in parameters:
        models = models[_position(models, "after_id", parameters["after_id"]) + 1 :]
    return models[:size], len(models) > size


def _position(models: Sequence[ModelInfo], parameter: str, model_id: str) -> int:
    for position, model in enumerate(models):
        if model.id == model_id:
            return position
    raise InvalidRequestError(f"{parameter}: there is no model {model_id!r} here")


def _info(model: str, upstream: Upstream, max_input_tokens: int | None, max_tokens: int | None) -> ModelInfo:
    """Return what a client gets to know of a model, with the name that Claude Code's model picker shows."""
    shown = model if upstream.name == UNNAMED else f"{model} ({upstream.name})"
    return ModelInfo(
        id=model, display_name=shown, created_at=_CREATED_AT, max_input_tokens=max_input_tokens, max_tokens=max_tokens
    )


async def _models(bridge: AnyBridge) -> list[ModelInfo]:
    upstream = bridge.upstream
    models = {
        model.id: _info(model.id, upstream, model.context_window, model.max_output_tokens)
        for model in await bridge.offered()
        if model.tools is not False
    }
    if not upstream.model:
        return list(models.values())
    served = _info(upstream.model, upstream, upstream.window_tokens, upstream.max_output_tokens)
    return list(({served.id: served} | models | {served.id: served}).values())
