"""Provider rows: where an upstream is, which API it speaks, which variable holds its key; and what a row becomes."""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import urlsplit

from msgspec import Struct
from msgspec.structs import replace

from claude_bridge.adapters import ADAPTERS, engine_profiles
from claude_bridge.adapters.base import Adapter, EngineModel, TokenLimits
from claude_bridge.adapters.engine_profiles import UNKNOWN, profile_by_host, profile_in_api
from claude_bridge.conversion.pricing import Prices
from claude_bridge.conversion.profile import Profile
from claude_bridge.conversion.reasoning import ThinkMode
from claude_bridge.request_settings import RequestSettings
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
    """Whether the window is known only once the engine has loaded the model for a request of the bridge."""
    slots: int | None = None
    """How many requests the engine answers at a time, where it tells."""
    prices: Prices | None = None
    forwards_client_auth: bool = False
    """Whether the client's own login goes on: to its own service alone, and only while the bridge has no key."""
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
            window_is_given=self.window_is_given,
        )
        where = f"{self.name} at {self.base_url}"
        return EngineModel(where=where, model=self.model, profile=self.profile, limits=limits)

    def with_given_limits(self, *, window_tokens: int | None, max_output_tokens: int | None) -> Upstream:
        """Return the upstream with the limits that the user gave (None: none).

        A window that was given when the engine was asked stays as it is: the engine may have lowered it.
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
    row.name: row
    for row in (
        Provider(
            name="openai",
            display_name="OpenAI",
            kind="openai-responses",
            kind_elsewhere="openai-chat",
            base_url="https://api.openai.com/v1",
            key_variable="OPENAI_API_KEY",
            is_any_engine=True,
            profile=engine_profiles.OPENAI_RESPONSES,
        ),
        Provider(
            name="ollama",
            display_name="Ollama",
            kind="ollama-chat",
            base_url="http://localhost:11434",
            key_variable="OLLAMA_API_KEY",
            needs_key=False,
            base_url_variable="OLLAMA_HOST",
            start_command="ollama serve",
            profile=engine_profiles.OLLAMA,
        ),
        Provider(
            name="anthropic",
            display_name="Anthropic",
            kind="anthropic-messages",
            base_url="https://api.anthropic.com",
            key_variable="ANTHROPIC_API_KEY",
            needs_key=False,  # the client's own login goes on where there is none
            has_client_login=True,
            is_any_engine=True,
            profile=engine_profiles.ANTHROPIC,
        ),
        Provider(
            name="openrouter",
            display_name="OpenRouter",
            kind="openai-chat",
            base_url="https://openrouter.ai/api/v1",
            key_variable="OPENROUTER_API_KEY",
            profile=engine_profiles.OPENROUTER,
        ),
        Provider(
            name="groq",
            display_name="Groq",
            kind="openai-chat",
            base_url="https://api.groq.com/openai/v1",
            key_variable="GROQ_API_KEY",
            profile=engine_profiles.GROQ,
        ),
        Provider(
            name="deepseek",
            display_name="DeepSeek",
            kind="openai-chat",
            base_url="https://api.deepseek.com/v1",
            key_variable="DEEPSEEK_API_KEY",
            profile=engine_profiles.DEEPSEEK,
        ),
        Provider(
            name="mistral",
            display_name="Mistral",
            kind="openai-chat",
            base_url="https://api.mistral.ai/v1",
            key_variable="MISTRAL_API_KEY",
            profile=engine_profiles.MISTRAL,
        ),
        Provider(
            name="gemini",
            display_name="Gemini",
            kind="openai-chat",
            base_url="https://generativelanguage.googleapis.com/v1beta/openai",
            key_variable="GEMINI_API_KEY",
            profile=engine_profiles.GEMINI,
        ),
        Provider(
            name="xai",
            display_name="xAI",
            kind="openai-responses",
            base_url="https://api.x.ai/v1",
            key_variable="XAI_API_KEY",
            profile=engine_profiles.XAI_RESPONSES,
        ),
        Provider(
            name="azure",
            display_name="Azure OpenAI",
            kind="openai-responses",
            base_url="",
            key_variable="AZURE_OPENAI_API_KEY",
            base_url_variable="AZURE_OPENAI_ENDPOINT",
            default_path="/openai/v1",
            profile=engine_profiles.AZURE_RESPONSES,
        ),
        Provider(
            name="bedrock",
            display_name="Bedrock",
            kind="openai-responses",
            base_url="https://bedrock-runtime.us-east-1.amazonaws.com/openai/v1",
            regional_url="https://bedrock-runtime.{}.amazonaws.com/openai/v1",
            key_variable="AWS_BEARER_TOKEN_BEDROCK",
            profile=engine_profiles.BEDROCK_RESPONSES,
        ),
        Provider(
            name="together",
            display_name="Together",
            kind="openai-chat",
            base_url="https://api.together.xyz/v1",
            key_variable="TOGETHER_API_KEY",
            profile=engine_profiles.TOGETHER,
        ),
        Provider(
            name="fireworks",
            display_name="Fireworks",
            kind="openai-chat",
            base_url="https://api.fireworks.ai/inference/v1",
            key_variable="FIREWORKS_API_KEY",
            profile=engine_profiles.FIREWORKS,
        ),
        Provider(
            name="zai",
            display_name="Z.AI",
            kind="openai-chat",
            base_url="https://api.z.ai/api/paas/v4",
            key_variable="ZAI_API_KEY",
            profile=engine_profiles.ZAI,
        ),
        Provider(
            name="moonshot",
            display_name="Moonshot",
            kind="openai-chat",
            base_url="https://api.moonshot.ai/v1",
            key_variable="MOONSHOT_API_KEY",
            profile=engine_profiles.MOONSHOT,
        ),
        Provider(
            name="minimax",
            display_name="MiniMax",
            kind="openai-chat",
            base_url="https://api.minimax.io/v1",
            key_variable="MINIMAX_API_KEY",
            profile=engine_profiles.MINIMAX,
        ),
        Provider(
            name="alibaba",
            display_name="Alibaba Model Studio",
            kind="openai-chat",
            base_url="https://dashscope-intl.aliyuncs.com/compatible-mode/v1",
            key_variable="DASHSCOPE_API_KEY",
        ),
        Provider(
            name="deepinfra",
            display_name="DeepInfra",
            kind="openai-chat",
            base_url="https://api.deepinfra.com/v1/openai",
            key_variable="DEEPINFRA_API_KEY",
        ),
        Provider(
            name="cerebras",
            display_name="Cerebras",
            kind="openai-chat",
            base_url="https://api.cerebras.ai/v1",
            key_variable="CEREBRAS_API_KEY",
        ),
        Provider(
            name="nvidia",
            display_name="NVIDIA",
            kind="openai-chat",
            base_url="https://integrate.api.nvidia.com/v1",
            key_variable="NVIDIA_API_KEY",
        ),
        Provider(
            name="huggingface",
            display_name="Hugging Face",
            kind="openai-chat",
            base_url="https://router.huggingface.co/v1",
            key_variable="HF_TOKEN",
        ),
        Provider(
            name="github",
            display_name="GitHub Models",
            kind="openai-chat",
            base_url="https://models.github.ai/inference",
            key_variable="GITHUB_TOKEN",
        ),
        Provider(
            name="lmstudio",
            display_name="LM Studio",
            kind="openai-chat",
            base_url="http://localhost:1234/v1",
            key_variable="LM_API_TOKEN",
            needs_key=False,
            start_command="lms server start",
            profile=engine_profiles.LM_STUDIO,
        ),
        Provider(
            name="llamacpp",
            display_name="llama.cpp",
            kind="openai-chat",
            base_url="http://localhost:8080/v1",
            key_variable="LLAMA_API_KEY",
            needs_key=False,
            start_command="llama-server -m MODEL.gguf --jinja -c 32768",
            profile=engine_profiles.LLAMA_CPP,
        ),
        Provider(
            name="vllm",
            display_name="vLLM",
            kind="openai-chat",
            base_url="http://localhost:8000/v1",
            key_variable="VLLM_API_KEY",
            needs_key=False,
            start_command="vllm serve MODEL --enable-auto-tool-choice --tool-call-parser PARSER",
            profile=engine_profiles.VLLM,
        ),
        Provider(
            name="sglang",
            display_name="SGLang",
            kind="openai-chat",
            base_url="http://localhost:30000/v1",
            key_variable="SGLANG_API_KEY",
            needs_key=False,
            start_command="python -m sglang.launch_server --model-path MODEL",
            profile=engine_profiles.SGLANG,
        ),
        Provider(
            name="litellm",
            display_name="LiteLLM",
            kind="openai-chat",
            base_url="http://localhost:4000/v1",
            key_variable="LITELLM_API_KEY",
            needs_key=False,
            start_command="litellm --model MODEL",
        ),
    )
}
"""Every provider by its name on the command line."""


def start_command_of(engine: str) -> str | None:
    """Return how users start this engine, named with or without its version; None: it runs elsewhere, or unknown."""
    name = _VERSION.sub("", engine)
    return next((row.start_command for row in PROVIDERS.values() if row.display_name == name), None)


def engine_words(name: str | None, kind: str | None) -> str:
    """Return which engine it is, as in "on …"; one that does not say its name is described by its API."""
    return _ANY_ENGINE.get(kind or "", UNNAMED) if name in (None, UNNAMED) else name


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
    if host in ("", "0.0.0.0", "[::]"):  # noqa: S104 - where a server listens, not where it is asked
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


def profile_at(base_url: str, kind: str) -> tuple[str, Profile] | None:
    """Return the name and the profile of the service at this address; None for a host that is nobody's."""
    host = urlsplit(base_url).hostname or ""
    service = profile_by_host(host, kind)
    if service is not None:
        return service.name, service
    rows = (row for row in PROVIDERS.values() if row.kind == kind and row.base_url.startswith("https:"))
    row = next((row for row in rows if host == urlsplit(row.base_url).hostname), None)
    return (row.display_name, row.profile) if row else None


