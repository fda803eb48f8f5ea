"""Whether the bridge lives, whether its engine answers, and what all exchanges came to; telemetry goes nowhere."""

from __future__ import annotations

import anyio
from msgspec.structs import replace

from claude_bridge.errors import BridgeError
from claude_bridge.router import AnyBridge
from claude_bridge.server.app import Service
from claude_bridge.server.early_port import ALIVE
from claude_bridge.server.http1 import HttpRequest, Responder
from claude_bridge.version import __version__
from claude_bridge.wire.admin_api import Readiness, StatsReport, encode_readiness, encode_stats

READY_WITHIN_S = 3.0
"""How long an engine may take to answer a question for its models: a load balancer waits no longer."""


async def get_health(_service: Service, _request: HttpRequest, responder: Responder) -> None:
    """Report that the bridge is alive, without contacting the engine."""
    await responder.send(200, ALIVE)


async def get_ready(service: Service, _request: HttpRequest, responder: Responder) -> None:
    """Report whether the engine answers, and what is served; 503 while it does not."""
    bridge = service.bridge_if_known
    reason = None if bridge is None else await reason_not_ready(bridge)
    readiness = readiness_of(service, reason=reason)
    await responder.send(200 if readiness.ready else 503, encode_readiness(readiness))


async def reason_not_ready(bridge: AnyBridge) -> str | None:
    """Return why the engine can't answer now; None: it can."""
    with anyio.move_on_after(READY_WITHIN_S):
        try:
            await bridge.reach()
        except BridgeError as error:
            return error.message
        return None
    return f"{bridge.upstream.name} does not answer within {READY_WITHIN_S:.0f} s."


def readiness_of(service: Service, *, reason: str | None) -> Readiness:
    """Return what is served; ``reason`` says why the engine is not ready (None: it is)."""
    bridge = service.bridge_if_known
    if bridge is None:
        return Readiness(ready=False, version=__version__, reason="It is not known yet which engine this is.")
    readiness = bridge.upstream.readiness(small_model=bridge.small_model)
    return replace(readiness, ready=reason is None, reason=reason, web_search=service.web_search)


async def drop_telemetry(_service: Service, _request: HttpRequest, responder: Responder) -> None:
    """Accept what Claude Code reports to its maker, and send it nowhere."""
    await responder.send(200, b"{}")


async def get_stats(service: Service, _request: HttpRequest, responder: Responder) -> None:
    """Report the sums by model and by session."""
    await responder.send(200, encode_stats(report_of(service)))


def report_of(service: Service) -> StatsReport:
    """Return the sums so far."""
    bridge = service.bridge_if_known
    serves = bridge.upstream.model if bridge else None
    waiting = service.queues.waiting
    return service.stats.report(running=service.running - waiting, waiting=waiting, serves=serves)
