"""The live page at the bridge's own address: its files, its data, and the events that keep it up to date."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import parse_qs, unquote

import anyio
import msgspec
from anyio import to_thread

from claude_bridge.errors import AuthenticationError, NotFoundError
from claude_bridge.page import assets
from claude_bridge.page.live import LivePage
from claude_bridge.server.app import Service
from claude_bridge.server.handlers.health import readiness_of, reason_not_ready, report_of
from claude_bridge.server.http1 import EVENT_STREAM, ClientGoneError, HttpRequest, Responder
from claude_bridge.server.request_head import RequestHead, split_authority
from claude_bridge.trace.secrets import redacted

LOOK_S = 0.25
"""How often the page looks for what has changed, while somebody looks at it."""

STATUS_S = 2.0
HEALTH_S = 15.0
"""The time between two checks of the engine."""

KEEP_ALIVE_S = 15.0

_EXCHANGE_PATH = "/page/exchange/"
_HTML = "text/html; charset=utf-8"
_HEADERS = {
    "content-security-policy": assets.LIVE_POLICY,
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


async def get_root(service: Service, request: HttpRequest, responder: Responder) -> None:
    """Say which server this is; a browser gets the page, or is asked for its key.

    Raises:
        ForbiddenError: a page of another origin asks.
    """
    page = service.page
    if page is None or "text/html" not in request.headers.get("accept", "").lower():
        await responder.send(200, b"claude-bridge is running\n", content_type="text/plain; charset=utf-8")
        return
    service.access.check_page(request.head)
    given = parse_qs(request.query.removeprefix("?"))
    keys = [*given.get("key", ()), *given.get("token", ())]
    if any(page.opens(key) or service.access.is_the_token(key) for key in keys):
        # On to the address without the key: it does not stay in the history, nor in a picture of the screen.
        cookie = f"{_cookie_name(request.head)}={page.cookie}; HttpOnly; SameSite=Strict; Path=/"
        await responder.send(303, b"", content_type=_HTML, headers={**_HEADERS, "location": "/", "set-cookie": cookie})
    elif not keys and _may_see(service, page, request.head):
        await responder.send(200, assets.live_page(), content_type=_HTML, headers=_HEADERS)
    else:
        sign_in, policy = assets.sign_in_page()
        headers = {**_HEADERS, "content-security-policy": policy}
        await responder.send(401, sign_in, content_type=_HTML, headers=headers)


async def get_file(service: Service, request: HttpRequest, responder: Responder) -> None:
    """Send a file of the front end.

    Raises:
        NotFoundError: there is no such file.
    """
    _check(service, request)
    name = request.path.removeprefix("/page/")
    if name not in assets.NAMES:
        raise NotFoundError(f"There is nothing at {request.path!r}.")
    await responder.send(200, assets.text(name).encode(), content_type=assets.media_type(name), headers=_HEADERS)


async def get_exchange(service: Service, request: HttpRequest, responder: Responder) -> None:
    """Send one exchange in full.

    Raises:
        NotFoundError: it is not kept, or not any more.
    """
    page = _check(service, request)
    found = await to_thread.run_sync(page.trace.detail, unquote(request.path.removeprefix(_EXCHANGE_PATH)))
    if found is None:
        raise NotFoundError("This exchange is not kept any more.")
    detail, pool = found
    body = await to_thread.run_sync(msgspec.json.encode, {"detail": detail, "values": pool.values})
    await responder.send(200, body, headers=_HEADERS)


async def get_settings(service: Service, request: HttpRequest, responder: Responder) -> None:
    """Send what `bridge env` prints, in every form."""
    _check(service, request)
    bridge = service.bridge_if_known
    settings = service.client_settings(bridge) if bridge and service.client_settings else {}
    await responder.send(200, msgspec.json.encode(settings), headers=_HEADERS)


async def get_events(service: Service, request: HttpRequest, responder: Responder) -> None:
    """Stream what changes, until the viewer leaves or the bridge stops."""
    page = _check(service, request)
    headers = {name: value for name, value in _HEADERS.items() if name != "cache-control"}
    responder.start_stream(EVENT_STREAM, headers=headers)
    async with _watching(service, page), anyio.create_task_group() as tasks:
        tasks.start_soon(responder.cancel_when_client_leaves, tasks.cancel_scope)
        health = _Health(service)
        tasks.start_soon(health.watch)
        try:
            await _write_events(service, page, health, responder)
            await responder.end()
        except ClientGoneError:
            pass
        tasks.cancel_scope.cancel()


async def _write_events(service: Service, page: LivePage, health: _Health, responder: Responder) -> None:
    revision = 0
    status, status_at, written_at = b"", -STATUS_S, time.monotonic()
    await responder.write(b"retry: 2000\n\n")
    while not service.is_stopping:
        now, data = time.monotonic(), b""
        changed, revision = page.trace.changes(revision)
        if changed:
            data += b"event: exchanges\ndata: [%b]\n\n" % b",".join(changed)
        if now - status_at >= STATUS_S or changed:
            before, status, status_at = status, _status(service, health), now
            data += b"event: status\ndata: %b\n\n" % status if status != before else b""
        if not data and now - written_at >= KEEP_ALIVE_S:
            data = b": still here\n\n"
        if data:
            written_at = now
            await responder.write(data)
        await anyio.sleep(LOOK_S)


def _status(service: Service, health: _Health) -> bytes:
    bridge = service.bridge_if_known
    failures = [
        msgspec.structs.replace(failure, message=redacted(failure.message)) for failure in service.stats.failures
    ]
    return msgspec.json.encode(
        {
            **msgspec.to_builtins(health.readiness),
            "stats": report_of(service),
            "running": max(0, service.running - service.queues.waiting),
            "waiting": service.queues.waiting,
            "max_concurrent": service.queues.max_concurrent,
            "started_at_s": service.stats.started_at_s,
            "resting": sorted(bridge.resting.items()) if bridge else [],
            "failures": failures,
        }
    )


class _Health:
    """Whether the engine answers; checked only while somebody looks."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self.readiness = readiness_of(service, reason="The engine was not contacted yet.")

    async def watch(self) -> None:
        """Ask again and again."""
        while True:
            bridge = self._service.bridge_if_known
            if bridge is not None:
                reason = await reason_not_ready(bridge)
                self.readiness = readiness_of(self._service, reason=reason)
            await anyio.sleep(HEALTH_S if bridge is not None else LOOK_S)


