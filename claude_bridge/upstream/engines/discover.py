"""Fits an upstream to what its engine reports or the configuration says, or names what the user has to change."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit

from msgspec.structs import replace

from claude_bridge.adapters import ADAPTERS
from claude_bridge.adapters.engine_profiles import OLLAMA, UNKNOWN, ollama_profile, profile_for, profile_in_api
from claude_bridge.conversion.pricing import FREE
from claude_bridge.conversion.profile import Profile
from claude_bridge.conversion.upstream_errors.translate import explain_refusal
from claude_bridge.errors import SetupError, SeveralModelsError, UpstreamBrokenError, UpstreamError
from claude_bridge.providers import Upstream, usual_places
from claude_bridge.upstream.engines.detect import inspect_engine
from claude_bridge.upstream.engines.engine import Engine
from claude_bridge.upstream.engines.ollama import OLDEST_VERSION, choose_window, root_url, runs_locally, version_numbers
from claude_bridge.upstream.engines.openai_compatible import base_url_candidates, usual_prices, without_api_path
from claude_bridge.upstream.engines.report import (
    CAN_ONLY_CHAT,
    EngineReport,
    OfferedModel,
    OllamaModel,
    ProbeAnswer,
    abilities_in_words,
    in_short,
    nearest,
    profile_as_reported,
    with_tag,
)
from claude_bridge.wire.addresses import reaches_this_machine

_OLLAMA_NOTE = (
    "requests are passed through: on this route the bridge can't set an Ollama's context window, and Ollama cuts long "
    "prompts in silence. Set OLLAMA_CONTEXT_LENGTH for it, or use `bridge serve ollama`"
)


async def discover(engine: Engine) -> Upstream:
    """Return the engine as the configuration describes it where that lists models, else with what it reports.

    That is the true base URL, which engine it is, the model, and its window. An empty model stands for the only one
    that the engine offers, of an Ollama for the only one that calls tools; where requests are passed through, it keeps
    the clients' own names. An engine that turns out to be Ollama is used through its own API, the only one where the
    window can be set, if the engine ``may_upgrade``.

    Raises:
        SetupError: a wrong base URL, a wrong key or an unknown model: nothing that waiting would cure.
        UpstreamError: the engine does not answer, or not yet.
    """
    if engine.models:
        return engine.with_limits(upstream_as_configured(engine.upstream, engine.models))
    if not engine.check:
        return assumed(engine)
    return engine.with_limits(await _as_reported(engine))


async def _as_reported(engine: Engine) -> Upstream:
    upstream = engine.upstream
    if upstream.adapter.is_passthrough and upstream.profile.messages.is_anthropic:
        whose = "the client's own login" if upstream.forwards_client_auth else "no key"
        notes = f"requests are passed through unchanged, with {'your key' if engine.api_key is not None else whose}"
        return replace(upstream, base_url=anthropic_root(upstream.base_url), notes=(notes,))
    report = await inspect_engine(upstream, engine.api_key, may_be_ollama=engine.may_upgrade)
    require_engine(report, engine)
    if upstream.adapter.is_passthrough:
        root = anthropic_root(upstream.base_url)
        return _with_window_note(engine.with_limits(_in_passthrough(replace(upstream, base_url=root), report)))
    if not report.is_ollama:
        return _with_window_note(engine.with_limits(_on_any_engine(upstream, report)))
    found = _on_ollama(upstream, report, engine.window_tokens)
    if upstream.adapter.kind == "ollama-chat":
        return found
    notice = "it is an Ollama, and is used through its own API (--api openai-chat keeps the other)"
    return replace(found, notes=(notice, *found.notes))


def assumed(engine: Engine) -> Upstream:
    """Return the upstream as it is to be used as long as the engine does not answer."""
    return engine.with_limits(_assumed(engine.upstream))


def _assumed(upstream: Upstream) -> Upstream:
    if upstream.adapter.is_passthrough:
        return replace(upstream, base_url=anthropic_root(upstream.base_url))
    is_ollama = upstream.adapter.kind == "ollama-chat"
    base_url = root_url(upstream.base_url) if is_ollama else base_url_candidates(upstream.base_url)[0]
    return replace(upstream, base_url=base_url, profile=profile_for(upstream.profile, upstream.model))


# --- what stands in the way ---------------------------------------------------------------------------------------


def require_engine(report: EngineReport, engine: Engine) -> None:
    """Check that the report is about the engine that is meant.

    Raises:
        SetupError: there is another engine or none, or the key is wrong.
        UpstreamError: the engine does not answer, or not yet.
    """
    upstream = engine.upstream
    is_ollama = upstream.adapter.kind == "ollama-chat"
    if report.profile is None:
        # The last answer is the one after which no other path was tried. Where an Ollama should be, its version counts.
        for answer in report.answers if is_ollama else report.answers[-1:]:
            _require_answer(answer, engine)
        if is_ollama or not upstream.adapter.is_passthrough:
            raise no_engine(report, upstream)
    elif is_ollama and not report.is_ollama:
        hint = f"Use that engine: `bridge serve openai --base-url {report.base_url}`"
        raise SetupError(f"There is no Ollama at {root_url(upstream.base_url)}, but {report.title}.", hint)


def _require_answer(answer: ProbeAnswer, engine: Engine) -> None:
    """Check that an answer leaves it open what answers there."""
    if answer.error is not None:
        raise answer.error
    status = answer.status or 0
    if status not in (401, 403, 429) and status < 500:
        return
    where = f"{engine.upstream.name} at {engine.upstream.base_url}"
    error = explain_refusal(status, answer.headers, answer.body, where)
    if status in (401, 403):
        is_given = engine.api_key is not None
        what = "does not accept the key" if is_given else "asks for a key, and none was given"
        reason = error.message.removeprefix(f"{where} answered ").removesuffix(".")
        hint = f"Check the key, or use another one. {engine.key_hint}" if is_given else engine.key_hint
        raise SetupError(f"{where} {what} ({reason}).", hint)
    raise error if isinstance(error, UpstreamError) else UpstreamError(error.message)


def no_engine(report: EngineReport, upstream: Upstream) -> SetupError:
    """Return that what answers at the address is no engine."""
    what = f"{report.stranger.in_words}."
    if upstream.adapter.kind == "ollama-chat":
        hint = "Check --base-url. For another engine: `bridge serve openai --base-url URL`"
        return SetupError(f"There is no Ollama at {root_url(upstream.base_url)}: {what}", hint)
    if report.stranger.location:
        return SetupError(what, "Give that address as --base-url.")
    is_local = reaches_this_machine(urlsplit(upstream.base_url).hostname or "")
    return SetupError(what, f"Check --base-url. {usual_places() if is_local else 'It usually ends in /v1.'}")


# --- an Ollama ----------------------------------------------------------------------------------------------------


def _on_ollama(upstream: Upstream, report: EngineReport, window_tokens: int | None) -> Upstream:
    model = _ollama_model(report, upstream.model)
    known = model.ollama or OllamaModel()
    profile = profile_for(ollama_profile(known.capabilities, known.family), upstream.model or model.id)
    window = choose_window(model, explicit=window_tokens)
    memory = f", {window.kv_cache_bytes / 2**30:.1f} GiB of KV cache" if window.kv_cache_bytes else ""
    notes = [f"context window {window.tokens:,} tokens ({window.reason}){memory}", abilities_in_words(model)]
    return replace(
        upstream,
        name=report.title,
        base_url=report.base_url,
        model=upstream.model or model.id,
        adapter=ADAPTERS["ollama-chat"],
        profile=profile.with_changes({"keep_alive": upstream.profile.ollama.keep_alive}),
        window_tokens=window.tokens,
        window_is_given=window_tokens is not None,
        slots=report.slots,
        prices=FREE if runs_locally(model, report.base_url) else None,
        notes=tuple(note for note in [*notes, *_ollama_warnings(model, report.version or "")] if note),
    )


def _ollama_model(report: EngineReport, name: str) -> OfferedModel:
    """Return the model that is meant, described; an empty name means the only one that calls tools."""
    if not name:
        if report.models_error is not None:
            raise UpstreamBrokenError(f"Ollama's list of models can't be read: {report.models_error}")
        names = [model.id for model in report.choices]
        if len(names) > 1:
            hint = f"These can call tools: {', '.join(names)}. Add one after the provider."
            raise SeveralModelsError(
                "No model was given.", hint, engine=f"{report.title} at {report.base_url}", models=names
            )
        if not names:
            what = "No model that can call tools is installed." if report.models else "No model is installed."
            raise SetupError(what, "Get one: `ollama pull qwen3`")
        return report.choices[0]
    model = report.find(name)
    if model is None:
        near = report.near(name)
        others = f" Installed models with a similar name: {', '.join(near)}." if near else ""
        raise SetupError(f"Ollama has no model {name!r}.", f"Get it: `ollama pull {name}`.{others}")
    if model.problem is not None:
        raise UpstreamBrokenError(f"Ollama can't describe {name!r}: {model.problem}")
    if model.chats is False:
        abilities = ", ".join((model.ollama.capabilities if model.ollama else None) or ("nothing",))
        raise SetupError(f"{name!r} can't chat; it is made for: {abilities}.", "Choose another model.")
    return model


def _ollama_warnings(model: OfferedModel, version: str) -> list[str]:
    warnings = [] if model.tools else [CAN_ONLY_CHAT]
    if model.remote_host:
        warnings.append(f"the model runs at {model.remote_host}, not on this machine")
    known = model.ollama or OllamaModel()
    if known.loaded_bytes and known.gpu_bytes is not None and known.gpu_bytes < known.loaded_bytes:
        warnings.append(f"{1 - known.gpu_bytes / known.loaded_bytes:.0%} of the model is on the CPU: it will be slow")
    if version_numbers(version) < OLDEST_VERSION:
        oldest = ".".join(map(str, OLDEST_VERSION))
        warnings.append(f"Ollama {version} is old: before {oldest} it cuts long prompts in silence. Update it.")
    return warnings


# --- an engine with Anthropic's own API ---------------------------------------------------------------------------


def anthropic_root(base_url: str) -> str:
    """Return the address without the path of the Messages API, which users give or leave out."""
    return without_api_path(base_url, ("/messages", "/v1"))


def _in_passthrough(upstream: Upstream, report: EngineReport) -> Upstream:
    """Return the upstream as its report describes it; an empty ``upstream.model`` keeps the client's model names."""
    profile = report.profile or upstream.profile
    is_ollama = profile.name == OLLAMA.name
    name = report.title if is_ollama else report.engine if report.is_known else upstream.name
    upstream = replace(upstream, name=name, profile=profile)
    if is_ollama:
        model = report.find(upstream.model) if upstream.model else None
        # What is loaded now may have been loaded for another client, with another window.
        window = model.ollama.modelfile_window if model and model.ollama else None
        return replace(upstream, window_tokens=window, rereads_window=True, notes=(_OLLAMA_NOTE,))
    model = report.find(upstream.model)
    if model is None and (profile.ignores_model_name or len(report.models) == 1):
        model = next(iter(report.models), None)
    notes = ["requests are passed through; what this engine can't handle in them is changed"]
    if not upstream.model and report.models and not profile.ignores_model_name:
        notes.append(f"each request uses the model that it names; available: {in_short(report.names)}")
    window = model.window_in_use if model else None
    notes += [f"context window {window:,} tokens"] if window else []
    return replace(upstream, window_tokens=window, notes=tuple(notes))


