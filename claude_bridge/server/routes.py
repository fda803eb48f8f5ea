"""(method, path) -> handler: the table of everything that a client can ask."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from claude_bridge.clients.claude_code import TELEMETRY_PATH
from claude_bridge.errors import MethodNotAllowedError, NotFoundError
from claude_bridge.server.access import check_content_type
from claude_bridge.server.app import Service
from claude_bridge.server.handlers import health, messages, metrics, models, page
from claude_bridge.server.http1 import HttpRequest, Responder
from claude_bridge.wire.admin_api import READY_PATH, STATS_PATH

RouteHandler = Callable[[Service, HttpRequest, Responder], Awaitable[None]]

# A path that ends in a slash (but for the root) stands for all paths below it. HEAD goes with every GET.
ROUTES: dict[str, dict[str, RouteHandler]] = {
    "/": {"GET": page.get_root},
    "/page/events": {"GET": page.get_events},
    "/page/settings": {"GET": page.get_settings},
    "/page/exchange/": {"GET": page.get_exchange},
    "/page/": {"GET": page.get_file},
    "/healthz": {"GET": health.get_health},
    READY_PATH: {"GET": health.get_ready},
    STATS_PATH: {"GET": health.get_stats},
    "/metrics": {"GET": metrics.get_metrics},
    "/v1/messages": {"POST": messages.post_messages},
    "/v1/messages/count_tokens": {"POST": messages.post_count_tokens},
    models.PATH: {"GET": models.get_models},
    f"{models.PATH}/": {"GET": models.get_model},
    TELEMETRY_PATH: {"POST": health.drop_telemetry},
}

_OPEN_TO_ALL = ("/", "/healthz")
_FOR_VIEWERS = "/page/"
"""What is below has a check of its own: of the page's key."""


_NOT_HERE = {"/v1/messages/batches": "batches", "/v1/files": "files", "/v1/skills": "skills"}
"""What Anthropic stores for clients and a bridge does not, by path prefix."""


def dispatch(service: Service, request: HttpRequest, responder: Responder) -> Awaitable[None]:
    """Return the answering of one request, to be awaited at once.

    Raises:
        BridgeError: it can't be answered; who may not ask is refused before anything else, the body too, is looked at.
    """
    if request.path not in _OPEN_TO_ALL and not request.path.startswith(_FOR_VIEWERS):
        service.check(request)
    handler = _handler(request)
    check_content_type(request.head)
    return handler(service, request, responder)


def _handler(request: HttpRequest) -> RouteHandler:
    methods = ROUTES.get(request.path) or _methods_below(request.path)
    if methods is None:
        raise NotFoundError(f"There is nothing at {request.path!r}.{_hint(request.path)}")
    method = "GET" if request.method == "HEAD" else request.method
    if method not in methods:
        allowed = (*methods, "HEAD") if "GET" in methods else tuple(methods)
        raise MethodNotAllowedError(f"{request.path} takes {' and '.join(allowed)}.", allowed=allowed)
    return methods[method]


def _methods_below(path: str) -> dict[str, RouteHandler] | None:
    folders = (folder for folder in ROUTES if folder.endswith("/") and folder != "/")
    return next((ROUTES[folder] for folder in folders if path.startswith(folder) and path != folder), None)


def _hint(path: str) -> str:
    if path.startswith("/v1/v1/"):
        return " ANTHROPIC_BASE_URL must not end in /v1."
    if path.endswith("/chat/completions"):
        return " This is a bridge for Anthropic's Messages API: POST /v1/messages."
    missing = next((name for prefix, name in _NOT_HERE.items() if path.startswith(prefix)), None)
    return f" A bridge has no {missing}: send each request to POST /v1/messages, complete in itself." if missing else ""
