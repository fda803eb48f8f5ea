"""Asks the model itself for ``bridge doctor --probe``, each request bounded in time, and judges its answers."""

from __future__ import annotations

import time
from base64 import b64encode
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, suppress
from functools import partial
from pathlib import Path

import anyio
from msgspec import Raw, Struct, json
from msgspec.structs import replace

from claude_bridge.adapters.engine_profiles import LLAMA_CPP
from claude_bridge.bridge import ModelBridge
from claude_bridge.conversion.upstream_errors.translate import quote
from claude_bridge.doctor.finding import CheckStep, Finding, Subject, fail, ok, warn
from claude_bridge.doctor.model import with_configured
from claude_bridge.errors import BridgeError, SetupError, UpstreamError
from claude_bridge.exam.asking import SLOW_FIRST_S, SLOW_TOKENS_PER_S, MeasuredAnswer, ask
from claude_bridge.trace.console.printable import shortened
from claude_bridge.upstream.client import UpstreamClient, client_for
from claude_bridge.upstream.engines.discover import discover
from claude_bridge.upstream.engines.ollama import root_url
from claude_bridge.upstream.engines.report import EngineReport, OfferedModel
from claude_bridge.wire import anthropic
from claude_bridge.wire.lenient_json import parse_any, read_or_none

SPEED, TOOL_CALL, LONG_PROMPT, CACHE = "speed", "tool call", "long prompt", "prompt cache"
PICTURE, STOP = "picture", "stop"

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

_COLOUR = "green"
"""Rather than red or blue: what models guess that see nothing."""

CUT_SHARE = 0.6
"""A prompt of which the engine counts less than this share of our own estimate was cut: tokenizers differ by less."""

TOO_QUICK_S = 0.3
"""Below it, a time says nothing about a cache."""

FREE_WITHIN_S = 3.0
"""How soon a stopped engine should be free: llama.cpp looks each second whether it is still listened to."""

_TOOL = anthropic.Tool(
    name="get_weather",
    description="Return the weather of a city. Always use it when asked about weather.",
    input_schema=Raw(json.encode({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]})),
)


async def probe_model(subject: Subject, report: EngineReport) -> AsyncGenerator[CheckStep | Finding, None]:
    """Ask the model, and yield each step before its findings."""
    model = report.meant(subject.model)
    if report.profile is None or not (subject.model or model) or (model is not None and model.chats is False):
        yield _not_asked("the checks above failed")
        return
    window = None if subject.engine.models else subject.engine.window_tokens
    try:
        upstream = await discover(replace(subject.engine, window_tokens=window))
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


def _not_asked(reason: str) -> Finding:
    return warn("probe", f"the model was not tested: {reason}", "Fix what is reported above, and run it again.")


async def has_busy_slot(client: UpstreamClient) -> bool | None:
    """Return whether a llama.cpp works on something; None: it does not report it."""
    document = await client.fetch("/slots", timeout_s=SLOTS_TIMEOUT_S)
    slots = read_or_none(parse_any, document.body) if document.status == 200 else None
    if not isinstance(slots, list):
        return None
    return any(isinstance(slot, dict) and slot.get("is_processing") for slot in slots)


IsBusy = Callable[[], Awaitable[bool | None]]
"""Returns whether the engine works on something; None: it does not report it."""