# --- any other engine ---------------------------------------------------------------------------------------------


def _on_any_engine(upstream: Upstream, report: EngineReport) -> Upstream:
    profile = profile_in_api(report.profile or upstream.profile, upstream.adapter.kind)
    name = upstream.name if profile in (UNKNOWN, upstream.profile) else profile.name
    upstream = replace(upstream, name=name, base_url=report.base_url, profile=profile)
    model = _listed_model(upstream, report)
    upstream = replace(upstream, model=upstream.model or model.id)
    abilities = abilities_in_words(model)
    notes = [abilities] * bool(abilities) + [CAN_ONLY_CHAT] * (model.tools is False)
    return replace(
        upstream,
        profile=profile_as_reported(profile_for(profile, model.id), model),
        window_tokens=model.window_in_use,
        max_output_tokens=model.max_output_tokens,
        slots=report.slots,
        prices=model.cost or usual_prices(name, report.base_url),
        notes=(*upstream.notes, *notes),
    )


def _with_window_note(upstream: Upstream) -> Upstream:
    """Return the upstream with a note where nobody knows the window: the client would believe in one of its own."""
    if upstream.window_tokens is not None or upstream.rereads_window:
        return upstream
    note = "context window not reported: add --context-window N, or Claude Code assumes 200,000 tokens or more"
    return replace(upstream, notes=(*upstream.notes, note))


