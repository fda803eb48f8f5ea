"""From options and configuration to a plan: the engine, its address, its limits, and the routing."""

from __future__ import annotations

import os
import re
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from msgspec.structs import replace

from claude_bridge.app.keys import first_key, key_hint, key_of, key_ring_of, key_variables, read_secret
from claude_bridge.app.notices import Notices
from claude_bridge.app.options import Options
from claude_bridge.app.plan import Plan, WebPlan
from claude_bridge.app.web import AUTO, DUCKDUCKGO, default_key
from claude_bridge.config.providers import configured_models, configured_rows, request_settings
from claude_bridge.config.schema import Config
from claude_bridge.config.types import ModelName, SearchChoice
from claude_bridge.errors import SetupError, UsageError
from claude_bridge.providers import (
    LOCAL,
    Provider,
    base_url_from,
    is_address,
    likely_address,
    secret_in,
    upstream_of,
    with_api,
)
from claude_bridge.routing import Routing, Target
from claude_bridge.upstream.engines.engine import Engine

if TYPE_CHECKING:
    from claude_bridge.upstream.embedded.engine import EmbeddedEngine

_REGION = re.compile(r"[a-z0-9-]{1,40}")

BASE_URL_VARIABLE = "BRIDGE_BASE_URL"


def build_plan(config: Config, options: Options, notices: Notices, *, running: Plan | None = None) -> Plan:
    """Return what is to be served. The provider ``local`` is started by this, which may download its model first.

    Without a provider it is the default model. The configured limits hold where no option gives one. ``running`` is the
    plan by which the bridge serves already, whose engine of its own is used again (None: it is about to start).

    Raises:
        SetupError: the options name nothing that can be served.
    """
    trust_authorities(config, options.ca_file)
    provider, model = _named_model(config, options)
    if provider == LOCAL:
        embedded = _embedded(config, options, notices, running)
        engine = Engine(provider=LOCAL, upstream=embedded.upstream, check=False)
    elif options.model_file is not None:
        raise UsageError("--model-file is only for the provider local.", "Give local as PROVIDER, or leave it out.")
    else:
        embedded = None
        engine = named_engine(config, provider, model, options.base_url, options.api_key)
        if options.api is not None:
            engine = replace(engine, upstream=with_api(engine.upstream, options.api), may_upgrade=False)
    routing = routing_of(config, options, Target(provider, model))
    others = {target.provider for target in routing.others} - {provider}
    engines = {provider: engine, **{name: named_engine(config, name, "", None, None) for name in others}}
    engines = {name: _with_general_settings(config, options, one) for name, one in engines.items()}
    main = engines[provider]
    return Plan(
        main=replace(
            main,
            window_tokens=options.context_window or main.window_tokens,
            max_output_tokens=options.max_tokens or main.max_output_tokens,
        ),
        engines=engines,
        key_variables=key_variables(config, set(engines)),
        max_concurrent=options.max_concurrent or config.defaults.max_concurrent,
        keeps_histories=config.defaults.memo if options.memo is None else options.memo,
        vision_model=options.vision_model or config.defaults.vision_model,
        web=web_plan(config, options.web_search),
        page=config.server.page if options.page is None else options.page,
        debug=options.debug,
        trace_file=options.trace,
        budget=config.limits,
        budgets={name: one.limits for name, one in config.providers.items() if one.limits is not None},
        routing=routing,
        embedded=embedded,
    )


def _with_general_settings(config: Config, options: Options, engine: Engine) -> Engine:
    """Return the engine with what holds for all; the limits of listed models are weighed against the defaults."""
    defaults = config.defaults
    return replace(
        engine,
        upstream=replace(engine.upstream, think=options.think or defaults.think),
        check=engine.check and options.check,
        window_tokens=None if engine.models else defaults.context_window,
        max_output_tokens=None if engine.models else defaults.max_tokens,
    )


def trust_authorities(config: Config, ca_file: Path | None) -> None:
    """Trust the certificate authorities that an option or the configuration names, in all that this process asks.

    Raises:
        SetupError: the file can't be used.
    """
    if ca_file is None and config.defaults.ca_file is not None:
        ca_file = config.folder / Path(config.defaults.ca_file).expanduser()
    if ca_file is not None:
        from claude_bridge.upstream.network import trust

        trust(ca_file)


def _named_model(config: Config, options: Options) -> tuple[str, str]:
    """Return the provider and the model that are meant, as two names or as PROVIDER/MODEL."""
    if options.provider:
        return provider_and_model(config, options.provider, options.model)
    if config.defaults.model is None:
        raise UsageError(
            "No PROVIDER is given, and the configuration has no default model.",
            "Name one after the command, such as ollama, or set [defaults] model: `bridge config path` names the file.",
        )
    return config.defaults.model.provider, config.defaults.model.model


