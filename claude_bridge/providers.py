"""Provider rows: where an upstream is, which API it speaks, which variable holds its key; and what a row becomes."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from urllib.parse import urlsplit

from msgspec import Struct
from msgspec.structs import replace

from claude_bridge.adapters import ADAPTERS
from claude_bridge.adapters.base import Adapter, EngineModel, TokenLimits
from claude_bridge.adapters.engine_profiles import PROFILES, UNKNOWN, profile_by_host, profile_in_api
from claude_bridge.conversion.pricing import Prices
from claude_bridge.conversion.profile import Profile
from claude_bridge.conversion.reasoning import ThinkMode
from claude_bridge.data_files import read_rows
from claude_bridge.errors import SetupError
from claude_bridge.request_settings import RequestSettings
from claude_bridge.version import __version__
from claude_bridge.wire.admin_api import Readiness
from claude_bridge.wire.urls import DEFAULT_PORTS, InvalidUrlError, key_in_query, parse_url


class Provider(Struct, frozen=True, kw_only=True):
    """One place to ask. ``kind`` is a key of ADAPTERS; ``key_variable`` names an environment variable."""

    name: str
    display_name: str
    kind: str
    base_url: str
    key_variable: str
    needs_key: bool = True
    default_path: str = ""
    """The path of an address that is given without one."""
    regional_url: str | None = None
    """The address in the region that AWS_REGION names, with {} in its place; None: it is the same everywhere."""
    kind_elsewhere: str | None = None
    """The API at other addresses, where it is an older one that more engines speak; None: the same."""
    is_any_engine: bool = False
    """Whether the name stands for every engine that speaks this API, so that at another address it is not this one."""
    has_client_login: bool = False
    """Whether clients bring a login of their own for this service."""
    base_url_variable: str | None = None
    """An environment variable with another address, perhaps without scheme or port."""
    start_command: str | None = None
    """How users start the engine on their own machine; None: it runs elsewhere."""
    profile: Profile = UNKNOWN
    """What is known about the engine beforehand; asking it may add to that."""


class Upstream(Struct, frozen=True, kw_only=True):
    """An engine as the bridge uses it. None in a limit or for the prices means not known.

    An empty ``model`` leaves it to each request, which only a pass-through adapter can.
    """

    name: str
    base_url: str
    model: str
    adapter: Adapter
    profile: Profile
    max_output_tokens: int | None = None
    window_tokens: int | None = None
    window_is_given: bool = False
    """Whether the user gave the window; else the engine itself reported it."""
    rereads_window: bool = False
    """Whether the window is known only once the engine has loaded the model for a request of the bridge.

    That is Ollama's Messages route, which cuts longer prompts in silence.
    """
    slots: int | None = None
    """How many requests the engine answers at a time, where it reports that."""
    prices: Prices | None = None
    forwards_client_auth: bool = False
    """Whether the client's own login is forwarded: to its own service alone, and only while the bridge has no key."""
    think: ThinkMode = "auto"
    """Whether requests think: as the client asks, always, or never."""
    settings_of: Callable[[str], RequestSettings] = lambda _: RequestSettings()
    """What the user wants of every request to a model, by its name."""
    notes: tuple[str, ...] = ()
    """What the user should know of it, found out at the start."""

    @property
    def settings(self) -> RequestSettings:
        """What the user wants of every request to the model."""
        return self.settings_of(self.model)

    @property
    def engine_model(self) -> EngineModel:
        """The upstream as its adapter must know it."""
        limits = TokenLimits(
            max_output_tokens=self.max_output_tokens,
            window_tokens=self.window_tokens,
            may_cut_prompts=self.window_is_given or self.rereads_window,
        )
        where = f"{self.name} at {self.base_url}"
        return EngineModel(where=where, model=self.model, profile=self.profile, limits=limits)

    def readiness(self, *, small_model: str | None) -> Readiness:
        """Return what a bridge to it reports while the engine answers; ``small_model`` None: it has no other model."""
        return Readiness(
            ready=True,
            version=__version__,
            upstream=self.name,
            kind=self.adapter.kind,
            base_url=self.base_url,
            model=self.model or None,
            small_model=small_model,
            window_tokens=self.window_tokens,
            max_output_tokens=self.max_output_tokens,
            slots=self.slots,
            forwards_client_auth=self.forwards_client_auth,
        )

    def with_given_limits(self, *, window_tokens: int | None, max_output_tokens: int | None) -> Upstream:
        """Return the upstream with the limits that the user gave (None: none).

        A window that was set before the engine was inspected stays as it is: the engine may have lowered it.
        """
        takes_window = window_tokens is not None and not self.window_is_given
        return replace(
            self,
            max_output_tokens=max_output_tokens or self.max_output_tokens,
            window_tokens=window_tokens if takes_window else self.window_tokens,
            window_is_given=self.window_is_given or takes_window,
        )

    def as_learned(self, engine: EngineModel) -> Upstream:
        """Return the upstream with what its answers have shown."""
        limits = engine.limits
        return replace(
            self,
            profile=engine.profile,
            max_output_tokens=limits.max_output_tokens,
            window_tokens=limits.window_tokens,
        )