def _listed_model(upstream: Upstream, report: EngineReport) -> OfferedModel:
    """Return the model that is meant; of an engine that lists nothing only its name is known."""
    name, model = upstream.model, report.meant(upstream.model)
    if model is None and not name:
        names = [model.id for model in report.choices]
        engine = f"{upstream.name} at {upstream.base_url}"
        if not names:
            hint = "Load or install one there, or add its name after the provider."
            raise SetupError(f"{engine} lists no model.", hint)
        hint = f"{upstream.name} offers: {in_short(names, 20)}. Add one after the provider."
        raise SeveralModelsError("No model was given.", hint, engine=engine, models=names)
    if model is None and report.models and upstream.profile.lists_all_models:
        near = report.near(name)
        hint = f"Nearest: {', '.join(near)}." if near else f"It offers: {in_short(report.names)}."
        what = f"{upstream.name} at {upstream.base_url} has no model {name!r}."
        raise SetupError(what, f"{hint} If the list is not complete, add --no-check.")
    return model or OfferedModel(id=name)


# --- as the configuration describes it ----------------------------------------------------------------------------


def upstream_as_configured(upstream: Upstream, models: Sequence[OfferedModel]) -> Upstream:
    """Return the upstream with what the configuration says about its model; an empty name means the only one.

    Where requests are passed through, each may name another of several models.
    """
    notes = ["as configured: the engine was not contacted"]
    is_passthrough = upstream.adapter.is_passthrough
    model = configured_model(upstream.model, models, is_ollama=upstream.adapter.kind == "ollama-chat")
    if model is None and is_passthrough and not upstream.model:
        return replace(_assumed(upstream), notes=tuple(notes))
    if model is None:
        raise _unlisted(upstream.model, models)
    upstream = _assumed(replace(upstream, model=model.id))
    notes += [f"context window {model.context_window:,} tokens"] if model.context_window else []
    return replace(
        upstream,
        profile=_configured_profile(upstream, model),
        max_output_tokens=model.max_output_tokens,
        window_tokens=model.context_window,
        window_is_given=model.context_window is not None,
        slots=1 if upstream.adapter.kind == "ollama-chat" else None,  # as for one that was inspected
        prices=model.cost or usual_prices(upstream.name, upstream.base_url),
        notes=tuple(notes + [CAN_ONLY_CHAT] * (model.tools is False)),
    )


