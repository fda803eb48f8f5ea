"""GET /stats: what the exchanges of this run came to."""

from __future__ import annotations

from claude_bridge.server.app import Service
from claude_bridge.server.http1 import HttpRequest, Responder
from claude_bridge.wire.admin_api import StatsReport, encode_stats


async def get_stats(service: Service, _request: HttpRequest, responder: Responder) -> None:
    """Report the sums by model and by session."""
    await responder.send(200, encode_stats(report_of(service)))


def report_of(service: Service) -> StatsReport:
    """Return the sums so far."""
    bridge = service.bridge_if_known
    serves = bridge.upstream.model if bridge else None
    waiting = service.queues.waiting
    return service.stats.report(running=service.running - waiting, waiting=waiting, serves=serves)
