"""Asks the model itself for ``bridge doctor --probe``: some requests through the bridge, each bounded in time."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from contextlib import aclosing, suppress
from functools import partial

import anyio
from msgspec import DecodeError, Raw, json
from msgspec.structs import replace

from claude_bridge.bridge import ModelBridge, new_id
from claude_bridge.conversion.response.accumulator import MessageAccumulator
from claude_bridge.doctor.answers import EngineAnswers
from claude_bridge.doctor.configuration import with_configured
from claude_bridge.doctor.engine import Asked
from claude_bridge.doctor.facts import Facts, Kind, read_facts
from claude_bridge.doctor.finding import Finding, doubtful
from claude_bridge.doctor.picture import picture_of
from claude_bridge.doctor.probed import (
    Probed,
    Stopped,
    check_cache,
    check_long_prompt,
    check_picture,
    check_speed,
    check_stop,
    check_tool_call,
)
from claude_bridge.errors import BridgeError, SetupError, UpstreamError
from claude_bridge.providers import PROVIDERS, Provider, upstream_of
from claude_bridge.trace.recorder import Recorder
from claude_bridge.upstream.client import UpstreamClient
from claude_bridge.upstream.engines.configured import upstream_as_configured
from claude_bridge.upstream.engines.detect import discover
from claude_bridge.wire.anthropic import (
    Block,
    ContentBlockDelta,
    ContentBlockStart,
    InputMessage,
    MessagesRequest,
    TextBlock,
    Thinking,
    Tool,
)
from claude_bridge.wire.lenient_json import parse_any

PROBE_LIMIT_S = 120.0
"""How long one request may take: a small machine reads 50 tokens a second."""

CANARY = "PELICAN-4711"
CANARY_TOKENS = 6_000
"""More than an Ollama's usual 4,096, and few enough for a small machine."""

_LINE = "Line {number}: the river is calm today, and nothing is to be reported from the bridge.\n"
_LINE_TOKENS = 22

_SHORT_TASK = "Say yes."
_LONG_TASK = "Write down all numbers from 1 to 1000, each in words, separated by commas."
LONG_ANSWER_TOKENS = 2_000
"""How long that answer may get, should it not be stopped."""

LOOK_AGAIN_S = 0.1
SLOTS_TIMEOUT_S = 5.0

_COLOUR = "green"
"""Rather than red or blue: what models guess that see nothing."""
_PICTURE = picture_of(0, 170, 0)

_TOOL = Tool(
    name="get_weather",
    description="Return the weather of a city. Always use it when asked about weather.",
    input_schema=Raw(json.encode({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]})),
)


async def probe_model(asked: Asked, answers: EngineAnswers, row: Provider, key: str | None) -> list[Finding]:
    """Return the findings of asking the model; none if there is nobody to ask."""
    facts = read_facts(answers, asked.model)
    if facts.kind is None or facts.base_url is None or not _is_ready(facts):
        return [doubtful("probe", "the model was not asked", "Mend what is above, and run it again.")]
    if (row.kind == "ollama-chat") is not (facts.kind is Kind.OLLAMA):
        row = PROVIDERS["ollama" if facts.kind is Kind.OLLAMA else "openai"]
    upstream = upstream_of(row, base_url=facts.base_url, model=facts.model)
    try:
        if asked.models:
            upstream = upstream_as_configured(upstream, asked.models, has_key=key is not None)
        else:
            upstream = await discover(upstream, key, key_hint="", window_tokens=asked.window_tokens)
    except (SetupError, UpstreamError) as error:
        return [doubtful("probe", f"the model was not asked: {error}", "Mend what is above, and run it again.")]
    told = with_configured(facts, asked.models, window_tokens=asked.window_tokens)
    async with (
        UpstreamClient(upstream.base_url, api_key=key, name=upstream.name) as client,
        UpstreamClient(answers.root, api_key=key, name=upstream.name) as root,
    ):
        return await probe_bridge(
            ModelBridge(upstream, client),
            sees_images="vision" in (told.capabilities or ()),
            is_busy=partial(has_busy_slot, root) if facts.kind is Kind.LLAMA_CPP else None,
        )


async def has_busy_slot(client: UpstreamClient) -> bool | None:
    """Return whether a llama.cpp works on something; None: it does not tell."""
    document = await client.fetch("/slots", timeout_s=SLOTS_TIMEOUT_S)
    try:
        slots = parse_any(document.body) if document.status == 200 else None
    except DecodeError:
        return None
    if not isinstance(slots, list):
        return None
    return any(isinstance(slot, dict) and slot.get("is_processing") for slot in slots)


def _is_ready(facts: Facts) -> bool:
    talks = not facts.capabilities or "completion" in facts.capabilities
    return bool(facts.model or facts.kind is Kind.LLAMA_CPP) and talks


IsBusy = Callable[[], Awaitable[bool | None]]
"""Tells whether the engine works on something; None: it does not tell."""