@asynccontextmanager
async def _watching(service: Service, page: LivePage) -> AsyncIterator[None]:
    """Let the page take what happens while the context lasts: from the first viewer to the last."""
    page.viewers += 1
    try:
        if page.viewers == 1:
            page.begin()
            service.bus.attach(page.trace, so_far=[event for one in service.answers for event in one.recorder.so_far()])
            if page.trace_file is not None:
                await to_thread.run_sync(service.bus.settle)  # so that all before is in the file
                await to_thread.run_sync(page.trace.begin, page.trace_file)
        yield
    finally:
        page.viewers -= 1
        if page.viewers == 0:
            close = service.bus.detach(page.trace)  # at once: a page that is loaded anew is attached in a moment
            with anyio.CancelScope(shield=True):
                await to_thread.run_sync(close)


def _check(service: Service, request: HttpRequest) -> LivePage:
    """Return the page, if this client may see it.

    Raises:
        NotFoundError: there is none.
        ForbiddenError: a page of another origin asks.
        AuthenticationError: it has neither the cookie nor the token.
    """
    if service.page is None:
        raise NotFoundError(f"There is nothing at {request.path!r}: this bridge was started without a page.")
    service.access.check_page(request.head)
    if not _may_see(service, service.page, request.head):
        raise AuthenticationError("This page needs the key of this run: open the address that the bridge has printed.")
    return service.page


def _may_see(service: Service, page: LivePage, head: RequestHead) -> bool:
    if service.access.has_token(head):
        return True
    pairs = (pair.strip().partition("=") for pair in head.headers.get("cookie", "").split(";"))
    return any([page.is_cookie(value) for name, _, value in pairs if name == _cookie_name(head)])  # noqa: C419 - time tells nothing


def _cookie_name(head: RequestHead) -> str:
    """Return the name of the cookie, with the port: browsers send a host's cookies to all of its ports."""
    authority = split_authority(head.headers.get("host", ""))
    return f"claude-bridge-{(authority[1] if authority else None) or 80}"
