"""Runs an exam: finds the engine, lets the model do each task in its world, and stores the results."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncGenerator, Callable, Collection
from contextlib import aclosing
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import anyio
from msgspec import Raw, Struct, json
from msgspec.structs import replace

from claude_bridge.app.build import build_plan
from claude_bridge.app.notices import Notices
from claude_bridge.app.options import Options
from claude_bridge.app.plan import Plan
from claude_bridge.app.running import RunningBridge
from claude_bridge.app.serve import run, serve_beside, wait_for_engine
from claude_bridge.config.schema import Config
from claude_bridge.conversion.pricing import Prices
from claude_bridge.conversion.prompt.token_estimate import estimate_tokens
from claude_bridge.errors import BridgeError, SetupError, UpstreamLoadingError, UpstreamUnreachableError
from claude_bridge.exam.asking import CHARS_PER_TOKEN, AnswerFigures, Ask, MeasuredAnswer, asks
from claude_bridge.exam.catalog import Kind
from claude_bridge.exam.results import Exam, Result, Settings, TranscriptLine, result_of
from claude_bridge.exam.store import Store
from claude_bridge.exam.task import Happened
from claude_bridge.exam.world import TOOLS, AnsweredCall, World
from claude_bridge.providers import Upstream, engine_words
from claude_bridge.routing import Routing, Target
from claude_bridge.trace.secrets import Secrets
from claude_bridge.upstream.engines.detect import inspect_engine
from claude_bridge.wire import anthropic

ANSWER_TOKENS = 300
"""Of a usual answer with its thoughts; the limits of a task allow more."""

ENDS_THE_EXAM = frozenset({401, 402, 403, 404})
"""Statuses of errors that the next task would have too: no such model, no key."""

ENGINE_HINT = "Check the engine, and continue with --resume."
MAX_SILENT = 3
"""After this many tasks in a row without any output, the engine counts as stuck."""

SAME_CALLS = 3
"""This many equal calls with equal results in a row are a loop."""

NUDGE = "Your previous answer had no visible text. Go on with the task, or say that it is done."
"""After a first empty answer, Claude Code asks once more too."""

READ_ONLY = frozenset({"Read", "Glob", "Grep", "TodoWrite"})

_CLAIM = re.compile(
    r"\b(?:I(?: have|'ve)?|(?:has|have) been|was|were|is|are|it) (?:\w+ly |just |now |already )*"
    r"(?:edited|updated|changed|created|written|replaced|fixed|renamed|added|set|sent|completed|done|worked)\b|^done\b",
    re.IGNORECASE,
)
"""How models report that they did something."""


class PreparedExam(Struct, frozen=True, kw_only=True):
    """An exam that can begin, and about what it costs at a provider with known prices."""

    plan: Plan
    settings: Settings
    cost_usd: float


def prepare(config: Config, options: Options, notices: Notices, **choices: Any) -> PreparedExam:  # noqa: ANN401 - Settings' fields
    """Return the exam of a model, with what its engine reports about itself.

    Raises:
        SetupError: there is no such engine or model, or it does not answer.
    """
    plan = build_plan(config, options, notices)
    upstream, engine, digest = run(partial(_find, plan, notices))
    # No fallback and no route: the exam is of this model alone.
    alone = Routing(main=Target(plan.routing.main.provider, upstream.model))
    plan = replace(plan, main=plan.main.with_model(upstream.model), routing=alone, vision_model=None)
    is_local = plan.embedded is not None
    settings = Settings(
        provider=plan.routing.main.provider,
        model=upstream.model,
        base_url="" if is_local else upstream.base_url,  # where it listens differs each time
        engine=engine,
        digest=digest,
        window_tokens=upstream.window_tokens,
        think=upstream.think,
        **choices,
    )
    return PreparedExam(plan=plan, settings=settings, cost_usd=expected_cost_usd(settings, upstream.prices))


async def _find(plan: Plan, notices: Notices) -> tuple[Upstream, str, str]:
    """Return the upstream, the engine's name and version, and the digest of the model, empty where it is not known."""
    upstream = await wait_for_engine(plan, notices)
    if plan.embedded is not None:
        return upstream, f"llama.cpp (xllamacpp {version('xllamacpp')})", ""
    if plan.main.models or not plan.main.check:  # the configuration describes the engine
        return upstream, engine_words(upstream.name, upstream.adapter.kind), ""
    report = await inspect_engine(upstream, plan.main.api_key)
    found = report.find(upstream.model)
    digest = (found.ollama.digest if found is not None and found.ollama is not None else None) or ""
    return upstream, report.title if report.is_known else engine_words(upstream.name, upstream.adapter.kind), digest