def _embedded(config: Config, options: Options, notices: Notices, running: Plan | None) -> EmbeddedEngine:
    """Return llama.cpp with the user's model or the small one. Its process ends when the engine is forgotten.

    Raises:
        SetupError: the engine is not installed, or the model can't be downloaded or loaded.
    """
    if running is not None:
        if running.embedded is None:
            raise SetupError("The provider `local` is started together with the bridge.", "Restart the bridge.")
        return running.embedded
    from claude_bridge.upstream.embedded.engine import (
        OWN_MODEL_WINDOW_TOKENS,
        SMALL_MODEL_WINDOW_TOKENS,
        EmbeddedEngine,
        require_engine,
        small_model_template,
    )
    from claude_bridge.upstream.embedded.model_file import SMOLLM2, fetch_model

    require_engine()  # before a download that would be for nothing
    if options.model_file is None:
        with notices.downloading(SMOLLM2.name) as progress:
            path = fetch_model(SMOLLM2, progress)
        name, window, template = SMOLLM2.name, SMALL_MODEL_WINDOW_TOKENS, small_model_template()
    else:
        path, name = options.model_file, options.model_file.stem
        window, template = OWN_MODEL_WINDOW_TOKENS, None
    window = options.context_window or config.defaults.context_window or window
    with notices.waiting(f"Loading {name}"):
        return EmbeddedEngine(path, model_name=name, window_tokens=window, template=template)


# --- one engine -------------------------------------------------------------------------------------------------


def named_engine(
    config: Config, provider: str, model: str, base_url: str | None, api_key: str | None, *, needs_key: bool = True
) -> Engine:
    """Return the engine that is meant; without ``needs_key`` it may lack a key that its service asks for.

    Raises:
        SetupError: an unknown provider, an invalid address, or a missing or impossible key.
    """
    row = provider_row(config, provider)
    address = address_of(config, row, base_url)
    ring = key_ring_of(config, row) if api_key is None else None
    key = first_key(ring, row) if ring else key_of(config, row, api_key, address)
    if address is None and not row.base_url:
        raise SetupError(
            f"{row.display_name} has no address of its own, and none is given.",
            f"Give that of your resource: set {row.base_url_variable}, or --base-url https://RESOURCE.openai.azure.com",
        )
    if needs_key and key is None and address is None and row.needs_key:
        raise SetupError(
            f"{row.display_name} at {row.base_url} needs an API key, and none is set.",
            key_hint(row) + " For an engine of your own, give its address: --base-url URL" * bool(row.kind_elsewhere),
        )
    upstream = upstream_of(row, base_url=address, model=model)
    try:
        upstream = replace(upstream, settings_of=request_settings(config, row, os.environ))
    except ValueError as error:
        raise SetupError(str(error), "Put the value there, or change the configuration.") from error
    return Engine(
        provider=provider,
        upstream=upstream,
        api_key=key,
        ring=ring,
        key_hint=key_hint(row),
        models=configured_models(config, row),
        is_wanted=key is not None or provider in config.providers,
    )


def provider_and_model(config: Config, provider: str, model: str) -> tuple[str, str]:
    """Return the provider's own name, and the model; both may stand in the first word, as PROVIDER/MODEL."""
    rows = [*configured_rows(config), LOCAL]
    if provider not in rows and not model:
        before, slash, behind = provider.partition("/")
        if slash and _spelled(before, rows) is not None:
            provider, model = before, behind
    return _spelled(provider, rows) or provider, model


def _spelled(name: str, names: list[str]) -> str | None:
    """Return which of the names is meant, whatever its capitals and punctuation: ``LM-Studio`` is ``lmstudio``."""
    letters = _letters(name)
    return name if name in names else next((one for one in names if letters and _letters(one) == letters), None)


def _letters(name: str) -> str:
    return "".join(character for character in name.lower() if character.isalnum())


def provider_row(config: Config, provider: str) -> Provider:
    """Return the row of a provider; raises SetupError with the nearest name and all known ones."""
    if provider == LOCAL:
        raise SetupError(
            "The provider 'local' runs one model inside the bridge, not an engine.", "Try: `bridge serve local`"
        )
    rows = configured_rows(config)
    if provider not in rows:
        if "://" in provider:
            raise SetupError(
                "An address stands in the place of PROVIDER.",
                "Give it by --base-url after a provider, as in"
                f" openai --base-url {'URL' if secret_in(provider) else provider}",
            )
        known = [*rows, LOCAL]
        near = get_close_matches(provider.lower(), known, n=1)
        where = "A model comes after its provider, as in ollama qwen3:1.7b. " if not near else ""
        nearest = f"; did you mean {near[0]}?" if near else "."
        raise SetupError(f"There is no provider {provider!r}{nearest}", f"{where}The providers are {', '.join(known)}.")
    return rows[provider]


