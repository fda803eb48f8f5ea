"""Checks of the model: whether it is there, what it can do, and whether Claude Code fits into its window."""

from __future__ import annotations

from collections.abc import Iterator
from shlex import quote as quote_for_shell
from urllib.parse import urlsplit

from msgspec.structs import replace

from claude_bridge.adapters.engine_profiles import LLAMA_CPP, LM_STUDIO, VLLM
from claude_bridge.clients.claude_code import FULL_PROMPT
from claude_bridge.doctor.finding import Finding, Severity, Subject, fail, ok, warn
from claude_bridge.upstream.engines.discover import configured_model
from claude_bridge.upstream.engines.ollama import DEFAULT_WINDOW_TOKENS, ENOUGH_TOKENS, choose_window
from claude_bridge.upstream.engines.report import (
    FALLBACK_TRAINED_TOKENS,
    EngineReport,
    OfferedModel,
    OllamaModel,
    in_short,
    nearest,
)

MODEL, PURPOSE, TOOLS, THINKING, IMAGES, CLOUD = "model", "purpose", "tools", "thinking", "images", "cloud"

GOOD_MODEL = "qwen3"
"""A model of Ollama's library that can call tools, in sizes for most machines."""

_ENABLE_TOOLS = {
    LLAMA_CPP.name: "llama-server --jinja --chat-template-file TEMPLATE-WITH-TOOLS.jinja  (or another model)",
    LM_STUDIO.name: "Load a model with the hammer icon (tool use) in LM Studio.",
}

OPENAI_ITSELF = "api.openai.com"
"""All its models can call tools, and it reports nothing about them."""

WINDOW, LOADED, MEMORY, PROCESSOR = "context window", "loaded window", "memory", "processor"

_SHRINK = "Use a model with a longer window, or give Claude Code fewer tools: claude --tools Bash,Read,Edit,Write"

_CONFIGURE = "If the engine can take more: a larger context_window in the configuration"

_ENLARGE = {
    LLAMA_CPP.name: f"llama-server -c {DEFAULT_WINDOW_TOKENS}  (times the number of slots, if there are several)",
    LM_STUDIO.name: f"lms load MODEL --context-length {DEFAULT_WINDOW_TOKENS}",
    VLLM.name: f"vllm serve MODEL --max-model-len {DEFAULT_WINDOW_TOKENS}",
}


def check_model(subject: Subject, report: EngineReport) -> Iterator[Finding]:
    """Yield the findings about the model, in the order in which a person would ask."""
    listed = check_listed(subject, report)
    if listed is not None:
        yield listed
        return
    installed = check_installed(subject, report)
    yield installed
    reported = report.meant(subject.model)
    if installed.severity is Severity.FAIL or (reported is None and not subject.model):
        return
    model, window = with_configured(subject, report, reported or OfferedModel(id=subject.model))
    purpose = check_purpose(subject, report, model)
    findings = [check_cloud(report, model), purpose]
    if purpose is None and urlsplit(report.base_url).hostname != OPENAI_ITSELF:
        findings += [check_tools(subject, report, model), *check_senses(model)]
        findings += check_windows(subject, report, model, configured=window)
    yield from (finding for finding in findings if finding is not None)


def check_listed(subject: Subject, report: EngineReport) -> Finding | None:
    """Judge whether the configuration lists the model, where it lists any; None: nothing to say."""
    models = subject.engine.models
    if not models or configured_model(subject.model, models, is_ollama=report.is_ollama) is not None:
        return None
    names = [one.id for one in models]
    near = nearest(subject.model, names) or names
    command = subject.command(model=near[0])
    if not subject.model:
        return warn(MODEL, f"no model was named; the configuration lists: {in_short(names)}", command)
    return fail(MODEL, f"the configuration does not list {subject.model!r}, but: {in_short(names)}", command)


