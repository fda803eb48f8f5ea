"""Provider rows: where an upstream is, which API it speaks, which variable holds its key; and what a row becomes."""

from __future__ import annotations

from msgspec import Struct

from claude_bridge.adapters import ADAPTERS
from claude_bridge.adapters.base import Adapter, TokenLimits
from claude_bridge.adapters.profiles import OPENAI, UNKNOWN
from claude_bridge.conversion.profile import Profile


class Provider(Struct, frozen=True, kw_only=True):
    """One place to ask. ``kind`` is a key of ADAPTERS; ``key_variable`` names an environment variable."""

    name: str
    display_name: str
    kind: str
    base_url: str
    key_variable: str
    profile: Profile = UNKNOWN
    """What is known of the engine beforehand; asking it may tell more."""


class Upstream(Struct, frozen=True, kw_only=True):
    """An engine as the bridge uses it. None in a limit means not known."""

    name: str
    base_url: str
    model: str
    adapter: Adapter
    profile: Profile
    max_output_tokens: int | None = None
    window_tokens: int | None = None

    @property
    def limits(self) -> TokenLimits:
        """What the model can take and give."""
        return TokenLimits(max_output_tokens=self.max_output_tokens, window_tokens=self.window_tokens)


PROVIDERS: dict[str, Provider] = {
    row.name: row
    for row in (
        Provider(
            name="openai",
            display_name="OpenAI",
            kind="openai-chat",
            base_url="https://api.openai.com/v1",
            key_variable="OPENAI_API_KEY",
            profile=OPENAI,
        ),
    )
}
"""Every provider by its name on the command line."""


def upstream_of(provider: Provider, *, base_url: str | None, model: str) -> Upstream:
    """Return the upstream that a row means, before anything is asked.

    At another address than the row's own there may be any engine, so nothing of the row's engine is assumed.
    """
    elsewhere = base_url is not None and base_url.rstrip("/") != provider.base_url
    return Upstream(
        name="The engine" if elsewhere else provider.display_name,
        base_url=(base_url or provider.base_url).rstrip("/"),
        model=model,
        adapter=ADAPTERS[provider.kind],
        profile=UNKNOWN if elsewhere else provider.profile,
    )
