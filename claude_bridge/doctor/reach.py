"""Checks of the way to an engine: whether something answers there, and whether it is the engine that is meant."""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Callable, Sequence
from urllib.parse import urlsplit, urlunsplit

from claude_bridge.conversion.upstream_errors.translate import quote, refusal_words
from claude_bridge.doctor.finding import Finding, Subject, fail, ok, warn
from claude_bridge.errors import UpstreamBrokenError, UpstreamError, UpstreamTimeoutError
from claude_bridge.providers import PROVIDERS, usual_places
from claude_bridge.upstream.engines.catalog import Listing
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
    for kinds, seen, remedy in _UNREACHABLE:
        is_plain = root.scheme == "http" or UpstreamBrokenError not in kinds
        if is_plain and any(isinstance(cause, kinds) for cause in causes):
            return fail(REACHABLE, seen.format(address=address, host=root.hostname), remedy(subject, elsewhere))
    return fail(
        REACHABLE, error.message, "Check the proxy variables." if _PROXY.search(error.message) else "Check --base-url."
    )


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


_UNREACHABLE: tuple[tuple[tuple[type[BaseException], ...], str, Callable[[Subject, Sequence[Listing]], str]], ...]
_UNREACHABLE = (
    (
        (socket.gaierror,),
        "the host name {host!r} is unknown",
        lambda *_: "Check the spelling of --base-url, and the network.",
    ),
    (
        (ssl.SSLCertVerificationError,),
        "{address} has a certificate that is not trusted",
        lambda *_: "Trust the certificate's authority: export SSL_CERT_FILE=/path/to/authority.pem",
    ),
    ((ssl.SSLError,), "{address} does not use TLS", lambda subject, _: _with_other_scheme(subject, "http")),
    ((ConnectionRefusedError,), "{address} refuses connections: nothing listens there", _how_to_start),
    (
        (TimeoutError, UpstreamTimeoutError),
        "{address} does not answer in time",
        lambda *_: "Check the address, and whether a firewall or a VPN blocks it.",
    ),
    (
        (UpstreamBrokenError,),
        "{address} accepts connections, but does not answer in HTTP",
        lambda subject, _: f"If it uses TLS: {_with_other_scheme(subject, 'https')}",
    ),
)
"""Why there was no answer, by what the system reported: what that means, and the remedy. The first that fits counts."""


def check_stranger(subject: Subject, report: EngineReport, *, owner: str, elsewhere: Sequence[Listing]) -> Finding:
    """Judge answers that no engine gives. ``owner`` is who listens there, as in " by nginx (process 7)", or empty."""
    answers, found = report.answers, report.stranger
    busy = next((answer for answer in answers if answer.status in (429, 503) and not answer.is_page), None)
    if busy is not None:
        reason = quote(refusal_words(busy.body)) or f"status {busy.status}"
        return fail(ENGINE, f"it is not ready: {reason}", "Wait until its model is loaded, and try again.")
    if any(answer.status == 400 and b"https" in answer.body.lower() for answer in answers):
        remedy = _with_other_scheme(subject, "https")
        return fail(ENGINE, f"{subject.base_url} uses TLS, but its address begins with http:", remedy)
    seen = found.in_words + (f" (the port is taken{owner})" if owner else "")
    seen += "".join(f"; {one.engine} answers at {one.base_url}" for one in elsewhere[:1])
    if elsewhere:
        remedy = _other_address(subject, elsewhere)
    elif found.location:
        scheme, mark, _ = found.location.partition("://")
        remedy = subject.command(base_url=f"{scheme}://{place_of(found.location)}") if mark else "Check --base-url."
    elif (found.status or 0) >= 500:
        remedy = "Look at its log."
    else:
        remedy = f"Check --base-url. {usual_places()}"
    return fail(ENGINE, seen, remedy)


def check_engine(subject: Subject, report: EngineReport) -> Finding:
    """Judge whether it is the engine that the provider means."""
    if subject.provider == "ollama" and not report.is_ollama:
        remedy = subject.command("openai", base_url=report.base_url)
        return fail(ENGINE, f"{report.title}, not an Ollama: it has no /api/version", remedy)
    if subject.provider == "openai" and report.is_ollama:
        return ok(ENGINE, f"{report.title}; the bridge uses its own API, where the context window can be set")
    return ok(ENGINE, report.title)


def check_address(subject: Subject, report: EngineReport) -> Finding | None:
    """Judge the path of the address that was given, against the one where the API is; None: nothing to say."""
    configured, base_url = subject.base_url.rstrip("/"), report.base_url
    if configured == base_url or (report.is_ollama and configured.removesuffix("/v1") == base_url):
        return None
    remedy = subject.command(model=subject.model, base_url=base_url)
    if configured.endswith("/v1/v1"):
        return warn(ADDRESS, "--base-url has /v1 twice; the bridge drops one", remedy)
    if f"{configured}/v1" == base_url:
        return warn(ADDRESS, "--base-url lacks /v1; the bridge adds it", remedy)
    if configured.endswith("/v1"):
        return warn(ADDRESS, f"there is no /v1 here; the bridge drops it: the API is at {base_url}", remedy)
    return warn(ADDRESS, f"--base-url names more than the API's base, {base_url}", remedy)


def check_key(subject: Subject, answers: Sequence[ProbeAnswer]) -> Finding:
    """Judge whether the engine takes the key, or asks for one."""
    refused = next((answer for answer in answers if answer.status in (401, 403)), None)
    taken = any(answer.status == 200 for answer in answers)
    if refused is None or taken:
        return ok(KEY, "none needed" if subject.engine.api_key is None else "accepted")
    words = quote(refusal_words(refused.body))
    details = f" ({refused.status}: {words})" if words else f" ({refused.status})"
    export = f"export {subject.key_variable}=…  (or --api-key)"
    if subject.engine.api_key is not None:
        return fail(KEY, f"the key is not accepted{details}", f"{export} with a valid key")
    return fail(KEY, f"the engine asks for a key, and none was given{details}", export)


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