def with_configured(subject: Subject, report: EngineReport, model: OfferedModel) -> tuple[OfferedModel, int | None]:
    """Return the model as the bridge takes it, and the window that is configured for it.

    What the configuration says goes before what the engine reports.
    """
    configured = configured_model(subject.model, subject.engine.models, is_ollama=report.is_ollama)
    if configured is None:
        return model, subject.engine.window_tokens
    abilities = {"tools": configured.tools, "thinking": configured.thinking, "images": configured.images}
    known = {name: able for name, able in abilities.items() if able is not None}
    return replace(model, **known), configured.context_window


def check_installed(subject: Subject, report: EngineReport) -> Finding:
    """Judge whether the engine has the model."""
    model = report.meant(subject.model)
    if report.is_ollama and report.models_error is not None and model is None:
        return fail(MODEL, f"Ollama's list of models can't be read: {report.models_error}", "Look at Ollama's log.")
    if model is None:
        return _check_missing(subject, report) if subject.model else _check_unnamed(subject, report)
    if report.is_ollama:
        if model.problem is not None and not (report.cloud and report.cloud.is_signed_in is False):
            return fail(MODEL, f"Ollama can't describe {model.id!r}: {model.problem}", "Look at Ollama's log.")
        return ok(MODEL, f"{subject.model or model.id} is installed")
    if subject.model and report.find(subject.model) is None:
        return ok(MODEL, f"{subject.model}; llama.cpp takes any name, and runs {model.id}")
    return ok(MODEL, f"{subject.model or model.id} is offered")


def _check_missing(subject: Subject, report: EngineReport) -> Finding:
    name, names = subject.model, report.names
    near = report.near(name)
    if report.is_ollama:
        pull = f"ollama pull {quote_for_shell(name)}"
        if near:
            remedy = f"{subject.command('ollama', near[0])}  (or: {pull})"
            return fail(MODEL, f"{name!r} is not installed; nearest: {', '.join(near)}", remedy)
        return fail(MODEL, f"{name!r} is not installed", pull)
    if not names:
        if report.engine == LLAMA_CPP.name:
            return ok(MODEL, name)
        return warn(MODEL, "the engine lists no models", f"If {name!r} is right, ask it: {_probe(subject)}")
    which = f"nearest: {', '.join(near)}" if near else f"offered: {in_short(names)}"
    return fail(MODEL, f"there is no {name!r}; {which}", _with_model(subject, report, (near or names)[0]))


def _check_unnamed(subject: Subject, report: EngineReport) -> Finding:
    names = report.names
    if not names:
        if report.is_ollama:
            return fail(MODEL, "no model is installed", f"ollama pull {GOOD_MODEL}")
        remedy = _with_model(subject, report, "MODEL")
        return warn(MODEL, "no model was named, and the engine lists none", remedy)
    choice = [model.id for model in report.choices]
    if not choice:
        return fail(MODEL, f"none of {len(names)} installed models can call tools", f"ollama pull {GOOD_MODEL}")
    seen = f"no model was named; available: {in_short(choice)}"
    return warn(MODEL, seen, _with_model(subject, report, choice[0]))


def check_purpose(subject: Subject, report: EngineReport, model: OfferedModel) -> Finding | None:
    """Judge whether the model can chat at all; None: nothing to say."""
    if model.chats is not False:
        return None
    abilities = (model.ollama.capabilities if model.ollama else None) or ("embedding",)
    what = "an embedding model" if "embedding" in abilities else "not a model that can chat"
    seen = f"{model.id} is {what} (made for: {', '.join(abilities)})"
    return fail(PURPOSE, seen, _other_model(subject, report))


def check_tools(subject: Subject, report: EngineReport, model: OfferedModel) -> Finding:
    """Judge whether the model can call tools; without them Claude Code can chat, but not act."""
    if model.tools is None:
        remedy = f"Ask the model itself: `{_probe(subject)}`"
        if report.engine == VLLM.name:
            remedy += "  (vllm serve needs --enable-auto-tool-choice --tool-call-parser NAME)"
        return warn(TOOLS, f"{report.engine} does not report whether {model.id} can call tools", remedy)
    if model.tools:
        return ok(TOOLS, "the model can call tools")
    remedy = _ENABLE_TOOLS.get(report.engine) or _other_model(subject, report)
    return fail(TOOLS, f"{model.id} can't call tools: Claude Code could chat, but not act", remedy)