async def probe_bridge(
    bridge: ModelBridge, *, sees_images: bool = False, is_busy: IsBusy | None = None
) -> list[Finding]:
    """Return the findings of asking the model behind the bridge; prompts are at most half of its window."""
    speed = await _ask(bridge, "Count from one to twenty in words.", max_tokens=100)
    findings = [check_speed(speed)]
    if speed.error is not None:
        return findings
    question = "What is the weather in Paris? Use the tool get_weather."
    called = await _ask(bridge, question, tools=[_TOOL], max_tokens=300)
    findings.append(check_tool_call(called, tool=_TOOL.name, field="city"))
    long_text = _long_text(bridge.upstream.window_tokens)
    first = await _ask(bridge, f"{long_text}\nWhat is the code word at the very beginning? Say only the code word.")
    findings.append(check_long_prompt(first, canary=CANARY))
    second = await _ask(bridge, f"{long_text}\nHow is the river today? Answer in one word.")
    cache = check_cache(first, second)
    findings += [cache] if cache else []
    if sees_images:
        shown: list[Block] = [_PICTURE, TextBlock("Which colour is this picture? Answer with one word.")]
        findings.append(check_picture(await _ask(bridge, shown), colour=_COLOUR))
    stop = check_stop(await _stop_an_answer(bridge, speed, is_busy))
    return [*findings, stop] if stop else findings


async def _stop_an_answer(bridge: ModelBridge, speed: Probed, is_busy: IsBusy | None) -> Stopped:
    """Begin a long answer, leave it at its first token, and see how long the engine is busy all the same."""
    usual = await _ask(bridge, _SHORT_TASK, max_tokens=1)
    begun = await _ask(bridge, _LONG_TASK, max_tokens=LONG_ANSWER_TOKENS, stop_at_first=True)
    stopped_at = time.monotonic()
    if usual.error is not None or begun.first_token_s is None:
        return Stopped(error=usual.error or begun.error or "nothing was answered")
    left_s = LONG_ANSWER_TOKENS / (speed.tokens_per_s or float("inf"))
    busy = await _until_free(is_busy) if is_busy is not None else None
    if busy is not None:
        return Stopped(busy_s=None if busy else time.monotonic() - stopped_at, left_s=left_s)
    # It can't be looked at: what a short question takes longer than before, it was busy with something else.
    late = await _ask(bridge, _SHORT_TASK, max_tokens=1)
    if late.error is not None:
        return Stopped(busy_s=None, left_s=left_s)
    return Stopped(busy_s=max(0.0, _first_sign_s(late) - _first_sign_s(usual)), left_s=left_s)


async def _until_free(is_busy: IsBusy) -> bool | None:
    """Wait until the engine is free, and return whether it is still busy; None: it does not tell."""
    busy: bool | None = None
    with anyio.move_on_after(PROBE_LIMIT_S), suppress(UpstreamError):
        while busy := await is_busy():  # noqa: ASYNC110 - it is another program's state
            await anyio.sleep(LOOK_AGAIN_S)
    return busy


def _first_sign_s(probed: Probed) -> float:
    return probed.end_s if probed.first_token_s is None else probed.first_token_s


def _long_text(window_tokens: int | None) -> str:
    # Half of the window at most, so that the answer and a tokenizer that counts more have room.
    tokens = min(CANARY_TOKENS, (window_tokens or CANARY_TOKENS * 2) // 2)
    lines = "".join(_LINE.format(number=number) for number in range(1, tokens // _LINE_TOKENS))
    return f"The code word is {CANARY}. Remember it.\n{lines}"


async def _ask(
    bridge: ModelBridge,
    question: str | list[Block],
    *,
    tools: list[Tool] | None = None,
    max_tokens: int = 200,
    stop_at_first: bool = False,
) -> Probed:
    request = MessagesRequest(
        model=bridge.upstream.model,
        max_tokens=max_tokens,
        messages=[InputMessage("user", question)],
        tools=tools,
        thinking=Thinking("disabled"),
        temperature=0.0,
    )
    probed = Probed(estimated_tokens=await bridge.count_tokens(request))
    fold, started_at, first_s = MessageAccumulator(), time.monotonic(), None
    with anyio.move_on_after(PROBE_LIMIT_S) as limit:
        try:
            async with (
                bridge.exchange(request, Recorder(bridge.bus, new_id("req_"))) as exchange,
                aclosing(exchange.events()) as stream,
            ):
                async for events in stream:
                    fold.feed(events)
                    said = any(isinstance(event, ContentBlockStart | ContentBlockDelta) for event in events)
                    if said and first_s is None:
                        first_s = time.monotonic() - started_at
                        if stop_at_first:
                            return replace(probed, first_token_s=first_s)
                if exchange.error is not None:
                    raise exchange.error
        except BridgeError as error:
            return replace(probed, error=error.message)
    if limit.cancelled_caught:
        return replace(probed, error=f"no whole answer within {PROBE_LIMIT_S:.0f} s", is_late=True)
    message = fold.message
    return replace(
        probed,
        content=tuple(message.content),
        usage=message.usage,
        first_token_s=first_s,
        end_s=time.monotonic() - started_at,
    )
