"""Checks of the way to an engine: whether something answers there, and whether it is the engine that is meant."""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Callable, Sequence
from urllib.parse import urlsplit, urlunsplit

from claude_bridge.doctor.finding import Finding, Subject, fail, ok, warn
from claude_bridge.errors import SetupError, UpstreamBrokenError, UpstreamError, UpstreamTimeoutError
from claude_bridge.providers import PROVIDERS
from claude_bridge.upstream.client import advice_on
from claude_bridge.upstream.engines.catalog import Listing
from claude_bridge.upstream.engines.discover import no_engine, require_engine
from claude_bridge.upstream.engines.ollama import OLDEST_VERSION, version_numbers
from claude_bridge.upstream.engines.report import EngineReport, ProbeAnswer
from claude_bridge.upstream.network import causes_of
from claude_bridge.wire.addresses import reaches_this_machine

REACHABLE, ENGINE, ADDRESS, KEY, VERSION = "reachable", "engine", "address", "key", "version"

_START = {urlsplit(row.base_url).port: row.start_command for row in PROVIDERS.values() if row.start_command is not None}
"""What starts the engine that usually listens on a port."""


_PROXY = re.compile(r"\bproxy\b")


def place_of(url: str) -> str:
    """Return the host and port of a URL, with or without its scheme, or an empty text if it has none.

    Passwords, paths and queries are left out, so that it may be shown.
    """
    try:
        return urlsplit(url if "://" in url else f"//{url}").netloc.rpartition("@")[2]
    except ValueError:  # half an IPv6 address
        return ""


def check_reachable(subject: Subject, answers: Sequence[ProbeAnswer], *, elsewhere: Sequence[Listing]) -> Finding:
    """Judge whether anything answers at the address; ``elsewhere`` are the engines at the usual ones."""
    root = urlsplit(subject.base_url)
    address = f"{root.scheme}://{root.netloc}"
    if any(answer.status is not None for answer in answers):
        return ok(REACHABLE, f"{address} answers")
    error = answers[0].error or UpstreamError(f"{address} can't be reached.")
    causes = list(causes_of(error))
    seen = error.message.partition(". ")[0].removesuffix(".")  # what follows are remedies
    for kinds, remedy in _UNREACHABLE:
        is_plain = root.scheme == "http" or UpstreamBrokenError not in kinds
        if is_plain and any(isinstance(cause, kinds) for cause in causes):
            return fail(REACHABLE, seen, remedy(subject, elsewhere))
    return fail(REACHABLE, seen, "Check the proxy variables." if _PROXY.search(seen) else "Check --base-url.")


def no_tls(subject: Subject) -> Finding:
    """Return that the address was given as https, and answers in plain HTTP."""
    root = urlsplit(subject.base_url)
    return fail(REACHABLE, f"{root.scheme}://{root.netloc} does not use TLS", _with_other_scheme(subject, "http"))


def _with_other_scheme(subject: Subject, scheme: str) -> str:
    return subject.command(base_url=urlunsplit(urlsplit(subject.base_url)._replace(scheme=scheme)))


def _how_to_start(subject: Subject, elsewhere: Sequence[Listing]) -> str:
    if elsewhere:
        return _other_address(subject, elsewhere)
    root = urlsplit(subject.base_url)
    host = root.hostname or ""
    if not reaches_this_machine(host):
        if subject.provider == "ollama":
            return f"On {host}, let Ollama accept connections from other machines: OLLAMA_HOST=0.0.0.0 ollama serve"
        return f"Start the engine on {host}, and let it listen on all addresses, not on 127.0.0.1 only."
    start = "ollama serve" if subject.provider == "ollama" else _START.get(root.port)
    return start or "Start the engine, or give its address: --base-url URL"


def _other_address(subject: Subject, elsewhere: Sequence[Listing]) -> str:
    first, *others = elsewhere
    more = f"  (also: {', '.join(f'{one.engine} at {one.base_url}' for one in others)})" if others else ""
    return f"{subject.command(first.provider, base_url=first.base_url)}{more}"