def check_senses(model: OfferedModel) -> list[Finding]:
    """Report whether the model thinks and sees images, where that is reported; it is no fault either way."""
    reported = (
        (THINKING, model.thinking, "no; Claude Code works without"),
        (IMAGES, model.images, "no; images are replaced by a note"),
    )
    return [ok(name, "yes" if able else no) for name, able, no in reported if able is not None]


def check_cloud(report: EngineReport, model: OfferedModel) -> Finding | None:
    """Judge whether a model in Ollama's cloud can be used; None: it runs on this machine."""
    if report.cloud is None:
        return None
    seen = f"{model.id} runs at {model.remote_host or 'ollama.com'}, not on this machine"
    if report.cloud.is_disabled:
        return fail(CLOUD, f"{seen}, and cloud models are switched off", "unset OLLAMA_NO_CLOUD; ollama serve")
    if report.cloud.is_signed_in is False:
        return fail(CLOUD, f"{seen}, and this Ollama is not signed in", "ollama signin")
    if report.cloud.is_signed_in:
        return ok(CLOUD, f"{seen}: prompts leave this machine; signed in")
    return warn(CLOUD, f"{seen}; Ollama does not report whether it is signed in", "If it is refused: ollama signin")


def _other_model(subject: Subject, report: EngineReport) -> str:
    able = [model.id for model in report.models if model.tools]
    if able:
        return _with_model(subject, report, able[0])
    return f"ollama pull {GOOD_MODEL}" if report.is_ollama else "Choose another model."


def _with_model(subject: Subject, report: EngineReport, model: str) -> str:
    provider = subject.provider or ("ollama" if report.is_ollama else "openai")
    return subject.command(provider, model)


def _probe(subject: Subject) -> str:
    return subject.command() + ("" if "--probe" in subject.options else " --probe")


# --- the context window, and memory --------------------------------------------------------------------------------


def check_windows(
    subject: Subject, report: EngineReport, model: OfferedModel, *, configured: int | None
) -> list[Finding | None]:
    """Judge the window, and what it takes; ``configured`` is that of the bridge's own configuration."""
    if not report.is_ollama:
        return [check_window(subject, report, model, configured=configured)]
    if model.remote_host:
        return []
    return [
        check_ollama_window(subject, model, configured=configured),
        check_loaded_window(model, configured=configured),
        check_memory(model, configured=configured),
        check_processor(model),
    ]


def check_ollama_window(subject: Subject, model: OfferedModel, *, configured: int | None = None) -> Finding:
    """Judge the window that the bridge will ask an Ollama for, and say what it was chosen from."""
    window = choose_window(model, explicit=configured)
    known = model.ollama or OllamaModel()
    trained = model.trained_window or FALLBACK_TRAINED_TOKENS
    sources = [f"configured {configured:,}"] if configured else []
    sources.append(f"trained for {trained:,}")
    sources += [f"Modelfile {known.modelfile_window:,}"] if known.modelfile_window else []
    sources.append(f"loaded with {known.loaded_window:,}" if known.loaded_window else "not loaded")
    seen = f"the bridge asks for {window.tokens:,} tokens ({', '.join(sources)})"
    best = min(trained, DEFAULT_WINDOW_TOKENS)
    if trained < ENOUGH_TOKENS:
        remedy = _SHRINK
    else:
        remedy = f"{subject.command('ollama', model.id, verb='serve')} --context-window {best}"
    return _judge(seen, window.tokens, remedy if window.tokens < best else _SHRINK, remedy)


