"""Where thoughts stand in the text is learned from the answers, for each upstream and model; the name is a guess."""

from __future__ import annotations

import anyio
import pytest

from claude_bridge.adapters.engine_profiles import UNKNOWN, profile_for
from claude_bridge.wire.anthropic import TextBlock, ThinkingBlock
from claude_bridge.wire.anthropic_answers import ContentBlockStart
from tests.dialogues import folded
from tests.fake_upstream import DONE, FakeUpstream, Head, Reply, Send, Wait, answer, chunk, finish, stream, text
from tests.running_bridge import scripted_upstream
from tests.server.served import BridgeServer, parse_events, streamed

pytestmark = pytest.mark.anyio

HYBRIDS = ("qwen3.5-397b-a17b", "qwen3.6-plus", "MiniMax-M3", "deepseek-r1", "deepseek-v3.2", "glm-4.7", "MiniMax-M2.5")
LONE_TAG: Reply = stream(text("Hm. "), text("So.\n</think>\n\n"), text("Hello."), finish(), DONE)


async def _contents(model: str, *replies: Reply) -> list[list[object]]:
    """Return what the client gets for each of the replies, one after the other: texts, and thoughts in lists."""
    contents: list[list[object]] = []
    async with FakeUpstream(replies) as upstream:
        engine = scripted_upstream(upstream.base_url, profile=profile_for(UNKNOWN, model))
        async with BridgeServer(engine) as server:
            for _ in replies:
                message = folded((await server.messages(stream=True)).events)
                contents.append([
                    [block.thinking] if isinstance(block, ThinkingBlock) else block.text
                    for block in message.content
                    if isinstance(block, TextBlock | ThinkingBlock)
                ])  # fmt: skip
    return contents


@pytest.mark.parametrize("model", HYBRIDS)
async def test_a_plain_answer_is_text_and_sent_once(model: str) -> None:
    assert await _contents(model, answer("Hello there, done.")) == [["Hello there, done."]]


@pytest.mark.parametrize("model", HYBRIDS)
async def test_a_plain_answer_streams(model: str) -> None:
    go_on = anyio.Event()
    script: Reply = [Head(), Send(text("Hello ")), Wait(go_on), Send(text("there.")), Send(finish()), Send(DONE)]
    async with FakeUpstream([script]) as upstream:
        engine = scripted_upstream(upstream.base_url, profile=profile_for(UNKNOWN, model))
        async with BridgeServer(engine) as server, server.connect() as wire:
            await wire.send(streamed())
            await wire.head()
            body = await wire.chunk()
            go_on.set()
    (start,) = [event for event in parse_events(body) if isinstance(event, ContentBlockStart)]
    assert start.content_block == TextBlock("")
    assert b"Hello " in body


async def test_a_lone_closing_tag_is_learned() -> None:
    first, second = await _contents("qwen3.5-27b", LONE_TAG, LONE_TAG)
    assert first == ["Hm. So.\nHello."], "nobody could know"
    assert second == [["Hm. So."], "Hello."]


async def test_it_is_learned_whatever_the_name() -> None:
    _, second = await _contents("my-model", LONE_TAG, LONE_TAG)
    assert second == [["Hm. So."], "Hello."]


async def test_a_field_for_thoughts_is_learned() -> None:
    apart = stream(chunk({"reasoning_content": "", "content": "Hi."}), finish(), DONE)
    assert await _contents("qwq-32b", apart, answer("Hello there, done.")) == [["Hi."], ["Hello there, done."]]


async def test_what_was_learned_is_given_up_when_an_answer_shows_otherwise() -> None:
    plain = answer("Hello there.")
    _, second, third = await _contents("qwen3.5-27b", LONE_TAG, plain, plain)
    assert second == ["Hello there."], "an answer is never lost, and never given twice"
    assert third == ["Hello there."]
