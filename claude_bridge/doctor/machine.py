"""Checks of this machine: configuration, proxies, the bridge's port, Claude Code, its settings, and web searches."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import aclosing
from ipaddress import ip_address
from pathlib import Path

import anyio
from msgspec import Struct

from claude_bridge.app.claude_program import settings_files
from claude_bridge.app.plan import WebPlan
from claude_bridge.app.web import where_queries_go
from claude_bridge.clients.claude_code import KEY_VARIABLES, OTHER_SERVICES
from claude_bridge.doctor.finding import Finding, fail, ok, warn
from claude_bridge.doctor.reach import place_of
from claude_bridge.errors import SetupError, UpstreamError
from claude_bridge.providers import engine_words
from claude_bridge.server.listener import describe_port_owner
from claude_bridge.server_tools.result_texts import ToolError
from claude_bridge.server_tools.searching import searcher_for
from claude_bridge.server_tools.tools import SearchQuery
from claude_bridge.upstream.client import UpstreamClient
from claude_bridge.wire.addresses import reaches_this_machine
from claude_bridge.wire.admin_api import Readiness
from claude_bridge.wire.lenient_json import as_object, object_in

PROXY, BRIDGE, PORT = "proxy", "bridge", "bridge port"
CLIENT, SETTINGS, CONFIGURATION, WEB_SEARCH = "Claude Code", "client settings", "configuration", "web search"

_PROXY_VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
"""Measured with Claude Code 2.1: each one of them swallows http://127.0.0.1, and NO_PROXY=localhost does not help."""

LOOK_TIMEOUT_S = 5.0

QUERY = "Python programming language"
"""What every service finds something for."""


class SettingsFile(Struct, frozen=True):
    """A settings file of Claude Code: its name as a person writes it, and its ``env``; None: it can't be read."""

    name: str
    env: Mapping[str, str] | None


async def inspect_machine(port: int, *, engine_host: str) -> list[Finding]:
    """Return the findings about this machine. Settings are read, never written."""
    return [
        check_proxy(os.environ, engine_host=engine_host),
        await _examine_port(port),
        await _examine_client(),
        *check_settings(os.environ, list(_settings_files()), bridge_url=f"http://127.0.0.1:{port}"),
    ]


def check_configuration(
    file: str, *, is_there: bool, mistakes: Sequence[str], doubts: Sequence[str], look: str = "bridge config check"
) -> Finding:
    """Judge whether the configuration can be used; mistakes and doubts are sentences that name their place.

    ``look`` is the command that checks it again.
    """
    if mistakes:
        more = f" (and {len(mistakes) - 1} more)" if len(mistakes) > 1 else ""
        return fail(CONFIGURATION, f"{mistakes[0]}{more}; the other checks ignore the file", look)
    if doubts:
        return warn(CONFIGURATION, "; ".join(doubts), look)
    return ok(CONFIGURATION, file if is_there else "none, and none is needed")


def check_proxy(environment: Mapping[str, str], *, engine_host: str) -> Finding:
    """Judge whether proxy variables would swallow what goes to a bridge on this machine, or to an engine nearby."""
    set_names = [
        name for upper in _PROXY_VARIABLES for name in (upper, upper.lower()) if environment.get(name, "").strip()
    ]
    if not set_names:
        return ok(PROXY, "none set")
    exempt = [
        part.strip().partition(":")[0].lstrip(".").lower()
        for name in ("NO_PROXY", "no_proxy")
        for part in environment.get(name, "").replace(" ", ",").split(",")
    ]
    needs_exemption = is_near(engine_host)
    if "*" in exempt or ("127.0.0.1" in exempt and (not needs_exemption or engine_host.lower() in exempt)):
        return ok(PROXY, f"{set_names[0]} is set, and this machine is exempt")
    place = place_of(environment[set_names[0]])
    if "127.0.0.1" in exempt:
        return warn(
            PROXY,
            f"{set_names[0]} sends what is meant for the engine at {engine_host} to the proxy {place}",
            f'export NO_PROXY="{engine_host},$NO_PROXY"',
        )
    return fail(
        PROXY,
        f"{set_names[0]} sends what is meant for the bridge at 127.0.0.1 to the proxy {place}",
        f'export NO_PROXY="localhost,127.0.0.1{f",{engine_host}" if needs_exemption else ""}${{NO_PROXY:+,$NO_PROXY}}"',
    )


def is_near(host: str) -> bool:
    """Return whether the host is another machine of one's own network, which a proxy hardly reaches."""
    try:
        address = ip_address(host)
    except ValueError:
        is_local_name = "." not in host or host.endswith((".local", ".lan", ".internal", ".home.arpa"))
        return bool(host) and is_local_name and not reaches_this_machine(host)
    return address.is_private and not address.is_loopback


def check_served(served: Readiness) -> Finding:
    """Judge what a running bridge reports about itself; what follows are checks of its engine."""
    what = f"{served.model or 'any model'} on {engine_words(served.upstream, served.kind)} at {served.base_url}"
    if served.ready:
        return ok(BRIDGE, f"running; serves {what}")
    reason = served.reason or "its engine does not answer"
    return warn(BRIDGE, f"running, but not ready to serve {what}: {reason}", "The checks below look for the cause.")


def check_port(port: int, *, is_free: bool, is_bridge: bool = False, owner: str = "") -> Finding:
    """Judge whether the bridge can listen. ``owner`` is who does, as in " by nginx (process 7)", or empty."""
    if is_free:
        return ok(PORT, f"{port} is free")
    if is_bridge:
        return ok(PORT, f"a bridge listens on {port} already")
    return fail(PORT, f"{port} is taken{owner}", f"bridge serve … --port {port + 1}")


