"""What is checked, and what a check found: how bad that is, and what to do about it."""

from __future__ import annotations

from enum import StrEnum
from shlex import quote as quote_for_shell

from msgspec import Struct, field

from claude_bridge.upstream.engines.engine import Engine


class Severity(StrEnum):
    """How bad it is: fine, something to know, or something that will not work. The values are those of ``--json``."""

    OK = "ok"
    WARN = "warn"
    FAIL = "bad"


class Finding(Struct, frozen=True):
    """What a check found. ``remedy`` is a command or a sentence to act on; None: nothing to do."""

    name: str
    severity: Severity = field(name="mark")
    seen: str
    remedy: str | None = None


class CheckStep(Struct, frozen=True):
    """What is done next, and within how many seconds."""

    what: str
    limit_s: float


def ok(name: str, seen: str) -> Finding:
    """Return a finding that all is well."""
    return Finding(name, Severity.OK, seen)


def warn(name: str, seen: str, remedy: str) -> Finding:
    """Return a finding of something that works, but not as well as it could."""
    return Finding(name, Severity.WARN, seen, remedy)


def fail(name: str, seen: str, remedy: str) -> Finding:
    """Return a finding of something that will not work."""
    return Finding(name, Severity.FAIL, seen, remedy)


class Subject(Struct, frozen=True, kw_only=True):
    """What is checked. ``provider`` is empty for any engine."""

    provider: str
    engine: Engine
    """Its models are those that the configuration lists, which is believed before the engine."""
    is_usual_url: bool = False
    """Whether the address need not be given: it is the provider's own, or comes from the configuration."""
    options: tuple[str, ...] = ()
    """Other options of the command line, to be given again."""

    @property
    def model(self) -> str:
        """The model that is meant; empty: the only one."""
        return self.engine.upstream.model

    @property
    def base_url(self) -> str:
        """The address as it was given."""
        return self.engine.upstream.base_url

    def command(self, provider: str = "", model: str = "", base_url: str = "", *, verb: str = "doctor") -> str:
        """Return the command line for this subject, with what is given in place of its own."""
        provider = provider or self.provider or "ollama"
        model = model or ("" if base_url else self.model)
        url = base_url or ("" if self.is_usual_url else self.base_url)
        place = ["--base-url", quote_for_shell(url)] if url else []
        options = self.options if verb == "doctor" else ()
        return " ".join(["bridge", verb, provider, *([quote_for_shell(model)] if model else []), *place, *options])
