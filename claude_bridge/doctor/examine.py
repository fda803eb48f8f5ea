"""All checks in the order in which a person would ask; each finding comes as soon as it is there, behind its step."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from urllib.parse import urlsplit

import anyio

from claude_bridge.app.notices import Notices
from claude_bridge.app.plan import WebPlan
from claude_bridge.app.web import AUTO, OFF, with_agreed_search
from claude_bridge.doctor import reach
from claude_bridge.doctor.finding import CheckStep, Finding, Severity, Subject, ok
from claude_bridge.doctor.machine import check_search, inspect_machine, is_near
from claude_bridge.doctor.model import check_model
from claude_bridge.doctor.probing import ALL_LIMIT_S, probe_model
from claude_bridge.providers import PROVIDERS, upstream_of
from claude_bridge.server.listener import describe_port_owner
from claude_bridge.server_tools.searching import TIMEOUT_S
from claude_bridge.upstream.engines.catalog import Listing, list_everywhere, local_engines
from claude_bridge.upstream.engines.detect import inspect_engine
from claude_bridge.upstream.engines.engine import Engine
from claude_bridge.upstream.engines.report import EngineReport
from claude_bridge.upstream.plain_http import speaks_plain_http
from claude_bridge.wire.addresses import reaches_this_machine
from claude_bridge.wire.urls import parse_url

ENGINE_LIMIT_S = 30.0
MACHINE_LIMIT_S = 15.0
"""What a few questions may take together at the most."""

ELSEWHERE_LIMIT_S = 2.0
PLAIN_LIMIT_S = 1.0


async def examine(
    subject: Subject, web: WebPlan, *, port: int, probe: bool
) -> AsyncGenerator[CheckStep | Finding, None]:
    """Check the engine, this machine, with ``probe`` the model itself, and the web search service.

    ``port`` is the bridge's.
    """
    yield CheckStep("Asking the engine", ENGINE_LIMIT_S)
    report, findings = await examine_engine(subject)
    for finding in findings:
        yield finding
    yield CheckStep("Looking at this machine", MACHINE_LIMIT_S)
    for finding in await inspect_machine(port, engine_host=urlsplit(subject.base_url).hostname or ""):
        yield finding
    if probe:
        yield CheckStep("Asking the model", ALL_LIMIT_S)
        async with aclosing(probe_model(subject, report)) as items:
            async for item in items:
                yield item
    agreed = await with_agreed_search(web, Notices())
    if agreed.search not in (OFF, AUTO):
        yield CheckStep("Searching the web", TIMEOUT_S)
        yield await check_search(agreed)


async def examine_engine(
    subject: Subject, *, usual: Sequence[Engine] | None = None
) -> tuple[EngineReport, list[Finding]]:
    """Return what the engine reports, and what that means; ``usual`` are others that may run (None: the usual ones)."""
    report = await _inspect(subject.engine)
    if report is None:
        return EngineReport(), [reach.no_tls(subject)]
    address = urlsplit(subject.base_url)
    is_here = reaches_this_machine(address.hostname or "")
    elsewhere: list[Listing] = []
    if is_here and report.profile is None:
        ollama = Engine(provider="ollama", upstream=upstream_of(PROVIDERS["ollama"], base_url=None, model=""))
        others = [ollama, *local_engines([subject.engine])] if usual is None else usual
        elsewhere, _ = await list_everywhere(others, limit_s=ELSEWHERE_LIMIT_S)
    owner = describe_port_owner(address.port or 80) if is_here else ""
    return report, list(check_report(subject, report, elsewhere=elsewhere, owner=owner))


async def _inspect(engine: Engine) -> EngineReport | None:
    """Return the engine's report, or None if it answers in plain HTTP at an address that says TLS.

    That is tried first: an engine that waits for the rest of a line answers a TLS handshake with silence.
    """
    url = parse_url(engine.upstream.base_url)
    if url.scheme == "https" and (reaches_this_machine(url.host) or is_near(url.host)):
        with anyio.move_on_after(PLAIN_LIMIT_S):
            if await speaks_plain_http(url):
                return None
    return await inspect_engine(engine.upstream, engine.api_key)


# --- the engine and its model, in the order in which a person would ask -------------------------------------------


def check_report(
    subject: Subject, report: EngineReport, *, elsewhere: Sequence[Listing] = (), owner: str = ""
) -> Iterator[Finding]:
    """Yield the findings; where one thing is broken, those that rest on it are left out.

    ``elsewhere`` are engines at the usual addresses, where nothing of use answers here; ``owner`` is who listens on
    the engine's port, as in " by nginx (process 7)", or empty.
    """
    reachable = reach.check_reachable(subject, report.answers, elsewhere=elsewhere)
    yield reachable
    if reachable.severity is Severity.FAIL:
        return
    engine = reach.check_engine(subject, report, owner=owner, elsewhere=elsewhere)
    yield engine
    if engine.severity is Severity.FAIL:
        return
    if report.is_ollama and report.version is not None:
        yield reach.check_version(report.version)
    address = reach.check_address(subject, report)
    if address is not None:
        yield address
    yield ok(reach.KEY, "none needed" if subject.engine.api_key is None else "accepted")
    yield from check_model(subject, report)