async def probe_bridge(
    bridge: ModelBridge,
    *,
    sees_images: bool = False,
    is_busy: IsBusy | None = None,
    limit_s: float = ALL_LIMIT_S,
    free_within_s: float = FREE_WITHIN_S,
) -> AsyncGenerator[CheckStep | Finding, None]:
    """Ask the model behind the bridge, and yield each step before its findings.

    Prompts are at most half of its window. No request begins after ``limit_s`` seconds. ``free_within_s`` is how long
    after a stopped answer the engine may be busy.
    """
    prober = _Prober(bridge, is_busy, ends_at=anyio.current_time() + limit_s, free_within_s=free_within_s)
    yield prober.step("a short answer")
    prober.short = await prober.ask("Count from one to twenty in words.", max_tokens=100)
    yield check_speed(prober.short)
    if prober.short.error is not None:
        return
    names = [name for name in _PROBES if sees_images or name != PICTURE]
    for number, name in enumerate(names, 1):
        what, run = _PROBES[name]
        yield prober.step(what)
        finding = await run(prober)
        if finding is not None:
            yield finding
        if prober.left_s <= 0 and number < len(names):
            seen = f"{limit_s:.0f} s are over; not checked: {', '.join(names[number:])}"
            yield warn("probe", seen, "The engine is too slow for the other checks: use a smaller model, or a GPU.")
            return


class Probed(Struct, frozen=True, kw_only=True):
    """One answer of the model, or why there was none."""

    answer: MeasuredAnswer = MeasuredAnswer()
    error: str | None = None
    estimated_tokens: int = 0
    """How long we take the prompt for."""


