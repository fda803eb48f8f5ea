"""A golden case from a trace: the folder that tests/golden/ has for a dialogue, redacted once more."""

from __future__ import annotations

import json
from pathlib import Path

from claude_bridge.adapters.engine_profiles import PROFILES
from claude_bridge.trace.detail import Lines
from claude_bridge.trace.secrets import redacted
from claude_bridge.trace.summary import TracedExchange


def write_golden(folder: Path, exchange: TracedExchange, lines: Lines) -> list[str]:
    """Write the folder, which must not exist yet, and return the names of its files.

    Raises:
        OSError: it can't be written; FileExistsError where it exists.
    """
    sent = lines.sent[-1]
    # What came for the last request that was sent; before it, another upstream may have failed.
    streamed = "".join(text for at_s, text in lines.upstream if at_s >= sent.after_s - 0.001)
    got = "".join(text for _, text in lines.client)
    files = {
        "case.toml": _facts(exchange, lines),
        "request.json": _pretty(lines.received.body_bytes) if lines.received else "",
        "upstream_request.json": _pretty(sent.body_bytes),
        f"upstream.{_ending(streamed)}": streamed,
        f"client.{_ending(got)}": got,
    }
    folder.mkdir(parents=True)
    kept = {name: text for name, text in files.items() if text}
    for name, text in kept.items():
        (folder / name).write_text(redacted(text), encoding="utf-8", newline="\n")
    return list(kept)


def _facts(exchange: TracedExchange, lines: Lines) -> str:
    sent = lines.sent[-1]
    steps = "".join(f"- {step.after_s:.3f} s: {step.text}\n" for step in exchange.steps)
    about = (
        f"{sent.model} on {sent.upstream_name} ({exchange.kind or 'unknown API'}), recorded from exchange "
        f"{exchange.exchange}.\n\nWhat is wrong: (write here what you expected)\n\n{steps}"
    )
    facts: dict[str, str | int | list[str] | None] = {
        "about": about,
        "profile": _profile_name(sent.kind or exchange.kind, sent.profile),
        "model": sent.model,
        "window_tokens": sent.window_tokens,
        "losses": [f"{loss.path}: {loss.reason}" for loss in sent.losses],
        "repairs": lines.repairs,
    }
    text = "".join(f"{name} = {json.dumps(value, ensure_ascii=False)}\n" for name, value in facts.items() if value)
    return text.replace("\x7f", "\\u007f")  # but for this character, texts and lists of TOML are those of JSON


def _ending(text: str) -> str:
    beginning = text.lstrip()[:6]
    if beginning.startswith(("data:", "event:", ":")):
        return "sse"
    return "ndjson" if beginning.startswith("{") and "}\n{" in text else "json"


def _pretty(body: bytes) -> str:
    try:
        return json.dumps(json.loads(body), indent=2, ensure_ascii=False) + "\n"
    except (ValueError, RecursionError):
        return body.decode("utf-8", "replace")


def _profile_name(kind: str, profile: str) -> str | None:
    """Return the row of adapters/engine_profiles.toml, which has one for each API of an engine."""
    is_ollama = kind == "ollama-chat"
    names = [name for name, row in PROFILES.items() if row.name == profile and name.startswith("OLLAMA") is is_ollama]
    return names[0] if names and names[0] != "UNKNOWN" else None
