"""Checks of the model: whether it is there, what it can do, and whether it runs on this machine."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from difflib import get_close_matches
from shlex import quote as quote_for_shell

import msgspec

from claude_bridge.conversion.upstream_errors.translate import quote, refusal_words
from claude_bridge.doctor.answers import Answer
from claude_bridge.doctor.facts import Kind
from claude_bridge.doctor.finding import Finding, broken, doubtful, fine
from claude_bridge.upstream.engines.ollama import with_tag
from claude_bridge.wire.lenient_json import parse_any

MODEL, PURPOSE, TOOLS, THINKING, IMAGES, CLOUD = "model", "purpose", "tools", "thinking", "images", "cloud"

GOOD_MODEL = "qwen3"
"""A model of Ollama's library that can call tools, in sizes for most machines."""

_ENABLE_TOOLS = {
    Kind.LLAMA_CPP: "llama-server --jinja --chat-template-file TEMPLATE-WITH-TOOLS.jinja, or another model",
    Kind.LM_STUDIO: "Load a model with the hammer sign (tool use) in LM Studio.",
}


def check_installed(
    kind: Kind, model: str, names: Sequence[str], *, place: str, able: Sequence[str] = (), answer: Answer | None = None
) -> Finding:
    """Judge whether the engine has the model.

    ``place`` is the option that leads to the engine, or empty; ``answer`` what Ollama said when asked about the model.
    """
    if not model:
        return _check_unnamed(kind, names, able, place)
    if kind is Kind.LLAMA_CPP:
        others = "" if model in names or not names else f"; llama.cpp takes any name, and runs {names[0]}"
        return fine(MODEL, f"{model}{others}")
    if kind is Kind.OLLAMA and answer is not None and answer.status not in (200, 401, 404):
        words = quote(refusal_words(answer.body)) or answer.words or f"status {answer.status}"
        return broken(MODEL, f"Ollama can't tell of {model!r}: {words}", "Look at Ollama's log.")
    if model in names or (kind is Kind.OLLAMA and (with_tag(model) in names or (answer and answer.status == 200))):
        return fine(MODEL, f"{model} is installed" if kind is Kind.OLLAMA else f"{model} is offered")
    if kind is not Kind.OLLAMA and not names:
        return doubtful(MODEL, "the engine lists no models", f"If {model!r} is right, all is well; --probe asks it.")
    wanted = with_tag(model) if kind is Kind.OLLAMA else model
    near = get_close_matches(wanted, names, n=3, cutoff=0.5)
    if kind is Kind.OLLAMA:
        remedy = f"ollama pull {quote_for_shell(model)}"
        seen = f"{model!r} is not installed"
        if near:
            return broken(
                MODEL, f"{seen}; nearest: {', '.join(near)}", f"{_command(kind, near[0], place)}  (or: {remedy})"
            )
        return broken(MODEL, seen, remedy)
    if near:
        return broken(MODEL, f"there is no {model!r}; nearest: {', '.join(near)}", _command(kind, near[0], place))
    offered = ", ".join(names[:8]) + (" …" if len(names) > 8 else "")
    return broken(MODEL, f"there is no {model!r}; offered: {offered}", _command(kind, names[0], place))


def _check_unnamed(kind: Kind, names: Sequence[str], able: Sequence[str], place: str) -> Finding:
    if not names:
        if kind is Kind.OLLAMA:
            return broken(MODEL, "no model is installed", f"ollama pull {GOOD_MODEL}")
        return doubtful(MODEL, "none was named, and the engine lists none", _command(kind, "MODEL", place))
    if kind is Kind.OLLAMA and not able:
        return broken(MODEL, f"none of {len(names)} installed models can call tools", f"ollama pull {GOOD_MODEL}")
    choice = able or names
    listed = ", ".join(choice[:8]) + (" …" if len(choice) > 8 else "")
    return doubtful(MODEL, f"none was named; there are: {listed}", _command(kind, choice[0], place))


def check_purpose(model: str, capabilities: Collection[str], *, place: str, able: Sequence[str] = ()) -> Finding | None:
    """Judge whether one can talk to the model at all; None: nothing to say."""
    if not capabilities or "completion" in capabilities:
        return None
    what = "an embedding model" if "embedding" in capabilities else "no model to talk to"
    return broken(PURPOSE, f"{model} is {what} (it can do: {', '.join(capabilities)})", _other_model(able, place))


def check_tools(
    kind: Kind, model: str, capabilities: Collection[str] | None, *, place: str, able: Sequence[str] = ()
) -> Finding:
    """Judge whether the model can call tools; without them Claude Code can talk, and do nothing."""
    if capabilities is None:
        remedy = "Ask the model itself: bridge doctor … --probe"
        if kind is Kind.VLLM:
            remedy += "  (vllm serve needs --enable-auto-tool-choice --tool-call-parser NAME)"
        return doubtful(TOOLS, f"{kind} does not tell whether {model or 'the model'} can call tools", remedy)
    if "tools" in capabilities:
        return fine(TOOLS, "the model can call tools")
    return broken(
        TOOLS,
        f"{model} can't call tools: Claude Code could talk, and do nothing",
        _ENABLE_TOOLS.get(kind) or _other_model(able, place),
    )


def check_thinking(capabilities: Collection[str]) -> Finding:
    """Tell whether the model thinks; that is no fault either way."""
    return fine(THINKING, "yes" if "thinking" in capabilities else "no; Claude Code does without")


def check_images(capabilities: Collection[str]) -> Finding:
    """Tell whether the model sees images; that is no fault either way."""
    return fine(IMAGES, "yes" if "vision" in capabilities else "no; pictures are replaced by a note")


def check_cloud(
    model: str, remote_host: str | None, answers: Sequence[Answer], status: Answer | None
) -> Finding | None:
    """Judge whether a model that runs elsewhere can be asked; None: it runs on this machine.

    ``answers`` are those that a sign-in is needed for, ``status`` that of /api/status.
    """
    is_cloud = bool(remote_host) or model.endswith((":cloud", "-cloud"))
    if not is_cloud:
        return None
    seen = f"{model} runs at {remote_host or 'ollama.com'}, not on this machine"
    if _is_disabled(status):
        return broken(CLOUD, f"{seen}, and cloud models are switched off", "unset OLLAMA_NO_CLOUD; ollama serve")
    if any(answer.status == 401 for answer in answers):
        return broken(CLOUD, f"{seen}, and this Ollama is not signed in", "ollama signin")
    if any(answer.status == 200 for answer in answers):
        return fine(CLOUD, f"{seen}: prompts leave it; signed in")
    return doubtful(CLOUD, f"{seen}; whether it is signed in is not told", "If it is refused: ollama signin")


def _is_disabled(status: Answer | None) -> bool:
    if status is None or status.good_body is None:
        return False
    try:
        document = parse_any(status.good_body)
    except msgspec.DecodeError:
        return False
    cloud = document.get("cloud") if isinstance(document, dict) else None
    return isinstance(cloud, dict) and cloud.get("disabled") is True


def _other_model(able: Sequence[str], place: str) -> str:
    return _command(Kind.OLLAMA, able[0], place) if able else f"ollama pull {GOOD_MODEL}"


def _command(kind: Kind, model: str, place: str) -> str:
    provider = "ollama" if kind is Kind.OLLAMA else "openai"
    return " ".join(["bridge doctor", provider, quote_for_shell(model), *([place] if place else [])])