def configured_model(name: str, models: Sequence[OfferedModel], *, is_ollama: bool) -> OfferedModel | None:
    """Return the model of this name, or the only one where the name is empty; None: there is no such model."""
    if not name:
        return models[0] if len(models) == 1 else None
    written = with_tag if is_ollama else str
    return next((model for model in models if written(model.id) == written(name)), None)


def _configured_profile(upstream: Upstream, model: OfferedModel) -> Profile:
    if upstream.adapter.kind != "ollama-chat":
        return profile_as_reported(upstream.profile, model)
    abilities = {"thinking": model.thinking, "vision": model.images is not False}
    is_described = model.thinking is not None or model.images is not None
    capabilities = [name for name, able in abilities.items() if able] if is_described else None
    family = model.id.rpartition("/")[2].partition(":")[0]
    row = profile_for(ollama_profile(capabilities, family), model.id)
    return row.with_changes({"keep_alive": upstream.profile.ollama.keep_alive})


def _unlisted(name: str, models: Sequence[OfferedModel]) -> SetupError:
    names = [model.id for model in models]
    if not name:
        hint = f"The configuration lists: {', '.join(names)}. Add one after the provider."
        return SeveralModelsError("No model was given.", hint, engine="The configuration", models=names)
    near = nearest(name, names)
    hint = f"Nearest: {', '.join(near)}." if near else f"It lists: {in_short(names)}."
    return SetupError(f"The configuration lists no model {name!r} of this provider.", hint)
