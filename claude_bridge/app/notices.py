"""What a bridge has to say to a person while it starts and runs, and the questions that it may ask."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from claude_bridge.app.plan import Listening, Plan
    from claude_bridge.errors import SeveralModelsError
    from claude_bridge.providers import Upstream
    from claude_bridge.upstream.engines.report import OfferedModel  # brings the wire shapes of all engines


class Notices:
    """Says nothing and asks nothing, as a program wants it. The command line overrides what people should see."""

    def say(self, text: str) -> None:
        """Show a line."""

    def warn(self, text: str) -> None:
        """Show a line that needs attention."""

    def problem(self, what: str, hint: str) -> None:
        """Show a problem in spite of which the bridge continues, and what to do about it."""

    def listening(self, listening: Listening) -> None:
        """Show that clients can connect; the engine may not be known yet."""

    def serving(self, plan: Plan, listening: Listening, upstream: Upstream) -> None:
        """Show what was found out about the engine, and how to use the bridge."""

    def starting_client(self, listening: Listening, upstream: Upstream, notes: Sequence[str]) -> None:
        """Show what is served before the client takes over the terminal; warnings that come later must wait."""

    @contextmanager
    def waiting(self, what: str) -> Iterator[None]:  # noqa: ARG002 - for those who override it
        """Show that work is under way while the context lasts."""
        yield

    @contextmanager
    def downloading(self, what: str) -> Iterator[Callable[[int, int], None]]:  # noqa: ARG002 - for those who override it
        """Show the progress of a download; yields a function of the bytes so far and the bytes in all."""
        yield lambda _done, _total: None

    async def choose_model(
        self,
        offered: Sequence[OfferedModel],  # noqa: ARG002 - for those who override it
        several: SeveralModelsError,
    ) -> str:
        """Return the model that the user means; raises ``several`` where nobody can be asked."""
        raise several

    async def agrees_to_search(self) -> bool | None:
        """Return whether the user lets searches go to DuckDuckGo; None: nobody can be asked, or answers."""
        return None