def expected_cost_usd(settings: Settings, prices: Prices | None) -> float:
    """Return about what an exam costs, if each task takes the answers that it needs and nothing is cached."""
    if prices is None or not (prices.input or prices.output):
        return 0.0
    read = answers = 0
    for kind, number in settings.left(()):
        task = kind.task(settings.seed, number)
        prompt = json.encode([task.system, task.history, task.prompt, [TOOLS[name] for name in task.tools]])
        answers += len(task.good)
        read += (estimate_tokens(prompt, holds_images=False) + ANSWER_TOKENS) * len(task.good)
    return (read * prices.input + answers * ANSWER_TOKENS * prices.output) / 1_000_000


def take(
    prepared: PreparedExam, exam: Exam, path: Path, store: Store, notices: Notices, show: Callable[[Result], None]
) -> None:
    """Run the tasks that an exam lacks; each result is added to it, kept, and shown.

    Raises:
        SetupError: the engine does not answer any more.
    """
    redact = Secrets(prepared.plan.keys).without

    def keep(result: Result) -> None:
        # An engine's error may quote a key.
        lines = [TranscriptLine(line.kind, redact(line.text)) for line in result.transcript]
        result = replace(result, fault=redact(result.fault), transcript=lines)
        exam.results.append(result)
        store.add(path, result)
        show(result)

    run(partial(serve_beside, prepared.plan, partial(_take, exam, keep), notices))


async def _take(exam: Exam, keep: Callable[[Result], None], bridge: RunningBridge, upstream: Upstream) -> None:
    done = {result.key for result in exam.results}
    if exam.settings.client:
        from claude_bridge.exam.real_client import take_with_client

        results = take_with_client(exam.settings, bridge, upstream, done=done)
    else:
        results = take_exam(exam.settings, asks(await bridge.service.bridge()), done=done)
    async with aclosing(results) as stream:
        async for result in stream:
            keep(result)


# --- one task -----------------------------------------------------------------------------------------------------


class TaskLimits(Struct, frozen=True, kw_only=True):
    """The limits of one task."""

    seconds: float = 240.0
    output_tokens: int = 16_000
    answer_tokens: int = 8_000


class _StoppedError(Exception):
    """The task ends here, not passed."""


async def take_exam(
    settings: Settings, ask: Ask, *, done: Collection[tuple[str, int]] = (), limits: TaskLimits | None = None
) -> AsyncGenerator[Result, None]:
    """Yield the result of each task that is not ``done``.

    Raises:
        SetupError: the engine does not answer any more.
    """
    silent = 0
    for kind, number in settings.left(done):
        result = await _Work(kind, settings, number, ask, limits or TaskLimits()).result()
        silent = silent + 1 if result.limits and not any(one.output_tokens for one in result.answers) else 0
        if silent == MAX_SILENT:
            raise SetupError(f"{MAX_SILENT} tasks in a row got no output within their time limit.", ENGINE_HINT)
        yield result