def check_window(
    subject: Subject, report: EngineReport, model: OfferedModel, *, configured: int | None = None
) -> Finding:
    """Judge the window of an engine that was given it when it was started."""
    tokens, trained = model.window_in_use, model.trained_window
    configured = None if configured == tokens else configured
    if tokens is not None and configured is not None and configured > tokens:
        seen = f"{configured:,} tokens are configured, but {report.engine} has {tokens:,}: longer prompts fail"
        return fail(WINDOW, seen, f"Set context_window to {tokens}, or give the engine a larger one.")
    if configured is not None:
        return _judge(f"{configured:,} tokens, as configured", configured, _CONFIGURE, _CONFIGURE)
    if tokens is None:
        remedy = f"If you know it: `{subject.command(verb='serve')} --context-window N`"
        return warn(WINDOW, f"{report.engine} does not report it; Claude Code needs {ENOUGH_TOKENS:,} tokens", remedy)
    seen = f"{tokens:,} tokens" + (f" (trained for {trained:,})" if trained else "")
    enlarge = _ENLARGE.get(report.engine, f"Give it at least {DEFAULT_WINDOW_TOKENS:,} tokens where you start it.")
    if trained is not None and trained <= tokens:
        enlarge = _SHRINK
    return _judge(seen, tokens, enlarge, enlarge)


def _judge(seen: str, tokens: int, more: str, enough: str) -> Finding:
    """Judge by what Claude Code needs. ``more`` makes a window comfortable, ``enough`` usable."""
    if tokens < FULL_PROMPT.most:
        need = f"Claude Code's first request alone takes up to {FULL_PROMPT.most:,}"
        return fail(WINDOW, f"{seen}: {need}", enough)
    if tokens < ENOUGH_TOKENS:
        return fail(WINDOW, f"{seen}: Claude Code needs {ENOUGH_TOKENS:,}", enough)
    if tokens < DEFAULT_WINDOW_TOKENS:
        return warn(WINDOW, f"{seen}: enough, but Claude Code compacts often below {DEFAULT_WINDOW_TOKENS:,}", more)
    return ok(WINDOW, seen)


def check_loaded_window(model: OfferedModel, *, configured: int | None = None) -> Finding | None:
    """Judge whether the model is loaded with another window than the bridge asks for; None: nothing to say."""
    loaded = model.ollama.loaded_window if model.ollama else None
    if loaded is None:
        return None
    wanted = choose_window(model, explicit=configured).tokens
    if loaded >= wanted:
        return None
    return warn(
        LOADED,
        f"{loaded:,} tokens: other clients' long prompts are cut in silence, and Ollama loads the model again when "
        f"the bridge asks for {wanted:,}",
        f"OLLAMA_CONTEXT_LENGTH={wanted} ollama serve",
    )


def check_memory(model: OfferedModel, *, configured: int | None = None) -> Finding | None:
    """Report what the window costs in memory; None: the model does not report its shape."""
    window = choose_window(model, explicit=configured)
    if window.kv_cache_bytes is None:
        return None
    size = window.kv_cache_bytes / 2**30
    return ok(MEMORY, f"{size:.1f} GiB of KV cache for {window.tokens:,} tokens, beside the model itself")


def check_processor(model: OfferedModel) -> Finding | None:
    """Judge whether the whole model is on the GPU; None: it is not loaded, or not reported."""
    known = model.ollama or OllamaModel()
    if not known.loaded_bytes or known.gpu_bytes is None:
        return None
    size = known.loaded_bytes / 2**30
    if known.gpu_bytes >= known.loaded_bytes:
        return ok(PROCESSOR, f"all {size:.1f} GiB on the GPU")
    if known.gpu_bytes == 0:
        seen = f"{model.id} ({size:.1f} GiB) runs on the CPU alone: it will be slow"
        return warn(PROCESSOR, seen, "Use a smaller model, or a machine with a GPU.")
    share = 1 - known.gpu_bytes / known.loaded_bytes
    return warn(
        PROCESSOR,
        f"{share:.0%} of {model.id} ({size:.1f} GiB) is on the CPU: it will be slow",
        "Use a smaller model or window, or halve the KV cache: "
        "OLLAMA_FLASH_ATTENTION=1 OLLAMA_KV_CACHE_TYPE=q8_0 ollama serve",
    )