UNNAMED = "The engine"
"""The name of an engine that does not say what it is, as errors begin with it."""

_ANY_ENGINE = {
    "openai-chat": "an OpenAI-compatible engine",
    "openai-responses": "an engine with OpenAI's Responses API",
    "anthropic-messages": "an engine with Anthropic's API",
    "ollama-chat": "an engine with Ollama's API",
}

_VERSION = re.compile(r" v?\d\S*$")

LOCAL = "local"
"""The provider that is no address: llama.cpp, in a process that the bridge starts."""

PROVIDERS: dict[str, Provider] = {
    name: Provider(**{**row, "name": name, "profile": PROFILES[row.get("profile", "UNKNOWN")]})
    for name, row in read_rows("providers.toml").items()
}
"""Every provider by its name on the command line."""


def usual_places() -> str:
    """Return a sentence that says where engines listen on a user's own machine."""
    rows = [row for row in PROVIDERS.values() if urlsplit(row.base_url).scheme == "http"]
    return f"Usual ones: {', '.join(f'{row.base_url} for {row.display_name}' for row in rows)}."


def start_command_of(engine: str) -> str | None:
    """Return how users start this engine, named with or without its version; None: it runs elsewhere, or unknown."""
    name = _VERSION.sub("", engine)
    return next((row.start_command for row in PROVIDERS.values() if row.display_name == name), None)


def engine_words(name: str | None, kind: str | None) -> str:
    """Return which engine it is, as in "on …"; one that does not say its name is described by its API."""
    return _ANY_ENGINE.get(kind or "", UNNAMED) if name in (None, UNNAMED) else name


_WRONG_SCHEME = re.compile(r"^(?:\w+://|https?(?::/*|/+))")
"""A scheme in front of the host of an address, with or without typing mistakes."""


def base_url_from(value: str) -> str:
    """Return the address that a variable such as OLLAMA_HOST means: the scheme and the port may be missing.

    Quotes around it are passed over, as Ollama does: they come from files that no shell has read.
    """
    scheme, separator, rest = value.strip().strip("\"'").strip().partition("://")
    if not separator:
        scheme, rest = "http", scheme
    address, slash, path = rest.rstrip("/").partition("/")
    host, colon, port = address.rpartition(":") if not address.endswith("]") else (address, "", "")
    if not colon:
        host, port = address, {"https": "443"}.get(scheme, "11434")
    if host in ("", "0.0.0.0", "[::]"):  # noqa: S104 - where a server listens, not where clients connect
        host = "127.0.0.1"
    return f"{scheme}://{host}:{port}{slash}{path}"