class _Work:
    """One task under way: the conversation, and the world that it works on."""

    def __init__(self, kind: Kind, settings: Settings, run: int, ask: Ask, limits: TaskLimits) -> None:
        self._kind, self._run = kind, run
        self._task = task = kind.task(settings.seed, run)
        self._model = settings.model
        self._ask = ask
        self._limits = limits
        self._world = World(
            task.files, offered=task.tools, prepared=task.prepared, results=task.results, locked=task.locked
        )
        self._messages = [*task.history, anthropic.InputMessage("user", task.prompt)]
        self._calls: list[AnsweredCall] = []
        self._figures: list[AnswerFigures] = []
        self._words = ""
        self._empty = self._loops = self._limited = 0
        self._ends_at = anyio.current_time() + limits.seconds
        self._lines = [TranscriptLine("user", task.prompt)]

    async def result(self) -> Result:
        """Do the task, and return its result."""
        started_at = time.monotonic()
        fault = await self._fault()
        has_acted = any(not call.is_error and call.name not in READ_ONLY for call in self._calls)
        needs_acts = any(isinstance(turn, list) for turn in self._task.good)
        claims = fault is not None and needs_acts and not has_acted and _CLAIM.search(self._words) is not None
        return result_of(
            self._kind,
            self._run,
            fault,
            seconds=time.monotonic() - started_at,
            answers=self._figures,
            unknown_tools=sum(call.is_unknown for call in self._calls),
            empty_answers=self._empty,
            loops=self._loops,
            claims=int(claims),
            limits=self._limited,
            transcript=self._lines,
        )

    async def _fault(self) -> str | None:
        """Do the task; return why it failed, or None."""
        task = self._task
        try:
            for turn in range(task.max_turns):
                answer = await self._next()
                if answer.calls:
                    self._use(answer, turn)
                elif answer.text or self._empty > 1:
                    self._words = answer.text
                    files, before = self._world.disk.files, self._world.before
                    happened = Happened(calls=tuple(self._calls), files=files, before=before, text=answer.text)
                    return task.judge(happened) if answer.text else "the last answer is empty"
                else:
                    self._messages = [*self._messages, anthropic.InputMessage("user", [anthropic.TextBlock(NUDGE)])]
        except _StoppedError as stopped:
            return str(stopped)
        except BridgeError as error:
            if error.status in ENDS_THE_EXAM or isinstance(error, UpstreamUnreachableError | UpstreamLoadingError):
                raise SetupError(error.message, ENGINE_HINT) from error
            self._lines.append(TranscriptLine("error", error.message))
            return error.message
        self._loops += 1
        return f"it did not end within {task.max_turns} answers"

    async def _next(self) -> MeasuredAnswer:
        """Record and return the next answer; raises _StoppedError if a limit allows no further one."""
        task, limits = self._task, self._limits
        tokens_left = limits.output_tokens - sum(one.output_tokens for one in self._figures)
        if tokens_left <= 0:
            self._limited = 1
            raise _StoppedError(f"it took more than {limits.output_tokens:,} tokens")
        schema = anthropic.OutputFormat("json_schema", Raw(task.schema)) if task.schema is not None else None
        request = anthropic.MessagesRequest(
            model=self._model,
            max_tokens=min(tokens_left, limits.answer_tokens),
            system=task.system,
            messages=self._messages,
            tools=[TOOLS[name] for name in task.tools] or None,
            thinking=anthropic.Thinking("adaptive"),  # as Claude Code asks
            temperature=0.0,
            output_config=anthropic.OutputConfig(format=schema) if schema else None,
        )
        answer = await self._ask(request, self._ends_at - anyio.current_time())
        parts = (("thinking", answer.thoughts), ("text", answer.text))
        self._lines += [TranscriptLine(kind, words) for kind, words in parts if words]
        if answer.left is not None:  # no usage has come
            self._figures.append(AnswerFigures(output_tokens=sum(len(words) for _, words in parts) // CHARS_PER_TOKEN))
            if answer.left == "endless":
                self._loops += 1
                raise _StoppedError("its answer did not end")
            self._limited = 1
            raise _StoppedError(f"it was not done within {limits.seconds:.0f} s")
        self._figures.append(answer.figures)
        self._loops += answer.repeats_itself
        self._empty += not answer.text and not answer.calls
        if answer.message.stop_reason == "max_tokens":
            self._limited = 1
        return answer

    def _use(self, answer: MeasuredAnswer, turn: int) -> None:
        """Run the calls in the task's world."""
        results: list[anthropic.Block] = []
        for block in answer.calls:
            call = self._world.use(block.name, bytes(block.input), turn=turn)
            self._calls.append(call)
            results.append(anthropic.ToolResultBlock(block.id, call.result, is_error=call.is_error or None))
            self._lines.append(TranscriptLine("call", f"{call.name} {bytes(block.input).decode()}"))
            self._lines.append(TranscriptLine("error" if call.is_error else "result", call.result))
        answered: list[anthropic.Block] = [
            block
            for block in answer.message.content
            if isinstance(block, anthropic.TextBlock | anthropic.ThinkingBlock | anthropic.ToolUseBlock)
        ]
        self._messages = [
            *self._messages,
            anthropic.InputMessage("assistant", answered),
            anthropic.InputMessage("user", results),
        ]
        last = [(call.name, call.input, call.result) for call in self._calls[-SAME_CALLS:]]
        if len(last) == SAME_CALLS and all(one == last[0] for one in last):
            self._loops += 1
            raise _StoppedError(f"it made the same call of {last[0][0]} {SAME_CALLS} times")
