"""What llama.cpp answers, as Anthropic's SDK gets it through the bridge."""

from __future__ import annotations

import json
from typing import Any

import pytest
from anthropic import AsyncAnthropic, BadRequestError
from anthropic.types import Message, MessageParam, ToolParam

pytestmark = [pytest.mark.anyio, pytest.mark.engine]

MODEL = "any name"  # llama.cpp answers with the model that it has
QUESTION: list[MessageParam] = [{"role": "user", "content": "Explain in three short sentences what a bridge is."}]
LIST_FILES: MessageParam = {"role": "user", "content": "list the files here"}
BASH: ToolParam = {
    "name": "Bash",
    "description": "Run a command in a shell.",
    "input_schema": {"type": "object", "properties": {"command": {"type": "string"}}, "required": ["command"]},
}


def the_text(message: Message) -> str:
    """Return the text of an answer that is nothing else."""
    (block,) = message.content
    assert block.type == "text"
    return block.text


async def test_an_answer_is_streamed(client: AsyncAnthropic) -> None:
    async with client.messages.stream(model=MODEL, max_tokens=200, messages=QUESTION) as stream:
        pieces = [piece async for piece in stream.text_stream]
        message = await stream.get_final_message()
    assert len(pieces) > 10, "piece by piece, not in one lump"
    assert "bridge" in "".join(pieces).lower()
    assert message.stop_reason == "end_turn"
    assert the_text(message) == "".join(pieces)
    assert message.usage.input_tokens + (message.usage.cache_read_input_tokens or 0) > 10
    assert message.usage.output_tokens > 10


async def test_a_whole_answer_is_the_same_as_the_streamed_one(client: AsyncAnthropic) -> None:
    async with client.messages.stream(model=MODEL, max_tokens=30, messages=QUESTION) as stream:
        streamed = await stream.get_final_message()
    whole = await client.messages.create(model=MODEL, max_tokens=30, messages=QUESTION)
    assert the_text(whole) == the_text(streamed)
    assert (whole.stop_reason, whole.usage.output_tokens) == (streamed.stop_reason, streamed.usage.output_tokens)


async def test_a_prefill_is_continued_and_not_repeated(client: AsyncAnthropic) -> None:
    begun: list[MessageParam] = [
        {"role": "user", "content": "Count from one to five in words."},
        {"role": "assistant", "content": "one, two, thr"},
    ]
    message = await client.messages.create(model=MODEL, max_tokens=12, messages=begun)
    output_text = the_text(message)
    assert output_text
    assert not output_text.startswith(("one", " ", "("))
    assert "four" in output_text


async def test_a_tool_is_called_and_its_result_is_answered(client: AsyncAnthropic) -> None:
    first = await client.messages.create(model=MODEL, max_tokens=100, messages=[LIST_FILES], tools=[BASH])
    assert first.stop_reason == "tool_use"
    (call,) = [block for block in first.content if block.type == "tool_use"]
    assert (call.name, call.input) == ("Bash", {"command": "ls"})
    assert call.id.startswith("toolu_")

    history: list[Any] = [
        LIST_FILES,
        {"role": "assistant", "content": [block.model_dump(exclude_none=True) for block in first.content]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call.id, "content": "harbour.txt"}]},
    ]
    second = await client.messages.create(model=MODEL, max_tokens=100, messages=history, tools=[BASH])
    assert second.stop_reason == "end_turn"
    assert "harbour.txt" in the_text(second)


async def test_a_tool_call_comes_through_the_stream_as_legal_json(client: AsyncAnthropic) -> None:
    async with client.messages.stream(model=MODEL, max_tokens=100, messages=[LIST_FILES], tools=[BASH]) as stream:
        deltas = [event.delta async for event in stream if event.type == "content_block_delta"]
    pieces = [delta.partial_json for delta in deltas if delta.type == "input_json_delta"]
    assert json.loads("".join(pieces)) == {"command": "ls"}


async def test_a_prompt_beyond_the_window_is_refused_in_the_words_that_make_clients_compact(
    client: AsyncAnthropic,
) -> None:
    long: list[MessageParam] = [{"role": "user", "content": "bridge " * 9000}]
    with pytest.raises(BadRequestError, match=r"prompt is too long: \d{4,5} tokens > 8192 maximum") as caught:
        await client.messages.create(model=MODEL, max_tokens=10, messages=long)
    assert caught.value.body["error"]["type"] == "invalid_request_error"  # type: ignore[index]


async def test_a_stop_sequence_ends_the_answer_before_itself(client: AsyncAnthropic) -> None:
    whole = await client.messages.create(model=MODEL, max_tokens=30, messages=QUESTION)
    text = the_text(whole)
    word = text.split()[4]
    cut = await client.messages.create(model=MODEL, max_tokens=30, messages=QUESTION, stop_sequences=[word, "never"])
    assert (cut.stop_reason, cut.stop_sequence) == ("stop_sequence", word)
    assert the_text(cut) == text[: text.index(word)]


async def test_max_tokens_is_kept_and_reported(client: AsyncAnthropic) -> None:
    message = await client.messages.create(model=MODEL, max_tokens=7, messages=QUESTION)
    assert (message.stop_reason, message.usage.output_tokens) == ("max_tokens", 7)


async def test_an_answer_keeps_to_a_json_schema(client: AsyncAnthropic) -> None:
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {"title": {"type": "string", "maxLength": 40}, "pages": {"type": "integer"}},
        "required": ["title", "pages"],
        "additionalProperties": False,
    }
    message = await client.messages.create(
        model=MODEL,
        max_tokens=100,
        messages=[{"role": "user", "content": "Invent a book."}],
        extra_body={"output_config": {"format": {"type": "json_schema", "schema": schema}}},
    )
    invented = json.loads(the_text(message))
    assert set(invented) == {"title", "pages"}
    assert isinstance(invented["pages"], int)


async def test_the_second_turn_comes_from_the_cache(client: AsyncAnthropic) -> None:
    opening: list[MessageParam] = [{"role": "user", "content": "Here is a text. " + "The sea is wide. " * 60}]
    first = await client.messages.create(model=MODEL, max_tokens=10, messages=opening)
    follow_up: list[Any] = [
        *opening,
        {"role": "assistant", "content": the_text(first)},
        {"role": "user", "content": "Go on."},
    ]
    second = await client.messages.create(model=MODEL, max_tokens=10, messages=follow_up)
    cached = second.usage.cache_read_input_tokens or 0
    assert cached >= 0.8 * (second.usage.input_tokens + cached)
    assert second.usage.input_tokens > 0, "input_tokens are those that are not from the cache"


@pytest.mark.parametrize("tools", [[], [BASH]], ids=["no tools", "a tool"])
async def test_a_count_equals_the_prompt_tokens_of_the_answer(client: AsyncAnthropic, tools: list[ToolParam]) -> None:
    words = "これは橋です。 def f(x): return {'a': 0x1F}  😀\n"
    messages: list[MessageParam] = [
        {"role": "user", "content": words},
        {"role": "assistant", "content": "I see."},
        {"role": "user", "content": words * 3},
    ]
    counted = await client.messages.count_tokens(model=MODEL, messages=messages, tools=tools, system="Be brief.")
    message = await client.messages.create(
        model=MODEL, max_tokens=1, messages=messages, tools=tools, system="Be brief."
    )
    assert counted.input_tokens == message.usage.input_tokens + (message.usage.cache_read_input_tokens or 0)