def check_client(version: str | None, *, is_found: bool) -> Finding:
    """Judge whether Claude Code is there. ``version`` None: it does not tell."""
    if not is_found:
        remedy = "npm install -g @anthropic-ai/claude-code  (other clients need no Claude Code)"
        return warn(CLIENT, "no `claude` on PATH", remedy)
    if version is None:
        return warn(CLIENT, "found, but `claude --version` does not answer", "Run: claude --version")
    return ok(CLIENT, version)


def check_settings(environment: Mapping[str, str], files: list[SettingsFile], *, bridge_url: str) -> list[Finding]:
    """Judge what would keep Claude Code from the bridge: keys are named, never shown.

    What is set in a settings file wins over the environment of the shell.
    """
    findings = [
        warn(SETTINGS, f"{file.name} can't be read as JSON", "Fix it: Claude Code ignores the file, or stops.")
        for file in files
        if file.env is None
    ]
    for source in (SettingsFile("", environment), *files):
        findings += _overrides(source, bridge_url)
    return findings or [ok(SETTINGS, "nothing overrides the bridge")]


def _overrides(source: SettingsFile, bridge_url: str) -> Iterator[Finding]:
    """Yield what of a settings file, or of the shell (which has no name), keeps Claude Code from the bridge."""
    file, env = source.name, source.env or {}

    def remedy(variable: str, command: str) -> str:
        return f"Remove {variable} from `env` in {file}." if file else command

    for name in OTHER_SERVICES:
        if _is_on(env.get(name)):
            where = f"in {file}" if file else "is set"
            yield fail(SETTINGS, f"{name} {where}: Claude Code would not use the bridge", remedy(name, f"unset {name}"))
    base_url = env.get("ANTHROPIC_BASE_URL", "").strip()
    if base_url and not _is_same_place(base_url, bridge_url):
        place, export = place_of(base_url) or "no address", f"export ANTHROPIC_BASE_URL={bridge_url}"
        if file:
            seen = f"ANTHROPIC_BASE_URL in {file} is {place}: it wins over the shell's"
            yield fail(SETTINGS, seen, remedy("ANTHROPIC_BASE_URL", export))
        else:
            yield warn(SETTINGS, f"ANTHROPIC_BASE_URL is {place}, not the bridge", export)
    for name in KEY_VARIABLES if file else ("ANTHROPIC_API_KEY",):
        if env.get(name, "").strip():
            what = f"in {file} is sent to the bridge in place of the shell's" if file else "is sent to the bridge"
            yield warn(SETTINGS, f"{name} {what}", remedy(name, f"export {name}="))


def _is_on(value: str | None) -> bool:
    return (value or "").strip().lower() not in ("", "0", "false", "no", "off")


def _is_same_place(url: str, other: str) -> bool:
    return place_of(url).replace("localhost", "127.0.0.1") == place_of(other).replace("localhost", "127.0.0.1")


# --- what the checks look at ---------------------------------------------------------------------------------------


async def _examine_port(port: int) -> Finding:
    try:
        listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=port)
    except OSError:
        pass
    else:
        await listener.aclose()
        return check_port(port, is_free=True)
    is_bridge = False
    with anyio.move_on_after(LOOK_TIMEOUT_S):
        try:
            async with UpstreamClient(f"http://127.0.0.1:{port}", api_key=None, name="It") as client:
                document = await client.fetch("/", timeout_s=LOOK_TIMEOUT_S)
            is_bridge = document.body.startswith(b"claude-bridge is running")
        except UpstreamError:
            pass
    return check_port(port, is_free=False, is_bridge=is_bridge, owner=describe_port_owner(port))


async def _examine_client() -> Finding:
    program = shutil.which("claude")
    if program is None:
        return check_client(None, is_found=False)
    version = None
    with anyio.move_on_after(LOOK_TIMEOUT_S):
        try:
            done = await anyio.run_process([program, "--version"], check=False)
            if done.returncode == 0:
                version = done.stdout.decode("utf-8", "replace").strip().partition("\n")[0] or None
        except OSError:
            pass
    return check_client(version, is_found=True)


def _settings_files() -> Iterator[SettingsFile]:
    for path, settings in settings_files():
        env = {name: str(value) for name, value in object_in(as_object(settings), "env").items()}
        yield SettingsFile(_short(path), None if settings is None else env)


def _short(path: Path) -> str:
    """Return the path as a person writes it."""
    if path.is_relative_to(Path.cwd()):
        return str(path.relative_to(Path.cwd()))
    return f"~/{path.relative_to(Path.home())}" if path.is_relative_to(Path.home()) else str(path)


# --- searches of the web -------------------------------------------------------------------------------------------


def untried_search(choice: str, why: SetupError) -> Finding:
    """Return that the running bridge searches by a service that can't be tried from here."""
    return warn(WEB_SEARCH, f"the running bridge searches by {choice}, which can't be tried here: {why.what}", why.hint)


async def check_search(plan: WebPlan) -> Finding:
    """Search once with the configured service."""
    searcher = searcher_for(plan.search, plan.search_key)
    assert searcher is not None, "a service is chosen"
    async with aclosing(searcher):
        started_at = time.monotonic()
        try:
            hits, _ = await searcher.search(SearchQuery(text=QUERY, count=5))
        except ToolError as error:
            remedy = f"Check {where_queries_go(plan)}, or choose another service: --web-search"
            return fail(WEB_SEARCH, (error.reason or error.code).rstrip("."), remedy)
    if not hits:
        return warn(WEB_SEARCH, f"{searcher.name} finds nothing for {QUERY!r}", "Check which engines it searches.")
    seconds = time.monotonic() - started_at
    found = "1 result" if len(hits) == 1 else f"{len(hits)} results"
    return ok(WEB_SEARCH, f"{searcher.name}: {found} in {seconds:.1f} s; queries go to it")
