"""What is to be served and where, as values."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from claude_bridge.app.client_environment import NO_TOKEN, Served
from claude_bridge.config.schema import Web
from claude_bridge.config.types import SearchChoice
from claude_bridge.providers import Upstream
from claude_bridge.routing import Routing
from claude_bridge.spending import Budget
from claude_bridge.wire.addresses import is_loopback

if TYPE_CHECKING:
    from claude_bridge.upstream.embedded.engine import EmbeddedEngine
    from claude_bridge.upstream.engines.engine import Engine
    from claude_bridge.upstream.key_ring import KeyRing

_ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104 - compared with, not bound
"""Where to reach a bridge that listens on all addresses, from its own machine."""


class Listening(Struct, frozen=True, kw_only=True):
    """Where the bridge listens (port 0: any free one), and the token that clients must send (None: none)."""

    host: str = "127.0.0.1"
    port: int = 0
    auth_token: str | None = None
    page_key: str | None = None
    """What opens the page; None: there is none."""

    @property
    def page_url(self) -> str | None:
        """The address of the page, with its key."""
        return self.page_key and f"{self.url}/?key={self.page_key}"

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can connect."""
        return is_loopback(self.host)

    @property
    def url(self) -> str:
        """The address that clients on this machine use."""
        host = _ANY_ADDRESS.get(self.host) or (f"[{self.host}]" if ":" in self.host else self.host)
        return f"http://{host}:{self.port}"

    def served(self, upstream: Upstream, *, small_model: str | None = None) -> Served:
        """Return the bridge as its clients must know it; without a small model all get the same."""
        return Served(
            url=self.url, token=self.auth_token or NO_TOKEN, bridge=upstream.readiness(small_model=small_model)
        )


class WebPlan(Struct, frozen=True, kw_only=True):
    """What the bridge does on the web for models. ``search_key`` None: the service needs none."""

    search: SearchChoice = SearchChoice("auto")
    is_search_chosen: bool = True
    """Whether an option or the configuration says who searches; where none does, ``bridge run`` asks the user."""
    search_key: str | None = None
    settings: Web = Web()
    """What is configured beside that."""

    @property
    def is_search_hosted(self) -> bool:
        """Whether the service that has the model searches, if it can."""
        return self.search == "auto" or not self.is_search_chosen


class Plan(Struct, frozen=True, kw_only=True):
    """What is to be served, and how."""

    main: Engine
    """The engine of the main model, with the limits that options give."""
    engines: Mapping[str, Engine] = {}
    """All engines that requests may go to, by their providers' names, with the limits of any model."""
    key_variables: frozenset[str] = frozenset()
    """The environment variables that hold keys of these engines."""
    max_concurrent: int | None = None
    """How many requests each engine gets at a time."""
    keeps_histories: bool = True
    """Whether what earlier requests were made into is used again."""
    vision_model: str | None = None
    """The model of the same provider that describes images for a model that can't see them."""
    web: WebPlan = WebPlan()
    page: bool = False
    """Whether a browser can look at the bridge, with a key."""
    debug: bool = False
    log_file: Path | None = None
    """Where the debug log goes; None: to stderr."""
    trace_file: Path | None = None
    budget: Budget = Budget()
    """How much may be spent in all."""
    budgets: Mapping[str, Budget] = {}
    """How much may be spent at single providers."""
    routing: Routing
    embedded: EmbeddedEngine | None = None
    """An engine that the bridge started, which ends when nothing refers to it any more."""

    @property
    def keys(self) -> list[str]:
        """The keys of all engines; nobody may see them."""
        engines = (self.main, *self.engines.values())
        keys = (self.web.search_key, *(engine.api_key for engine in engines))
        return [key for key in (*keys, *(key for one in engines for key in one.upstream.settings.secrets)) if key]

    @property
    def rings(self) -> dict[str, KeyRing]:
        """The keys of engines that change, by their providers' names."""
        return {name: engine.ring for name, engine in self.engines.items() if engine.ring is not None}