_UNREACHABLE: tuple[tuple[tuple[type[BaseException], ...], Callable[[Subject, Sequence[Listing]], str]], ...] = (
    ((socket.gaierror,), lambda *_: "Check the spelling of --base-url, and the network."),
    (
        (ssl.SSLCertVerificationError,),
        lambda *_: "Trust the certificate's authority: export SSL_CERT_FILE=/path/to/authority.pem",
    ),
    ((ssl.SSLError,), lambda subject, _: _with_other_scheme(subject, "http")),
    ((ConnectionRefusedError,), _how_to_start),
    ((TimeoutError, UpstreamTimeoutError), lambda *_: "Check the address, and whether a firewall or a VPN blocks it."),
    ((UpstreamBrokenError,), lambda subject, _: f"If it uses TLS: {_with_other_scheme(subject, 'https')}"),
)
"""The remedy where there was no answer, by what the system reported. The first that fits counts."""


def check_engine(subject: Subject, report: EngineReport, *, owner: str, elsewhere: Sequence[Listing]) -> Finding:
    """Judge whether it is the engine that is meant, and takes the key.

    ``owner`` is who listens there, as in " by nginx (process 7)", or empty.
    """
    try:
        require_engine(report, subject.engine)
        if report.profile is None:
            raise no_engine(report, subject.engine.upstream)
    except UpstreamError as error:
        return fail(ENGINE, error.message.rstrip("."), advice_on(error))
    except SetupError as error:
        seen, remedy = error.what.rstrip("."), error.hint
    else:
        own_api = "; the bridge uses its own API, where the context window can be set"
        return ok(ENGINE, report.title + own_api * (subject.provider == "openai" and report.is_ollama))
    if report.profile is not None:
        return fail(ENGINE, seen, remedy)
    if any(answer.status in (401, 403) for answer in report.answers):
        return fail(KEY, seen, remedy)
    if any(answer.status == 400 and b"https" in answer.body.lower() for answer in report.answers):
        seen = f"{subject.base_url} uses TLS, but its address begins with http:"
        return fail(ENGINE, seen, _with_other_scheme(subject, "https"))
    seen += f" (the port is taken{owner})" if owner else ""
    if not elsewhere:
        return fail(ENGINE, seen, remedy)
    seen += f"; {elsewhere[0].engine} answers at {elsewhere[0].base_url}"
    return fail(ENGINE, seen, _other_address(subject, elsewhere))


def check_address(subject: Subject, report: EngineReport) -> Finding | None:
    """Judge the path of the address that was given, against the one where the API is; None: nothing to say."""
    configured, base_url = subject.base_url.rstrip("/"), report.base_url
    if configured == base_url or (report.is_ollama and configured.removesuffix("/v1") == base_url):
        return None
    remedy = subject.command(model=subject.model, base_url=base_url)
    if configured.endswith("/v1/v1"):
        return warn(ADDRESS, "--base-url has /v1 twice; the bridge drops one", remedy)
    if f"{configured}/v1" == base_url:
        return ok(ADDRESS, f"the API is at {base_url}; the bridge adds /v1")
    if configured.endswith("/v1"):
        return warn(ADDRESS, f"there is no /v1 here; the bridge drops it: the API is at {base_url}", remedy)
    return warn(ADDRESS, f"--base-url names more than the API's base, {base_url}", remedy)


def check_version(version: str) -> Finding:
    """Judge whether an Ollama is new enough."""
    oldest = ".".join(map(str, OLDEST_VERSION))
    if version_numbers(version) >= OLDEST_VERSION:
        return ok(VERSION, f"{version} (at least {oldest} is needed)")
    return fail(
        VERSION,
        f"Ollama {version} is too old: before {oldest} it cuts long prompts in silence",
        "Update it: curl -fsSL https://ollama.com/install.sh | sh  (or https://ollama.com/download)",
    )
