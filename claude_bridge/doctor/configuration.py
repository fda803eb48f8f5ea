"""Checks of the configuration: whether it can be read, and what it says of the model. Pure; the caller reads it."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from shlex import quote as quote_for_shell

from msgspec.structs import replace

from claude_bridge.doctor.facts import Facts, Kind
from claude_bridge.doctor.finding import Finding, broken, doubtful, fine
from claude_bridge.doctor.model import MODEL
from claude_bridge.upstream.engines.catalog import OfferedModel
from claude_bridge.upstream.engines.configured import configured_model

CONFIGURATION = "configuration"


def check_configuration(file: str, *, is_there: bool, mistakes: Sequence[str], doubts: Sequence[str]) -> Finding:
    """Judge whether the configuration can be used; mistakes and doubts are sentences that name their place."""
    look = "bridge config check"
    if mistakes:
        more = f" (and {len(mistakes) - 1} more)" if len(mistakes) > 1 else ""
        return broken(CONFIGURATION, f"{mistakes[0]}{more}; all else is checked as if there were none", look)
    if doubts:
        return doubtful(CONFIGURATION, "; ".join(doubts), look)
    return fine(CONFIGURATION, file if is_there else "none, and none is needed")


def check_listed(
    provider: str, model: str, models: Sequence[OfferedModel], *, kind: Kind | None, place: str
) -> Finding | None:
    """Judge whether the configuration lists the model, where it lists any; None: nothing to say."""
    if not models or _configured(model, models, kind) is not None:
        return None
    names = [one.id for one in models]
    listed = ", ".join(names[:8]) + (" …" if len(names) > 8 else "")
    near = get_close_matches(model, names, n=1, cutoff=0.4) or names
    command = " ".join(["bridge doctor", provider, quote_for_shell(near[0]), *([place] if place else [])])
    if not model:
        return doubtful(MODEL, f"none was named; the configuration lists: {listed}", command)
    return broken(MODEL, f"the configuration lists no {model!r}, but: {listed}", command)


def with_configured(facts: Facts, models: Sequence[OfferedModel], *, window_tokens: int | None) -> Facts:
    """Return the facts as the bridge takes them: what the configuration says goes before what the engine tells.

    ``window_tokens`` is what is configured for any model.
    """
    model = _configured(facts.model, models, facts.kind)
    if model is None:
        return replace(facts, wished_tokens=window_tokens)
    told = {"tools": model.tools, "thinking": model.thinking, "vision": model.images}
    capabilities = facts.capabilities
    if any(able is not None for able in told.values()):
        known = dict.fromkeys(capabilities or ("completion",), True)
        known |= {name: able for name, able in told.items() if able is not None}
        capabilities = tuple(name for name, able in known.items() if able)
    return replace(facts, capabilities=capabilities, wished_tokens=model.context_window)


def _configured(model: str, models: Sequence[OfferedModel], kind: Kind | None) -> OfferedModel | None:
    return configured_model(model, models, kind="ollama-chat" if kind is Kind.OLLAMA else "openai-chat")
