"""Checks of the configuration: whether it can be read, and what it says about the model. Pure; the caller reads it."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

from msgspec.structs import replace

from claude_bridge.doctor.finding import Finding, fail, ok, warn
from claude_bridge.doctor.model import MODEL
from claude_bridge.doctor.subject import Subject
from claude_bridge.upstream.engines.configured import configured_model
from claude_bridge.upstream.engines.report import OfferedModel

CONFIGURATION = "configuration"


def check_configuration(file: str, *, is_there: bool, mistakes: Sequence[str], doubts: Sequence[str]) -> Finding:
    """Judge whether the configuration can be used; mistakes and doubts are sentences that name their place."""
    look = "bridge config check"
    if mistakes:
        more = f" (and {len(mistakes) - 1} more)" if len(mistakes) > 1 else ""
        return fail(CONFIGURATION, f"{mistakes[0]}{more}; the other checks ignore the file", look)
    if doubts:
        return warn(CONFIGURATION, "; ".join(doubts), look)
    return ok(CONFIGURATION, file if is_there else "none, and none is needed")


def check_listed(subject: Subject, *, is_ollama: bool) -> Finding | None:
    """Judge whether the configuration lists the model, where it lists any; None: nothing to say."""
    models = subject.models
    if not models or configured_model(subject.model, models, is_ollama=is_ollama) is not None:
        return None
    names = [one.id for one in models]
    listed = ", ".join(names[:8]) + (" …" if len(names) > 8 else "")
    near = get_close_matches(subject.model, names, n=1, cutoff=0.4) or names
    command = subject.command(model=near[0])
    if not subject.model:
        return warn(MODEL, f"no model was named; the configuration lists: {listed}", command)
    return fail(MODEL, f"the configuration does not list {subject.model!r}, but: {listed}", command)


def with_configured(subject: Subject, model: OfferedModel, *, is_ollama: bool) -> tuple[OfferedModel, int | None]:
    """Return the model as the bridge takes it, and the window that is configured for it.

    What the configuration says goes before what the engine reports.
    """
    configured = configured_model(subject.model, subject.models, is_ollama=is_ollama)
    if configured is None:
        return model, subject.window_tokens
    abilities = {"tools": configured.tools, "thinking": configured.thinking, "images": configured.images}
    known = {name: able for name, able in abilities.items() if able is not None}
    return replace(model, **known), configured.context_window
