"""Checks of the model: whether it is there, what it can do, and whether it runs on this machine."""

from __future__ import annotations

from shlex import quote as quote_for_shell

from msgspec.structs import replace

from claude_bridge.adapters.engine_profiles import LLAMA_CPP, LM_STUDIO, VLLM
from claude_bridge.doctor.finding import Finding, Subject, fail, ok, warn
from claude_bridge.upstream.engines.discover import configured_model
from claude_bridge.upstream.engines.report import EngineReport, OfferedModel, in_short, nearest

MODEL, PURPOSE, TOOLS, THINKING, IMAGES, CLOUD = "model", "purpose", "tools", "thinking", "images", "cloud"

GOOD_MODEL = "qwen3"
"""A model of Ollama's library that can call tools, in sizes for most machines."""

_ENABLE_TOOLS = {
    LLAMA_CPP.name: "llama-server --jinja --chat-template-file TEMPLATE-WITH-TOOLS.jinja, or another model",
    LM_STUDIO.name: "Load a model with the hammer icon (tool use) in LM Studio.",
}


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
        remedy = f"Ask the model itself: {_probe(subject)}"
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
