"""Checks of the way to the engine: whether anything is there, which engine it is, and whether it takes the key."""

from __future__ import annotations

from collections.abc import Sequence
from shlex import quote as quote_for_shell
from urllib.parse import urlsplit

from claude_bridge.conversion.upstream_errors.translate import quote, refusal_words
from claude_bridge.doctor.answers import Answer, Trouble
from claude_bridge.doctor.facts import Kind
from claude_bridge.doctor.finding import Finding, broken, doubtful, fine
from claude_bridge.doctor.places import place_of
from claude_bridge.upstream.engines.ollama import OLDEST_VERSION, version_numbers
from claude_bridge.wire.addresses import reaches_this_machine

REACHABLE, ENGINE, ADDRESS, KEY, VERSION = "reachable", "engine", "address", "key", "version"

_START = {
    11434: "ollama serve",
    8080: "llama-server -m MODEL.gguf --jinja -c 32768",
    1234: "lms server start",
    8000: "vllm serve MODEL",
}
"""What starts the engine that usually listens on a port."""


def check_reachable(answers: Sequence[Answer], *, provider: str, elsewhere: Sequence[str]) -> Finding:
    """Judge whether anything answers at the address; ``elsewhere`` is what answers at the usual ones."""
    root = urlsplit(answers[0].url)
    address = f"{root.scheme}://{root.netloc}"
    answered = next((answer for answer in answers if answer.status is not None), None)
    if answered is not None:
        return fine(REACHABLE, f"{address} answers")
    trouble, words = answers[0].trouble, answers[0].words
    host = root.hostname or ""
    match trouble:
        case Trouble.REFUSED:
            return broken(
                REACHABLE,
                f"{address} refuses connections: nothing listens there",
                _start(host, root.port, provider, elsewhere),
            )
        case Trouble.UNKNOWN_HOST:
            return broken(
                REACHABLE, f"the host name {host!r} is unknown", "Check the spelling of --base-url, and the network."
            )
        case Trouble.CERTIFICATE:
            remedy = "Trust the certificate's authority: export SSL_CERT_FILE=/path/to/authority.pem"
            return broken(REACHABLE, f"{address} has a certificate that is not trusted", remedy)
        case Trouble.TLS:
            return broken(REACHABLE, f"{address} does not speak TLS", f"--base-url http://{root.netloc}")
        case Trouble.TIMEOUT:
            remedy = "Check the address, and whether a firewall or a VPN is in the way."
            return broken(REACHABLE, f"{address} does not answer in time", remedy)
        case Trouble.NO_HTTP if root.scheme == "http":
            remedy = f"If it speaks TLS: --base-url https://{root.netloc}"
            return broken(REACHABLE, f"{address} listens, but does not answer in HTTP", remedy)
        case _:
            return broken(REACHABLE, words or f"{address} can't be reached", "Check --base-url.")


def _start(host: str, port: int | None, provider: str, elsewhere: Sequence[str]) -> str:
    if elsewhere:
        return _other_address(elsewhere)
    if not reaches_this_machine(host):
        if provider == "ollama":
            return f"On {host}, let Ollama listen to others: OLLAMA_HOST=0.0.0.0 ollama serve"
        return f"Start the engine on {host}, and let it listen to others, not to 127.0.0.1 only."
    start = "ollama serve" if provider == "ollama" else _START.get(port or 0)
    return start or "Start the engine, or give its address: --base-url URL"


def _other_address(elsewhere: Sequence[str]) -> str:
    kind, _, url = elsewhere[0].partition(" at ")
    others = f" (also: {', '.join(elsewhere[1:])})" if elsewhere[1:] else ""
    return f"{kind} answers elsewhere: --base-url {url}{others}"


