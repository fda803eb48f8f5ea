"""From options to results: finds the engine, opens the bridge to it, and keeps what each task came to."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import aclosing
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from msgspec import Struct, json
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
from claude_bridge.exam.asking import asks
from claude_bridge.exam.results import Exam, Result, Settings, TranscriptLine
from claude_bridge.exam.runner import take_exam
from claude_bridge.exam.store import Store
from claude_bridge.exam.world import TOOLS
from claude_bridge.providers import Upstream, engine_words
from claude_bridge.routing import Routing, Target
from claude_bridge.trace.secrets import Secrets
from claude_bridge.upstream.engines.detect import inspect_engine

ANSWER_TOKENS = 300
"""Of a usual answer with its thoughts; the limits of a task allow more."""


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