def _kind_at(provider: Provider, base_url: str) -> str:
    """Return which API is spoken at an address that was given for a provider."""
    if provider.kind_elsewhere is None:
        return provider.kind
    host = urlsplit(base_url).hostname
    kinds = (provider.kind, provider.kind_elsewhere)
    rows = (row for row in PROVIDERS.values() if row.kind in kinds and host == urlsplit(row.base_url).hostname)
    return next((row.kind for row in rows if row.base_url.startswith("https:")), provider.kind_elsewhere)


def with_api(upstream: Upstream, kind: str) -> Upstream:
    """Return the upstream as it is asked through another API; what a row knows of its own API does not hold there."""
    if kind == upstream.adapter.kind:
        return upstream
    is_openai = {kind, upstream.adapter.kind} <= _OPENAI_KINDS
    profile = profile_in_api(upstream.profile, kind) if is_openai else UNKNOWN
    return replace(upstream, adapter=ADAPTERS[kind], profile=profile)


_OPENAI_KINDS = {"openai-chat", "openai-responses"}


def upstream_of(provider: Provider, *, base_url: str | None, model: str) -> Upstream:
    """Return the upstream that a row means, before anything is asked.

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
    asked = urlsplit(base_url)
    homes = {urlsplit(row.base_url).hostname for row in PROVIDERS.values() if row.has_client_login}
    return asked.scheme == "https" and asked.hostname in homes and asked.port in (None, 443)
