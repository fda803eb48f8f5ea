"""What an Ollama answers, as Anthropic's SDK gets it through the bridge."""

from __future__ import annotations

import base64
import json
import re
from typing import Any

import pytest
from anthropic import BadRequestError, NotFoundError
from anthropic.types import MessageParam, ToolParam

from claude_bridge.providers import PROVIDERS, upstream_of
from claude_bridge.trace.events import ExchangeEnded
from claude_bridge.upstream.client import UpstreamClient
from claude_bridge.upstream.engines.ollama import loaded_window
from tests.kept_events import KeptEvents
from tests.ollama.conftest import Connect, open_client
from tests.real_ollama import WINDOW_TOKENS

pytestmark = pytest.mark.anyio

ANY = "any name"  # the bridge asks for the model that it serves
QUESTION: list[MessageParam] = [{"role": "user", "content": "Explain in three short sentences what a bridge is."}]
LIST_FILES: MessageParam = {"role": "user", "content": "list the files here"}
BASH: ToolParam = {
    "name": "Bash",
    "description": "Run a command in a shell.",
    "input_schema": {"type": "object", "properties": {"command": {"type": "string"}}, "required": ["command"]},
}
PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n").decode()
RELOADED_MS = 400
"""Loading even a model this small takes longer; finding it loaded takes less."""


async def test_an_answer_is_streamed_to_its_limit_and_counted(connect: Connect) -> None:
    async with (
        connect("able") as client,
        client.messages.stream(model=ANY, max_tokens=12, messages=QUESTION) as stream,
    ):
        pieces = [piece async for piece in stream.text_stream]
        message = await stream.get_final_message()
    assert "".join(pieces)
    assert message.stop_reason == "max_tokens"
    assert message.usage.output_tokens == 12
    assert message.usage.input_tokens > 10


async def test_a_tool_is_called_and_its_result_is_taken(connect: Connect) -> None:
    async with connect("able") as client:
        first = await client.messages.create(model=ANY, max_tokens=60, messages=[LIST_FILES], tools=[BASH])
        (call,) = first.content
        assert call.type == "tool_use"
        assert (call.name, call.input, first.stop_reason) == ("Bash", {"command": "ls"}, "tool_use")
        result: MessageParam = {
            "role": "user",
            "content": [{"type": "tool_result", "tool_use_id": call.id, "content": "a.txt"}],
        }
        requested: MessageParam = {"role": "assistant", "content": [call]}
        second = await client.messages.create(
            model=ANY, max_tokens=5, messages=[LIST_FILES, requested, result], tools=[BASH]
        )
    assert second.usage.input_tokens > first.usage.input_tokens


@pytest.mark.parametrize(("thinks", "first_block"), [(True, "thinking"), (False, "text")], ids=["asked", "not asked"])
async def test_a_model_thinks_where_it_is_asked_to(connect: Connect, thinks: bool, first_block: str) -> None:
    async with connect("thinker") as client:
        message = await client.messages.create(
            model=ANY,
            max_tokens=20,
            messages=QUESTION,
            thinking={"type": "enabled", "budget_tokens": 1024} if thinks else {"type": "disabled"},
        )
    assert message.content[0].type == first_block


async def test_a_model_that_can_not_think_answers_all_the_same(connect: Connect) -> None:
    async with connect("able") as client:
        message = await client.messages.create(
            model=ANY, max_tokens=5, messages=QUESTION, thinking={"type": "enabled", "budget_tokens": 1024}
        )
    assert message.content[0].type == "text"


async def test_an_answer_is_held_to_its_schema(connect: Connect) -> None:
    schema = {"type": "string", "enum": ["yes", "no"]}
    async with connect("able") as client:
        message = await client.messages.create(
            model=ANY,
            max_tokens=20,
            messages=QUESTION,
            extra_body={"output_config": {"format": {"type": "json_schema", "schema": schema}}},
        )
    (block,) = message.content
    assert block.type == "text"
    assert json.loads(block.text) in schema["enum"]


async def test_a_prompt_that_does_not_fit_is_refused_with_its_tokens(connect: Connect) -> None:
    async with connect("able") as client:
        with pytest.raises(BadRequestError) as refused:
            await client.messages.create(
                model=ANY, max_tokens=5, messages=[{"role": "user", "content": "word " * 3_000}]
            )
    reported = re.search(r"prompt is too long: (\d+) tokens > (\d+) maximum", refused.value.message)
    assert reported is not None
    assert int(reported[1]) > int(reported[2]) == WINDOW_TOKENS


async def test_a_window_beyond_the_training_is_not_what_the_model_gets(connect: Connect, ollama: str) -> None:
    async with connect("able", window_tokens=16_384) as client:
        await client.messages.create(model=ANY, max_tokens=1, messages=QUESTION)
        with pytest.raises(BadRequestError) as refused:
            await client.messages.create(
                model=ANY, max_tokens=5, messages=[{"role": "user", "content": "word " * 12_000}]
            )
    assert "> 8192 maximum" in refused.value.message
    async with UpstreamClient(ollama, api_key=None, name="Ollama") as engine:
        assert await loaded_window(engine, "able") == 8_192


@pytest.mark.parametrize("model", ["talker", "able"])
async def test_an_image_for_a_model_that_sees_none_does_not_end_the_session(connect: Connect, model: str) -> None:
    image: Any = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
    async with connect(model) as client:
        message = await client.messages.create(
            model=ANY, max_tokens=3, messages=[{"role": "user", "content": [image, {"type": "text", "text": "Hi"}]}]
        )
    assert message.content


async def test_a_model_that_has_gone_is_reported_with_how_to_get_it(ollama: str) -> None:
    gone = upstream_of(PROVIDERS["ollama"], base_url=ollama, model="gone")
    async with open_client(gone) as client:
        with pytest.raises(NotFoundError, match="ollama pull gone"):
            await client.messages.create(model=ANY, max_tokens=5, messages=QUESTION)


async def test_nothing_that_a_client_asks_for_loads_the_model_again(connect: Connect) -> None:
    trace = KeptEvents()
    async with connect("able", trace) as client:
        for max_tokens, temperature in ((1, 0.0), (2, 1.0), (3, 0.5)):
            await client.messages.create(
                model=ANY, max_tokens=max_tokens, messages=QUESTION, extra_body={"temperature": temperature}
            )
    _, *later = load_times(trace)
    assert all(load_ms < RELOADED_MS for load_ms in later), later


async def test_another_window_loads_the_model_again(connect: Connect) -> None:
    trace = KeptEvents()
    for window_tokens in (WINDOW_TOKENS, 1_024):
        async with connect("able", trace, window_tokens=window_tokens) as client:
            await client.messages.create(model=ANY, max_tokens=1, messages=QUESTION)
    assert load_times(trace)[-1] > RELOADED_MS


def load_times(trace: KeptEvents) -> list[float]:
    """Return how long the engine took to have its model ready, for each exchange, in milliseconds."""
    ended = [event for event in trace.events if isinstance(event, ExchangeEnded)]
    return [event.load_ms for event in ended if event.load_ms is not None]