class _Prober:
    """Asks the model, each question within a limit, and all of them within another."""

    def __init__(self, bridge: ModelBridge, is_busy: IsBusy | None, *, ends_at: float, free_within_s: float) -> None:
        self.is_busy = is_busy
        self.free_within_s = free_within_s
        # Half of the window at most, so that the answer and a tokenizer that counts more have room.
        tokens = min(CANARY_TOKENS, (bridge.upstream.window_tokens or CANARY_TOKENS * 2) // 2)
        lines = "".join(_LINE.format(number=number) for number in range(1, tokens // _LINE_TOKENS))
        self.long_text = f"The code word is {CANARY}. Remember it.\n{lines}"
        self.short = self.long = Probed()
        """The answers to a short and to a long prompt."""
        self._bridge = bridge
        self._ends_at = ends_at

    @property
    def left_s(self) -> float:
        """How much is left of the time for all questions."""
        return self._ends_at - anyio.current_time()

    @property
    def _limit_s(self) -> float:
        return max(1.0, min(PROBE_LIMIT_S, self.left_s))

    def step(self, what: str) -> CheckStep:
        """Return the step that begins now."""
        return CheckStep(f"Asking the model: {what}", self._limit_s)

    async def ask(
        self,
        question: str | list[anthropic.Block],
        *,
        tools: list[anthropic.Tool] | None = None,
        max_tokens: int = 200,
        leaves_at_first: bool = False,
    ) -> Probed:
        """Return the answer, or why there was none; ``leaves_at_first`` stops it at its first token."""
        limit_s = self._limit_s
        request = anthropic.MessagesRequest(
            model=self._bridge.upstream.model,
            max_tokens=max_tokens,
            messages=[anthropic.InputMessage("user", question)],
            tools=tools,
            thinking=anthropic.Thinking("disabled"),
            temperature=0.0,
        )
        probed = Probed(estimated_tokens=await self._bridge.count_tokens(request))
        try:
            answer = await ask(self._bridge, request, limit_s, leaves_at_first=leaves_at_first)
        except BridgeError as error:
            return replace(probed, error=error.message)
        late = f"no whole answer within {limit_s:.0f} s" if answer.left == "late" else None
        return replace(probed, answer=answer, error=late)


# --- what is asked ------------------------------------------------------------------------------------------------


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
    question = anthropic.TextBlock("Which colour is this picture? Answer with one word.")
    return check_picture(await prober.ask([picture(), question]), colour=_COLOUR)


async def _stop(prober: _Prober) -> Finding | None:
    """Begin a long answer, leave it at its first token, and see how long the engine is busy all the same."""
    usual = await prober.ask(_SHORT_TASK, max_tokens=1)
    begun = await prober.ask(_LONG_TASK, max_tokens=LONG_ANSWER_TOKENS, leaves_at_first=True)
    stopped_at = time.monotonic()
    if usual.error is not None or begun.answer.left != "begun":
        return None
    left_s = LONG_ANSWER_TOKENS / (prober.short.answer.tokens_per_s or float("inf"))
    busy = await _until_free(prober.is_busy) if prober.is_busy is not None else None
    if busy is not None:
        busy_s = None if busy else time.monotonic() - stopped_at
        return check_stop(busy_s, left_s, free_within_s=prober.free_within_s)
    # Where the engine does not report it: by what a short question takes longer than before, it was busy.
    late = await prober.ask(_SHORT_TASK, max_tokens=1)
    first_signs = [one.answer.figures.first_token_s or one.answer.took_s for one in (usual, late)]
    busy_s = None if late.error else max(0.0, first_signs[1] - first_signs[0])
    return check_stop(busy_s, left_s, free_within_s=prober.free_within_s)


async def _until_free(is_busy: IsBusy) -> bool | None:
    """Wait until the engine is free, and return whether it is still busy; None: not reported."""
    busy: bool | None = None
    with anyio.move_on_after(PROBE_LIMIT_S), suppress(UpstreamError):
        while busy := await is_busy():  # noqa: ASYNC110 - it is another program's state
            await anyio.sleep(LOOK_AGAIN_S)
    return busy


_PROBES: dict[str, tuple[str, Callable[[_Prober], Awaitable[Finding | None]]]] = {
    TOOL_CALL: ("a tool call", _tool_call),
    LONG_PROMPT: ("a long prompt", _long_prompt),
    CACHE: ("the same beginning once more", _same_beginning),
    PICTURE: ("an image", _picture),
    STOP: ("a long answer that is stopped", _stop),
}
"""One request to the model, or some, by the name of its check."""


def picture() -> anthropic.ImageBlock:
    """Return a green square of 224 pixels: many models cut images to this; some engines refuse much smaller ones."""
    png = Path(__file__).with_name("green.png").read_bytes()
    return anthropic.ImageBlock(anthropic.Base64Source("image/png", b64encode(png).decode()))


# --- what the answers mean ----------------------------------------------------------------------------------------


def _no_answer(name: str, probed: Probed, remedy: str) -> Finding | None:
    """Return that there is no answer; one that is late says nothing about what is checked. None: there is one."""
    if probed.answer.left == "late":
        return warn(name, str(probed.error), "Use a smaller model, or one that fits on the GPU; then ask again.")
    return None if probed.error is None else fail(name, probed.error, remedy)


def check_speed(probed: Probed) -> Finding:
    """Judge how soon and how fast the model answers."""
    first_token_s, tokens_per_s = probed.answer.figures.first_token_s, probed.answer.tokens_per_s
    if probed.error is not None or first_token_s is None:
        return fail(SPEED, probed.error or "the model answered nothing", "Look at the engine's log.")
    speed = f"first token after {first_token_s:.1f} s"
    if tokens_per_s is not None:
        speed += f", then {tokens_per_s:.0f} tokens/s"
    if tokens_per_s is not None and tokens_per_s < SLOW_TOKENS_PER_S:
        return warn(SPEED, f"{speed}: too slow to work with", "Use a smaller model, or one that fits on the GPU.")
    if first_token_s > SLOW_FIRST_S:
        return warn(SPEED, f"{speed}: it may have been loading", "Run it again: a loaded model answers sooner.")
    return ok(SPEED, speed)


def check_tool_call(probed: Probed, *, tool: str, field: str) -> Finding:
    """Judge whether the model called the requested tool, with a field that makes sense."""
    if found := _no_answer(TOOL_CALL, probed, "Use a model that can call tools."):
        return found
    answer = probed.answer
    if not answer.calls:
        words = f"; it answered: {shortened(quote(answer.text), 80)}" if answer.text else ""
        return fail(TOOL_CALL, f"the model called no tool when asked to{words}", "Use a model made for tools.")
    call = answer.calls[0]
    arguments = parse_any(bytes(call.input))
    if call.name != tool or not isinstance(arguments, dict) or not isinstance(arguments.get(field), str):
        seen = f"the model called {call.name} with {quote(bytes(call.input).decode())[:80]}"
        return fail(TOOL_CALL, seen, "Use a model made for tools.")
    return ok(TOOL_CALL, f"a streamed call of {tool} came back valid")


def check_long_prompt(probed: Probed, *, canary: str) -> Finding:
    """Judge whether a word at the front of a long prompt survived, or the prompt was cut in silence."""
    if found := _no_answer(LONG_PROMPT, probed, "Give the engine a larger context window."):
        return found
    size, read_tokens = f"{probed.estimated_tokens:,} tokens", probed.answer.figures.prompt_tokens
    if canary.lower() in probed.answer.text.lower():
        return ok(LONG_PROMPT, f"the beginning of about {size} arrived")
    if not read_tokens:
        seen = f"the model did not find a word at the beginning of about {size}"
        return warn(
            LONG_PROMPT, f"{seen}; the engine does not report what it read", "Check the engine's context window."
        )
    if read_tokens < CUT_SHARE * probed.estimated_tokens:
        return fail(
            LONG_PROMPT,
            f"of about {size} the engine read {read_tokens:,}: it cuts prompts in silence",
            "Give the engine a larger context window, and ask an Ollama through its own API: `bridge serve ollama`",
        )
    seen = f"all of about {size} was read, but the model did not find a word at its beginning"
    return warn(LONG_PROMPT, seen, "The model is weak with long prompts: use a larger one.")


def check_cache(first: Probed, second: Probed) -> Finding | None:
    """Judge whether the beginning that two prompts share is read only once; None: there is nothing to compare."""
    figures = second.answer.figures
    first_s, second_s = first.answer.figures.first_token_s, figures.first_token_s
    if first_s is None or second_s is None:
        return None
    times = f"{first_s:.1f} s, then {second_s:.1f} s"
    cached, read = figures.cached_tokens or 0, figures.prompt_tokens or 0
    if cached * 2 > read > 0:
        return ok(CACHE, f"{cached:,} of {read:,} tokens reused ({times})")
    if first_s < TOO_QUICK_S:
        return ok(CACHE, f"too quick to tell ({times})")
    if second_s < first_s / 2:
        return ok(CACHE, f"the second prompt with the same beginning was read sooner ({times})")
    remedy = "Without it every turn reads the whole conversation again. Switch on the engine's prefix cache."
    return warn(CACHE, f"the same beginning was read twice ({times})", remedy)


def check_picture(probed: Probed, *, colour: str) -> Finding:
    """Judge whether a model that reports vision saw the colour of a picture."""
    if probed.error is not None:
        remedy = "Claude Code can do without images: list the model in the configuration, with vision = false."
        return warn(PICTURE, f"a {colour} picture was refused: {probed.error}", remedy)
    if colour in probed.answer.text.lower():
        return ok(PICTURE, f"a {colour} picture was seen as {colour}")
    answer = quote(probed.answer.text)[:80] or "nothing"
    remedy = "Don't rely on what it sees: take another model for images."
    return warn(PICTURE, f"the model was shown a {colour} picture, and gave as its colour: {answer}", remedy)


def check_stop(busy_s: float | None, left_s: float, *, free_within_s: float = FREE_WITHIN_S) -> Finding:
    """Judge whether an answer that was stopped after its first token sets the engine free.

    ``busy_s`` is how long the engine was busy all the same (None: for longer than the wait), ``left_s`` about how long
    the rest of the answer would have taken.
    """
    if busy_s is not None and busy_s <= free_within_s:
        if left_s <= free_within_s:
            return ok(STOP, "too quick to see whether the engine continues a stopped answer")
        return ok(STOP, f"free {busy_s:.1f} s after an answer was stopped")
    busy = "never became free" if busy_s is None else f"was busy for another {busy_s:.0f} s"
    remedy = "Update the engine; if there is a proxy in front of it, bypass it: there, a stopped answer continues."
    return warn(STOP, f"an answer was stopped, and the engine {busy}", remedy)
