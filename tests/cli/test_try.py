"""``bridge try`` while the model reads the question; the whole command is tested with the real engine."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import anyio
import pytest

from claude_bridge.adapters.engine_profiles import LLAMA_CPP
from claude_bridge.cli.try_ import _ask, _ExchangeNotes
from claude_bridge.trace.events import PromptRead, TraceEvent
from tests.fake_upstream import FakeUpstream, Stall, progress, stream
from tests.running_bridge import open_bridge, scripted_upstream

pytestmark = pytest.mark.anyio


class WatchedNotes(_ExchangeNotes):
    """Keeps what the spinner shows, and whether there was none to show it."""

    def __init__(self) -> None:
        super().__init__()
        self.shown: list[str | None] = []
        self.has_read = anyio.Event()

    def take(self, event: TraceEvent) -> None:
        """Take an event while the spinner is watched."""
        update = self.show_reading
        if update is not None:
            self.show_reading = self.shown.append
        elif isinstance(event, PromptRead):
            self.shown.append(None)
        super().take(event)
        self.show_reading = update
        if isinstance(event, PromptRead):
            self.has_read.set()


async def test_how_much_of_the_question_has_been_read_is_shown_from_the_beginning() -> None:
    notes = WatchedNotes()
    async with FakeUpstream([[*stream(progress(922, 3689, time_ms=10)), Stall()]]) as engine:
        upstream = scripted_upstream(engine.base_url, profile=LLAMA_CPP)
        async with open_bridge(upstream, notes) as url, anyio.create_task_group() as tasks:
            bridge: Any = SimpleNamespace(listening=SimpleNamespace(url=url))
            tasks.start_soon(_ask, "A long question", notes, bridge, upstream)
            with anyio.fail_after(30):
                await notes.has_read.wait()
            tasks.cancel_scope.cancel()
    assert notes.shown == ["The model is reading: 25% of 3,689 tokens"]