def secret_in(base_url: str) -> str | None:
    """Return which secret an address holds, which error texts and logs would show: "a password", for one."""
    if "@" in base_url.partition("://")[2].partition("/")[0]:
        return "a password"
    name = key_in_query(base_url)
    return f"a key in its query ({name})" if name else None


def is_address(base_url: str) -> bool:
    """Return whether this is a whole HTTP address."""
    try:
        return parse_url(base_url).scheme in DEFAULT_PORTS
    except InvalidUrlError:
        return False


def likely_address(given: str, otherwise: str) -> str:
    """Return the address that was probably meant by an invalid one; ``otherwise`` if there is no good guess."""
    scheme = "https" if given.startswith("https") else "http"
    address = f"{scheme}://{_WRONG_SCHEME.sub('', given.strip())}"
    return address if is_address(address) else otherwise


def profile_at(base_url: str, kind: str) -> tuple[str, Profile] | None:
    """Return the name and the profile of the service at this address; None for a host that is nobody's."""
    host = urlsplit(base_url).hostname or ""
    if service := profile_by_host(host, kind):
        return service.name, service
    row = _service_at(host, (kind,))
    return (row.display_name, row.profile) if row else None


def _service_at(host: str, kinds: Collection[str]) -> Provider | None:
    rows = (row for row in PROVIDERS.values() if row.kind in kinds and row.base_url.startswith("https:"))
    return next((row for row in rows if host == urlsplit(row.base_url).hostname), None)


def _kind_at(provider: Provider, base_url: str) -> str:
    """Return which API is spoken at an address that was given for a provider."""
    if provider.kind_elsewhere is None:
        return provider.kind
    row = _service_at(urlsplit(base_url).hostname or "", (provider.kind, provider.kind_elsewhere))
    return row.kind if row else provider.kind_elsewhere


def with_api(upstream: Upstream, kind: str) -> Upstream:
    """Return the upstream as it is used through another API; what a row knows of its own API does not hold there.

    Raises:
        SetupError: there is no such API.
    """
    if kind not in ADAPTERS:
        raise SetupError(f"There is no API {kind!r}.", f"Known APIs: {', '.join(ADAPTERS)}.")
    if kind == upstream.adapter.kind:
        return upstream
    profile = profile_in_other_api(upstream.profile, upstream.adapter.kind, kind)
    return replace(upstream, adapter=ADAPTERS[kind], profile=profile)


def profile_in_other_api(profile: Profile, kind: str, other_kind: str) -> Profile:
    """Return what of a profile holds in another API: what is known of an engine is about its own, or OpenAI's both."""
    is_openai = {kind, other_kind} <= {"openai-chat", "openai-responses"}
    return profile_in_api(profile, other_kind) if is_openai else UNKNOWN


def upstream_of(provider: Provider, *, base_url: str | None, model: str) -> Upstream:
    """Return the upstream that a row means, before any request.

    At another address than the row's own there may be any engine that speaks its API: nothing is assumed of it,
    unless it is the address of a service that is known.
    """
    name, kind, profile = provider.display_name, provider.kind, provider.profile
    if base_url is not None:
        kind = _kind_at(provider, base_url)
    profile = profile_in_api(profile, kind)
    if base_url is not None and provider.is_any_engine:
        name, profile = profile_at(base_url, kind) or (UNNAMED, UNKNOWN)
    base_url = (base_url or provider.base_url).rstrip("/")
    return Upstream(
        name=name,
        base_url=base_url,
        model=model,
        adapter=ADAPTERS[kind],
        profile=profile,
        forwards_client_auth=is_home_of_logins(base_url),
    )


def is_home_of_logins(base_url: str) -> bool:
    """Return whether clients' own logins are for this address: that of their service, over TLS."""
    address = urlsplit(base_url)
    homes = {urlsplit(row.base_url).hostname for row in PROVIDERS.values() if row.has_client_login}
    return address.scheme == "https" and address.hostname in homes and address.port in (None, 443)
