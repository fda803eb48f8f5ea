"""Asks the model itself for ``bridge doctor --probe``: some requests through the bridge, each bounded in time."""

from __future__ import annotations

import struct
import time
import zlib
from base64 import b64encode
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing, suppress
from functools import partial
from typing import NamedTuple

import anyio
from msgspec import DecodeError, Raw, json
from msgspec.structs import replace

from claude_bridge.adapters.engine_profiles import LLAMA_CPP
from claude_bridge.bridge import ModelBridge, new_id
from claude_bridge.conversion.response.accumulator import MessageAccumulator
from claude_bridge.doctor.finding import CheckStep, Finding, Subject, warn
from claude_bridge.doctor.model import with_configured
from claude_bridge.doctor.probed import (
    CACHE,
    LONG_PROMPT,
    PICTURE,
    STOP,
    TOOL_CALL,
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
from claude_bridge.providers import PROVIDERS, Upstream, upstream_of
from claude_bridge.trace.recorder import Recorder
from claude_bridge.upstream.client import UpstreamClient, client_for
from claude_bridge.upstream.engines.discover import discover
from claude_bridge.upstream.engines.ollama import root_url
from claude_bridge.upstream.engines.report import EngineReport, OfferedModel
from claude_bridge.wire.anthropic import (
    Base64Source,
    Block,
    ImageBlock,
    InputMessage,
    MessagesRequest,
    TextBlock,
    Thinking,
    Tool,
)
from claude_bridge.wire.anthropic_answers import ContentBlockDelta, ContentBlockStart
from claude_bridge.wire.lenient_json import parse_any

PROBE_LIMIT_S = 120.0
"""How long one request may take: a small machine reads 50 tokens a second."""

ALL_LIMIT_S = 360.0
"""How long all requests together may take; checks that did not run by then are named."""

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

_COLOUR, _RGB = "green", (0, 170, 0)
"""Rather than red or blue: what models guess that see nothing."""

PICTURE_SIDE = 224
"""Pixels. Many models cut their images to this; some engines refuse much smaller ones."""

_TOOL = Tool(
    name="get_weather",
    description="Return the weather of a city. Always use it when asked about weather.",
    input_schema=Raw(json.encode({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]})),
)


async def probe_model(subject: Subject, report: EngineReport) -> AsyncGenerator[CheckStep | Finding, None]:
    """Ask the model, and yield each step before its findings."""
    model = report.meant(subject.model)
    is_ready = (
        report.profile is not None and bool(subject.model or model) and (model is None or model.chats is not False)
    )
    if not is_ready:
        yield _not_asked("the checks above failed")
        return
    try:
        upstream = await discover(
            replace(
                subject.engine,
                upstream=_probed_upstream(subject.engine.upstream, report),
                window_tokens=None if subject.engine.models else subject.engine.window_tokens,
            )
        )
    except (SetupError, UpstreamError) as error:
        yield _not_asked(str(error))
        return
    described, _ = with_configured(subject, report, model or OfferedModel(id=subject.model))
    async with (
        client_for(upstream, subject.engine.api_key) as client,
        UpstreamClient(root_url(report.base_url), api_key=subject.engine.api_key, name=upstream.name) as root,
    ):
        is_busy = partial(has_busy_slot, root) if report.engine == LLAMA_CPP.name else None
        probes = probe_bridge(ModelBridge(upstream, client), sees_images=described.images is True, is_busy=is_busy)
        async with aclosing(probes):
            async for item in probes:
                yield item


def _probed_upstream(upstream: Upstream, report: EngineReport) -> Upstream:
    """Return the upstream of the API that was found, which may not be the one that was meant."""
    if report.base_url and report.is_ollama is not (upstream.adapter.kind == "ollama-chat"):
        row = PROVIDERS["ollama" if report.is_ollama else "openai"]
        return upstream_of(row, base_url=report.base_url, model=upstream.model)
    return replace(upstream, base_url=report.base_url or upstream.base_url)


def _not_asked(reason: str) -> Finding:
    return warn("probe", f"the model was not tested: {reason}", "Fix what is reported above, and run it again.")