def address_of(config: Config, row: Provider, base_url: str | None) -> str | None:
    """Return the address that was given, by option, in the file or by the row's variable; None: the row's own."""
    configured = config.providers.get(row.name)
    source = row.base_url_variable or ""
    if base_url is not None:
        source = BASE_URL_VARIABLE if base_url == os.environ.get(BASE_URL_VARIABLE) else "--base-url"
    elif configured is not None and configured.base_url is not None:
        return None if configured.base_url == row.base_url else configured.base_url
    elif given := os.environ.get(source, "").strip():
        base_url = given if row.default_path else base_url_from(given)
    elif row.regional_url is not None and _REGION.fullmatch(region := os.environ.get("AWS_REGION", "").strip()):
        return row.regional_url.format(region)
    else:
        return None
    base_url = base_url.strip()
    if row.default_path and not urlsplit(base_url).path.strip("/"):
        base_url = base_url.rstrip("/") + row.default_path
    secret = secret_in(base_url)
    if secret is not None:
        hint = f"Give the address alone, and the key by --api-key or {row.key_variable}."
        raise SetupError(f"{source} contains {secret}.", hint)
    if not is_address(base_url):
        meant = likely_address(base_url, "http://localhost:11434/v1")
        raise SetupError(f"{source} {base_url!r} is not a valid address.", f"Try: --base-url {meant}")
    return base_url


def web_plan(config: Config, choice: str | None) -> WebPlan:
    """Return what to do on the web; an option's ``choice`` of the search service goes before the configuration's.

    Raises:
        SetupError: there is no such service, or its key or its library is missing.
    """
    web = config.web
    try:
        search = (web.search or AUTO) if choice is None else SearchChoice.parse(choice)
    except ValueError as error:
        what = str(error) or f"{choice!r} is not {SearchChoice.WANTED}"  # its own words are of an address with a secret
        raise SetupError(
            f"--web-search {what}.",
            "For example: --web-search searxng:http://localhost:8888",
        ) from None
    if search == DUCKDUCKGO:
        from claude_bridge.server_tools.searching import require_ddgs

        require_ddgs()
    key = None
    if web.search_key is not None and web.search is not None and search.service == web.search.service:
        key = read_secret(config, web.search_key, "web.search_key")
    return WebPlan(
        search=search,
        is_search_chosen=choice is not None or web.search is not None,
        search_key=key or default_key(search),
        settings=web,
    )


# --- routing ----------------------------------------------------------------------------------------------------


def routing_of(config: Config, options: Options, main: Target) -> Routing:
    """Return which requests go where: options come before the file, and their routes before the file's.

    Raises:
        SetupError: something is not PROVIDER/MODEL, or there is no such provider.
    """
    defaults = config.defaults
    named = [_route(config, route) for route in options.route or ()]
    given = {pattern for pattern, _ in named}
    configured = [(pattern, name.target) for pattern, name in config.routes.items() if pattern not in given]
    fallback = [_named_target(config, "--fallback", name) for name in options.fallback or ()]
    routing = Routing(
        main=main,
        small=_chosen(config, main, options.small_model, defaults.small_model),
        subagents=_target(defaults.subagent_model),
        images=_target(defaults.image_model),
        planning=_chosen(config, main, options.plan_model, defaults.plan_model),
        long_context=_target(defaults.long_context_model),
        long_context_tokens=defaults.long_context_tokens,
        routes=(*named, *configured),
        fallback=tuple(fallback or [name.target for name in defaults.fallback]),
    )
    for target in routing.others:
        if target.provider == LOCAL:
            raise SetupError(
                "`local` can only be the main provider.", "For example: `bridge serve local --fallback ollama/qwen3:8b`"
            )
        provider_row(config, target.provider)
    return routing


def describe_routing(config: Config) -> list[tuple[str, str]]:
    """Return which request goes to which model, in the order of the rules; raises SetupError as ``routing_of``."""
    main = _target(config.defaults.model) or Target("the PROVIDER and MODEL of the command line", "")
    return routing_of(config, Options(), main).describe()


def _target(name: ModelName | None) -> Target | None:
    return None if name is None else name.target


def _route(config: Config, route: str) -> tuple[str, Target]:
    pattern, equals, name = route.partition("=")
    if not equals or not pattern:
        example = "For example: --route 'claude-opus-*=ollama/qwen3:32b'"
        raise SetupError(f"--route {route!r} is not PATTERN=PROVIDER/MODEL.", example)
    return pattern, _named_target(config, "--route", name)


def _chosen(config: Config, main: Target, name: str | None, configured: ModelName | None) -> Target | None:
    """Return the model that an option names, else the configured one.

    An option's is one of the main engine, unless it begins with the name of another provider.
    """
    if not name:
        return _target(configured)
    provider, slash, model = name.partition("/")
    is_elsewhere = slash and model and provider in configured_rows(config)
    return Target(provider, model) if is_elsewhere else Target(main.provider, name)


def _named_target(config: Config, option: str, name: str) -> Target:
    try:
        parsed = ModelName.parse(name)
    except ValueError:
        raise SetupError(
            f"{option} {name!r} is not PROVIDER/MODEL.", f"For example: {option} ollama/qwen3:1.7b"
        ) from None
    rows = [*configured_rows(config), LOCAL]
    return Target(_spelled(parsed.provider, rows) or parsed.provider, parsed.model)
