"""``bridge exam`` with a real llama.cpp and its small model."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from claude_bridge.bridge import ModelBridge
from claude_bridge.exam.asking import asks
from claude_bridge.exam.catalog import CATALOG
from claude_bridge.exam.results import Exam
from claude_bridge.exam.run import TaskLimits, take_exam
from claude_bridge.exam.verdict import judge
from claude_bridge.upstream.client import client_for
from claude_bridge.upstream.embedded.engine import EmbeddedEngine
from tests.exam.scripted import settings_of

pytestmark = pytest.mark.engine

CHOSEN = {"by schema", "numbers and flags"}
"""One whose answer a grammar makes right, and one with a call and few tools, so that a slow machine reads it soon."""

LIMITS = TaskLimits(answer_tokens=60)


@pytest.mark.anyio
async def test_a_small_model_gets_the_same_result_twice(engine: EmbeddedEngine) -> None:
    settings = replace(settings_of(), model=engine.upstream.model, window_tokens=engine.upstream.window_tokens)
    done = {(kind.name, 1) for kind in CATALOG if kind.name not in CHOSEN}
    async with client_for(engine.upstream, None) as client:
        ask = asks(ModelBridge(engine.upstream, client))
        first = [one async for one in take_exam(settings, ask, done=done, limits=LIMITS)]
        (again,) = [
            one async for one in take_exam(settings, ask, done=done | {("numbers and flags", 1)}, limits=LIMITS)
        ]
    exam = Exam(settings=settings, started_at="2026-11-30T04:00:00Z", planned=36, results=first)
    figures = exam.figures

    assert {result.task for result in first} == CHOSEN
    (before,) = [one for one in first if one.key == again.key]
    assert (again.passed, again.fault, again.transcript) == (before.passed, before.fault, before.transcript)
    assert exam.groups["structure"].passed == 1
    assert figures.prompt_tokens_per_s is not None
    assert figures.answer_tokens_per_s is not None
    assert figures.cost_usd == 0.0
    assert judge(exam).reason