async def has_busy_slot(client: UpstreamClient) -> bool | None:
    """Return whether a llama.cpp works on something; None: it does not report it."""
    document = await client.fetch("/slots", timeout_s=SLOTS_TIMEOUT_S)
    try:
        slots = parse_any(document.body) if document.status == 200 else None
    except DecodeError:
        return None
    if not isinstance(slots, list):
        return None
    return any(isinstance(slot, dict) and slot.get("is_processing") for slot in slots)


IsBusy = Callable[[], Awaitable[bool | None]]
"""Returns whether the engine works on something; None: it does not report it."""


async def probe_bridge(
    bridge: ModelBridge, *, sees_images: bool = False, is_busy: IsBusy | None = None, limit_s: float = ALL_LIMIT_S
) -> AsyncGenerator[CheckStep | Finding, None]:
    """Ask the model behind the bridge, and yield each step before its findings.

    Prompts are at most half of its window. No request begins after ``limit_s`` seconds.
    """
    prober = _Prober(bridge, is_busy, ends_at=anyio.current_time() + limit_s)
    yield prober.step("a short answer")
    prober.short = await prober.ask("Count from one to twenty in words.", max_tokens=100)
    yield check_speed(prober.short)
    if prober.short.error is not None:
        return
    probes = [probe for probe in _PROBES if sees_images or probe.name != PICTURE]
    for number, probe in enumerate(probes, 1):
        yield prober.step(probe.what)
        finding = await probe.run(prober)
        if finding is not None:
            yield finding
        if prober.is_late and number < len(probes):
            yield _out_of_time([later.name for later in probes[number:]], limit_s)
            return


def _out_of_time(names: Sequence[str], limit_s: float) -> Finding:
    seen = f"{limit_s:.0f} s are over; not checked: {', '.join(names)}"
    return warn("probe", seen, "The engine is too slow for the other checks: use a smaller model, or a GPU.")


async def _tool_call(prober: _Prober) -> Finding:
    question = "What is the weather in Paris? Use the tool get_weather."
    return check_tool_call(await prober.ask(question, tools=[_TOOL], max_tokens=300), tool=_TOOL.name, field="city")


async def _long_prompt(prober: _Prober) -> Finding:
    question = "What is the code word at the very beginning? Say only the code word."
    prober.long = await prober.ask(f"{prober.long_text}\n{question}")
    return check_long_prompt(prober.long, canary=CANARY)


async def _same_beginning(prober: _Prober) -> Finding | None:
    second = await prober.ask(f"{prober.long_text}\nHow is the river today? Answer in one word.")
    return check_cache(prober.long, second)


async def _picture(prober: _Prober) -> Finding:
    shown: list[Block] = [picture_of(*_RGB), TextBlock("Which colour is this picture? Answer with one word.")]
    return check_picture(await prober.ask(shown), colour=_COLOUR)


async def _stop(prober: _Prober) -> Finding | None:
    return check_stop(await _stop_an_answer(prober))


class _Probe(NamedTuple):
    """One request to the model, or some: the name of its check, and what is asked."""

    name: str
    what: str
    run: Callable[[_Prober], Awaitable[Finding | None]]


_PROBES = (
    _Probe(TOOL_CALL, "a tool call", _tool_call),
    _Probe(LONG_PROMPT, "a long prompt", _long_prompt),
    _Probe(CACHE, "the same beginning once more", _same_beginning),
    _Probe(PICTURE, "an image", _picture),
    _Probe(STOP, "a long answer that is stopped", _stop),
)


