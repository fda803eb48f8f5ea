"""Schemas that llama.cpp can make no grammar of."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from claude_bridge.adapters.engine_profiles import UNKNOWN
from claude_bridge.bridge import ModelBridge
from claude_bridge.trace.bus import Bus
from claude_bridge.trace.events import RequestSent
from claude_bridge.upstream.client import UpstreamClient
from claude_bridge.upstream.embedded.engine import EmbeddedEngine
from claude_bridge.wire.anthropic import ToolUseBlock
from tests.dialogues import a_request
from tests.kept_events import KeptEvents

pytestmark = [pytest.mark.anyio, pytest.mark.engine]

BASH = {
    "name": "Bash",
    "description": "Run a command in a shell.",
    "input_schema": {
        "type": "object",
        "properties": {
            "command": {"type": "string"},
            "arguments": {"type": "array", "items": {"type": "string"}, "minItems": 5_000},
        },
        "required": ["command"],
    },
}


async def test_a_schema_that_breaks_the_grammar_is_put_more_plainly(engine: EmbeddedEngine) -> None:
    # As if nothing were known of the engine: by its own row such bounds are left out beforehand.
    upstream = replace(engine.upstream, profile=UNKNOWN)
    request = a_request(tools=[BASH], messages=[{"role": "user", "content": "list the files here"}])
    notes = KeptEvents()
    async with UpstreamClient(upstream.base_url, api_key=None, name=upstream.name) as client:
        bridge = ModelBridge(upstream, client, bus=Bus([notes]))
        messages = [await bridge.complete(request) for _ in range(2)]
    calls = [block for message in messages for block in message.content if isinstance(block, ToolUseBlock)]
    assert [bytes(call.input) for call in calls] == [b'{"command": "ls"}'] * 2
    sent = [event for event in notes.events if isinstance(event, RequestSent)]
    assert [len(event.losses) for event in sent] == [0, 1, 1], "refused once, and known from then on"