def check_stranger(answers: Sequence[Answer], *, provider: str, owner: str, elsewhere: Sequence[str]) -> Finding:
    """Judge answers that no engine gives. ``owner`` is who listens there, as in " by nginx (process 7)", or empty."""
    busy = next((answer for answer in answers if answer.status == 503 or (answer.status or 0) == 429), None)
    if busy is not None and not busy.is_page:
        words = quote(refusal_words(busy.body)) or f"status {busy.status}"
        return broken(ENGINE, f"it is not ready: {words}", "Wait until its model is loaded, and try again.")
    moved = next((answer for answer in answers if answer.location), None)
    shown = next((answer for answer in answers if answer.is_page), None)
    # A path that exists tells more than one that does not.
    best = shown or next((answer for answer in answers if answer.status not in (None, 404)), answers[-1])
    if moved is not None:
        place = place_of(moved.location) if "://" in moved.location else ""
        to = f"{moved.location.partition('://')[0]}://{place}" if place else "another path"
        seen = f"{moved.url} redirects to {to}"
        remedy = f"--base-url {quote_for_shell(to)}" if place else "Check --base-url."
    elif shown is not None:
        seen, remedy = f"{best.url} answers with a web page, not with JSON: this is no engine", ""
    elif best.status == 200:
        seen, remedy = f"{best.url} answers with something that is no model list: this is no engine", ""
    elif best.status is not None and best.status >= 500:
        seen, remedy = f"{best.url} answers {best.status}: {quote(refusal_words(best.body))}", "Look at its log."
    else:
        seen, remedy = f"{best.url} answers {best.status}: this is no engine that we know", ""
    if owner:
        seen += f" (the port is taken{owner})"
    if elsewhere:
        remedy = _other_address(elsewhere)
    return broken(ENGINE, seen, remedy or f"Check the port in --base-url. {_usual(provider)}")


def _usual(provider: str) -> str:
    if provider == "ollama":
        return "Ollama's usual one: --base-url http://localhost:11434"
    return "Usual ones: 11434 Ollama, 8080 llama.cpp, 1234 LM Studio, 8000 vLLM."


def check_engine(kind: Kind, version: str | None, base_url: str, *, provider: str) -> Finding:
    """Judge whether it is the engine that the provider means."""
    told = f"{kind} {version}" if version else str(kind)
    if provider == "ollama" and kind is not Kind.OLLAMA:
        return broken(
            ENGINE, f"{told}, and no Ollama: it has no /api/version", f"bridge doctor openai --base-url {base_url}"
        )
    if provider == "openai" and kind is Kind.OLLAMA:
        return fine(ENGINE, f"{told}; the bridge asks it through its own API, where the window can be set")
    return fine(ENGINE, told)


def check_address(given: str, base_url: str, kind: Kind) -> Finding | None:
    """Judge the path of the address that was given, against the one where the API is; None: nothing to say."""
    given = given.rstrip("/")
    if given == base_url or (kind is Kind.OLLAMA and given.removesuffix("/v1") == base_url):
        return None
    if given.endswith("/v1/v1"):
        return doubtful(ADDRESS, "/v1 stands twice in --base-url; the bridge drops one", f"--base-url {base_url}")
    if f"{given}/v1" == base_url:
        return doubtful(ADDRESS, "/v1 is missing in --base-url; the bridge adds it", f"--base-url {base_url}")
    if given.endswith("/v1"):
        return broken(ADDRESS, f"there is no /v1 here: the API is right under {base_url}", f"--base-url {base_url}")
    return doubtful(ADDRESS, f"--base-url names more than the API's base, {base_url}", f"--base-url {base_url}")


def check_key(answers: Sequence[Answer], *, has_key: bool, key_variable: str) -> Finding:
    """Judge whether the engine takes the key, or asks for one."""
    refused = next((answer for answer in answers if answer.status in (401, 403)), None)
    taken = any(answer.status == 200 for answer in answers)
    if refused is None or taken:
        return fine(KEY, "accepted" if has_key else "none needed")
    words = quote(refusal_words(refused.body))
    said = f" ({refused.status}: {words})" if words else f" ({refused.status})"
    if has_key:
        return broken(
            KEY, f"the key is not accepted{said}", f"export {key_variable}=…  (or --api-key) with a valid key"
        )
    return broken(KEY, f"a key is asked for, and none was given{said}", f"export {key_variable}=…  (or --api-key)")


def check_version(version: str) -> Finding:
    """Judge whether an Ollama is new enough."""
    oldest = ".".join(map(str, OLDEST_VERSION))
    if version_numbers(version) >= OLDEST_VERSION:
        return fine(VERSION, f"{version} (needed: {oldest})")
    return broken(
        VERSION,
        f"Ollama {version} is old: before {oldest} it cuts long prompts in silence",
        "Update it: curl -fsSL https://ollama.com/install.sh | sh  (or https://ollama.com/download)",
    )