async def _stop_an_answer(prober: _Prober) -> Stopped:
    """Begin a long answer, leave it at its first token, and see how long the engine is busy all the same."""
    usual = await prober.ask(_SHORT_TASK, max_tokens=1)
    begun = await prober.ask(_LONG_TASK, max_tokens=LONG_ANSWER_TOKENS, stop_at_first=True)
    stopped_at = time.monotonic()
    if usual.error is not None or begun.first_token_s is None:
        return Stopped(error=usual.error or begun.error or "nothing was answered")
    left_s = LONG_ANSWER_TOKENS / (prober.short.tokens_per_s or float("inf"))
    busy = await _until_free(prober.is_busy) if prober.is_busy is not None else None
    if busy is not None:
        return Stopped(busy_s=None if busy else time.monotonic() - stopped_at, left_s=left_s)
    # Where the engine does not report it: by what a short question takes longer than before, it was busy.
    late = await prober.ask(_SHORT_TASK, max_tokens=1)
    if late.error is not None:
        return Stopped(busy_s=None, left_s=left_s)
    return Stopped(busy_s=max(0.0, _first_sign_s(late) - _first_sign_s(usual)), left_s=left_s)


async def _until_free(is_busy: IsBusy) -> bool | None:
    """Wait until the engine is free, and return whether it is still busy; None: not reported."""
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


class _Prober:
    """Asks the model, each question within a limit, and all of them within another."""

    def __init__(self, bridge: ModelBridge, is_busy: IsBusy | None, *, ends_at: float) -> None:
        self.is_busy = is_busy
        self.long_text = _long_text(bridge.upstream.window_tokens)
        self.short = self.long = Probed()
        """The answers to a short and to a long prompt."""
        self._bridge = bridge
        self._ends_at = ends_at

    @property
    def is_late(self) -> bool:
        """Whether the time for all questions is over."""
        return anyio.current_time() >= self._ends_at

    @property
    def _limit_s(self) -> float:
        return max(1.0, min(PROBE_LIMIT_S, self._ends_at - anyio.current_time()))

    def step(self, what: str) -> CheckStep:
        """Return the step that begins now."""
        return CheckStep(f"Asking the model: {what}", self._limit_s)

    async def ask(
        self,
        question: str | list[Block],
        *,
        tools: list[Tool] | None = None,
        max_tokens: int = 200,
        stop_at_first: bool = False,
    ) -> Probed:
        """Return the answer, or why there was none; ``stop_at_first`` leaves it at its first token."""
        bridge, limit_s = self._bridge, self._limit_s
        request = MessagesRequest(
            model=bridge.upstream.model,
            max_tokens=max_tokens,
            messages=[InputMessage("user", question)],
            tools=tools,
            thinking=Thinking("disabled"),
            temperature=0.0,
        )
        probed = Probed(estimated_tokens=await bridge.count_tokens(request))
        accumulator, started_at, first_s = MessageAccumulator(), time.monotonic(), None
        with anyio.move_on_after(limit_s) as limit:
            try:
                async with (
                    bridge.exchange(request, Recorder(bridge.bus, new_id("req_"))) as exchange,
                    aclosing(exchange.events()) as stream,
                ):
                    async for events in stream:
                        accumulator.feed(events)
                        has_content = any(isinstance(event, ContentBlockStart | ContentBlockDelta) for event in events)
                        if has_content and first_s is None:
                            first_s = time.monotonic() - started_at
                            if stop_at_first:
                                return replace(probed, first_token_s=first_s)
                    if exchange.error is not None:
                        raise exchange.error
            except BridgeError as error:
                return replace(probed, error=error.message)
        if limit.cancelled_caught:
            return replace(probed, error=f"no whole answer within {limit_s:.0f} s", is_late=True)
        message = accumulator.message
        return replace(
            probed,
            content=tuple(message.content),
            usage=message.usage,
            first_token_s=first_s,
            end_s=time.monotonic() - started_at,
        )


def picture_of(red: int, green: int, blue: int) -> ImageBlock:
    """Return a square PNG of one colour, each part from 0 to 255."""
    row = b"\0" + bytes((red, green, blue)) * PICTURE_SIDE  # each row of a PNG begins with its filter: none
    header = struct.pack(">IIBBBBB", PICTURE_SIDE, PICTURE_SIDE, 8, 2, 0, 0, 0)  # 8 bits for each of three colours
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(row * PICTURE_SIDE)), (b"IEND", b""))
    png = b"\x89PNG\r\n\x1a\n" + b"".join(_png_chunk(name, data) for name, data in chunks)
    return ImageBlock(Base64Source("image/png", b64encode(png).decode()))


def _png_chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
