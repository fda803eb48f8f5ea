"""Subject: the engine and model that are to be checked, and the command that checks another one in the same way."""

from __future__ import annotations

from shlex import quote as quote_for_shell

from msgspec import Struct

from claude_bridge.upstream.engines.report import OfferedModel


class Subject(Struct, frozen=True, kw_only=True):
    """What is checked. ``provider`` is empty for any engine, ``model`` for the only one."""

    provider: str
    model: str
    base_url: str
    is_usual_url: bool = False
    """Whether ``base_url`` need not be given: it is the provider's own, or comes from the configuration."""
    has_key: bool
    key_variable: str
    models: tuple[OfferedModel, ...] = ()
    """Those that the configuration lists: it is believed before the engine."""
    window_tokens: int | None = None
    """The context window that is configured for any model."""
    options: tuple[str, ...] = ()
    """Other options of the command line, to be given again."""

    def command(self, provider: str = "", model: str = "", base_url: str = "", *, verb: str = "doctor") -> str:
        """Return the command line for this subject, with what is given in place of its own."""
        provider = provider or self.provider or "ollama"
        model = model or ("" if base_url else self.model)
        url = base_url or ("" if self.is_usual_url else self.base_url)
        place = ["--base-url", quote_for_shell(url)] if url else []
        options = self.options if verb == "doctor" else ()
        return " ".join(["bridge", verb, provider, *([quote_for_shell(model)] if model else []), *place, *options])
