"""Asks the model itself for ``bridge doctor --probe``: a few requests through the bridge, each bounded in time."""

from __future__ import annotations

import time

import anyio
from msgspec import Raw, json
from msgspec.structs import replace

from claude_bridge.bridge import Bridge, new_id
from claude_bridge.conversion.fold import Fold
from claude_bridge.errors import BridgeError, SetupError, UpstreamError
from claude_bridge.providers import PROVIDERS, Provider, upstream_of
from claude_bridge.trace.recorder import Recorder
from claude_bridge.upstream.checks.answers import EngineAnswers
from claude_bridge.upstream.checks.engine import Asked
from claude_bridge.upstream.checks.facts import Facts, Kind, read_facts
from claude_bridge.upstream.checks.finding import Finding, doubtful
from claude_bridge.upstream.checks.probed import (
    Probed,
    check_cache,
    check_long_prompt,
    check_speed,
    check_tool_call,
)
from claude_bridge.upstream.client import UpstreamClient
from claude_bridge.upstream.configured import upstream_as_configured
from claude_bridge.upstream.discovery import discover
from claude_bridge.wire.anthropic import (
    ContentBlockDelta,
    ContentBlockStart,
    InputMessage,
    MessagesRequest,
    Thinking,
    Tool,
)

PROBE_LIMIT_S = 120.0
"""How long one request may take: a small machine reads 50 tokens a second."""

CANARY = "PELICAN-4711"
CANARY_TOKENS = 6_000
"""More than an Ollama's usual 4,096, and few enough for a small machine."""

_LINE = "Line {number}: the river is calm today, and nothing is to be reported from the bridge.\n"
_LINE_TOKENS = 22

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
    async with UpstreamClient(upstream.base_url, api_key=key, name=upstream.name) as client:
        return await probe_bridge(Bridge(upstream, client))


def _is_ready(facts: Facts) -> bool:
    talks = not facts.capabilities or "completion" in facts.capabilities
    return bool(facts.model or facts.kind is Kind.LLAMA_CPP) and talks


async def probe_bridge(bridge: Bridge) -> list[Finding]:
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
    return [*findings, cache] if cache else findings


def _long_text(window_tokens: int | None) -> str:
    # Half of the window at most, so that the answer and a tokenizer that counts more have room.
    tokens = min(CANARY_TOKENS, (window_tokens or CANARY_TOKENS * 2) // 2)
    lines = "".join(_LINE.format(number=number) for number in range(1, tokens // _LINE_TOKENS))
    return f"The code word is {CANARY}. Remember it.\n{lines}"


async def _ask(bridge: Bridge, question: str, *, tools: list[Tool] | None = None, max_tokens: int = 200) -> Probed:
    request = MessagesRequest(
        model=bridge.upstream.model,
        max_tokens=max_tokens,
        messages=[InputMessage("user", question)],
        tools=tools,
        thinking=Thinking("disabled"),
        temperature=0.0,
    )
    probed = Probed(estimated_tokens=await bridge.count_tokens(request))
    fold, started_at, first_s = Fold(), time.monotonic(), None
    with anyio.move_on_after(PROBE_LIMIT_S) as limit:
        try:
            async with bridge.exchange(request, Recorder(bridge.bus, new_id("req_"))) as exchange:
                async for events in exchange.events():
                    fold.feed(events)
                    said = any(isinstance(event, ContentBlockStart | ContentBlockDelta) for event in events)
                    if said and first_s is None:
                        first_s = time.monotonic() - started_at
                if exchange.error is not None:
                    raise exchange.error
        except BridgeError as error:
            return replace(probed, error=error.message)
    if limit.cancelled_caught:
        return replace(probed, error=f"no whole answer within {PROBE_LIMIT_S:.0f} s")
    message = fold.message
    return replace(
        probed,
        content=tuple(message.content),
        usage=message.usage,
        first_token_s=first_s,
        end_s=time.monotonic() - started_at,
    )
