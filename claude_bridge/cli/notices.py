"""TerminalNotices: what happens in a bridge, on stderr, and the questions that only the user can answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from claude_bridge.app.notices import Notices
from claude_bridge.cli import terminal
from claude_bridge.errors import SeveralModelsError

if TYPE_CHECKING:
    from claude_bridge.upstream.engines.report import OfferedModel


class TerminalNotices(Notices):
    """Shows on stderr what happens, and asks there where somebody can answer."""

    def say(self, text: str) -> None:
        """Print a line."""
        terminal.say(text)

    def warn(self, text: str) -> None:
        """Print a line in the colour of warnings."""
        terminal.warn(text)

    def problem(self, what: str, hint: str) -> None:
        """Print a warning and what to do."""
        terminal.print_problem(what, hint, is_warning=True)

    @contextmanager
    def waiting(self, what: str) -> Iterator[None]:
        """Show a spinner."""
        with terminal.spinner(what):
            yield

    @contextmanager
    def downloading(self, what: str) -> Iterator[Callable[[int, int], None]]:
        """Show a progress bar."""
        with terminal.progress_bar(f"Downloading {what}") as advance:
            yield advance

    async def choose_model(self, offered: Sequence[OfferedModel], several: SeveralModelsError) -> str:
        """Return the model that the user chooses; raises ``several`` where there is no terminal to ask in."""
        if not terminal.can_ask():
            raise several
        from claude_bridge.cli.questions import select_model  # brings anyio

        return await select_model(offered, several)

    async def agrees_to_search(self) -> bool | None:
        """Ask whether searches may go to DuckDuckGo, where there is a terminal to ask in."""
        if not terminal.can_ask():
            return None
        from claude_bridge.cli.questions import ask_to_search

        return await ask_to_search()
