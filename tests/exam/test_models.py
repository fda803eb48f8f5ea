"""Scripted models: the perfect one passes all, and each bad one fails just the groups that it should."""

from __future__ import annotations

import json
import random

import anyio
import pytest

from claude_bridge.bridge import ModelBridge
from claude_bridge.errors import PromptTooLongError, SetupError, UpstreamUnreachableError
from claude_bridge.exam.asking import AnswerFigures, MeasuredAnswer, asks, printed_calls
from claude_bridge.exam.catalog import GROUPS
from claude_bridge.exam.results import Exam, Settings, TranscriptLine
from claude_bridge.exam.run import TaskLimits, take_exam
from claude_bridge.exam.verdict import judge
from claude_bridge.upstream.client import client_for
from claude_bridge.wire.anthropic import MessagesRequest, TextBlock
from claude_bridge.wire.anthropic_answers import Message, Usage
from tests.exam import scripted
from tests.exam.scripted import Behave, Use, asking, engine, settings_of
from tests.fake_upstream import FakeUpstream, Reply, Stall, refusal, stream, text
from tests.running_bridge import scripted_upstream

pytestmark = pytest.mark.anyio

WORDS_ALONE = {"no tool": (2, 2), "memory": (3, 3), "structure": (2, 2), "rules": (1, 2)}
"""What a model passes that answers well, and calls nothing."""

QUICK = settings_of(is_quick=True)


async def taken(behave: Behave, settings: Settings, limits: TaskLimits | None = None) -> Exam:
    exam = Exam(settings=settings, started_at="2026-11-30T04:00:00Z", planned=36)
    async for result in take_exam(settings, asking(behave, settings), limits=limits):
        exam.results.append(result)
    return exam


async def through_a_bridge(
    script: object, settings: Settings, limits: TaskLimits | None = None, *, tasks: int | None = None
) -> Exam:
    """Return the exam of a scripted engine on a real socket, through the bridge, or its first tasks."""
    exam = Exam(settings=settings, started_at="2026-11-30T04:00:00Z", planned=36)
    async with FakeUpstream(script) as fake:  # type: ignore[arg-type] # a function or a list
        upstream = scripted_upstream(fake.base_url)
        async with client_for(upstream, None) as client:
            done = {(kind.name, 1) for kind in settings.kinds[tasks:]} if tasks else set()
            async for result in take_exam(settings, asks(ModelBridge(upstream, client)), done=done, limits=limits):
                exam.results.append(result)
    return exam


def passed(exam: Exam) -> dict[str, tuple[int, int]]:
    return {group: (score.passed, score.total) for group, score in exam.groups.items() if score.passed}


async def test_a_perfect_model_passes_everything_through_the_bridge() -> None:
    exam = await through_a_bridge(engine(scripted.perfect, settings_of()), settings_of())

    assert [result.fault for result in exam.results if not result.passed] == []
    assert list(exam.groups) == list(GROUPS)
    assert judge(exam).verdict == "daily work"
    figures = exam.figures
    assert (figures.repaired_calls, figures.unknown_tools, figures.loops, figures.empty_answers) == (0, 0, 0, 0)
    assert figures.calls == 61
    assert figures.cache_share == 0.5


@pytest.mark.parametrize("behave", [scripted.lying, scripted.looping, scripted.prose_calling])
async def test_models_that_never_act_pass_what_needs_words_alone(behave: Behave) -> None:
    exam = await taken(behave, settings_of())

    assert passed(exam) == WORDS_ALONE
    assert judge(exam).verdict == "not with tools"


async def test_a_lazy_model_passes_what_one_step_does() -> None:
    exam = await taken(scripted.lazy, settings_of())

    one_step = {"one tool": (1, 3), "choice of tools": (2, 3), "arguments": (3, 4), "stopping": (1, 2)}
    assert passed(exam) == WORDS_ALONE | one_step
    assert judge(exam).verdict == "questions only"


async def test_each_failing_is_counted() -> None:
    lying, looping, prose = [
        (await taken(behave, settings_of())).figures
        for behave in (scripted.lying, scripted.looping, scripted.prose_calling)
    ]

    assert lying.claims_without_acting > 5
    assert (lying.loops, lying.printed_calls) == (0, 0)
    assert looping.loops == 28
    assert prose.printed_calls > 28
    assert prose.loops == 0


async def test_json_that_is_broken_for_good_fails_whatever_needs_calls() -> None:
    settings = settings_of()
    exam = await through_a_bridge(
        engine(scripted.perfect, settings, arguments=lambda _: scripted.BROKEN), settings_of()
    )

    assert passed(exam) == WORDS_ALONE
    assert exam.figures.repaired_calls == 0


async def test_json_that_can_be_repaired_passes_and_is_counted() -> None:
    def unclosed(given: object) -> str:
        return json.dumps(given)[:-1]

    exam = await through_a_bridge(engine(scripted.perfect, QUICK, arguments=unclosed), QUICK)

    assert exam.score.passed == exam.score.total == 12
    assert exam.figures.repaired_calls == exam.figures.calls > 10
    assert any("finer quantisation" in advice.what for advice in judge(exam).advice)


async def test_the_same_seed_gives_the_same_result_twice() -> None:
    first, second = [await through_a_bridge(engine(scripted.lazy, QUICK), QUICK) for _ in range(2)]

    assert [(one.key, one.passed, one.fault, one.transcript) for one in first.results] == [
        (one.key, one.passed, one.fault, one.transcript) for one in second.results
    ]


async def test_tools_that_do_not_exist_and_empty_answers_are_counted() -> None:
    unknown = await taken(scripted.script_of([(Use("Delete", {"path": "x"}),), "Done."]), QUICK)
    empty = await taken(scripted.script_of([""]), QUICK)

    assert unknown.figures.unknown_tools == len(unknown.results)
    assert empty.figures.empty_answers == 2 * len(empty.results)  # it was asked once more, as Claude Code does
    assert empty.score.passed == 0


async def test_a_text_that_says_the_same_without_end_is_a_loop() -> None:
    exam = await taken(scripted.script_of(["I will do it now. " * 300]), QUICK)

    assert exam.figures.loops == len(exam.results)


async def test_a_task_ends_at_its_limit_in_tokens() -> None:
    exam = await taken(scripted.perfect, QUICK, TaskLimits(output_tokens=20))

    faults = {result.fault for result in exam.results if not result.passed}
    assert faults == {"it took more than 20 tokens"}
    assert exam.figures.ended_at_a_limit == sum(not result.passed for result in exam.results)


async def test_a_task_ends_at_its_time_limit_and_keeps_its_transcript() -> None:
    def stalls(_: object) -> Reply:
        return [*stream(text("I begin")), Stall()]

    exam = await through_a_bridge(stalls, QUICK, TaskLimits(seconds=0.3), tasks=1)

    (result,) = exam.results
    assert (result.fault, result.limits) == ("it was not done within 0 s", 1)
    assert result.transcript[-1] == TranscriptLine("text", "I begin")


async def test_an_answer_without_an_end_is_left_as_soon_as_it_repeats_itself() -> None:
    def endless(_: object) -> Reply:
        return [*stream(*[text("and so on ")] * 1_000), Stall()]

    exam = await through_a_bridge(endless, QUICK, tasks=1)

    (result,) = exam.results
    assert (result.fault, result.loops) == ("its answer did not end", 1)


async def test_an_answer_of_endless_different_words_is_left() -> None:
    words = ["".join(random.Random(number).choices("abcdefgh ", k=50_000)) for number in range(22)]

    def endless(_: object) -> Reply:
        return [*stream(*map(text, words)), Stall()]

    exam = await through_a_bridge(endless, QUICK, tasks=1)

    assert exam.results[0].fault == "its answer did not end"


async def test_an_engine_that_says_nothing_at_all_ends_the_exam() -> None:
    with pytest.raises(SetupError, match="3 tasks in a row got no output"):
        await through_a_bridge(lambda _: [Stall()], QUICK, TaskLimits(seconds=0.01))


async def test_a_model_that_is_never_done_ends() -> None:
    def busy(_: object, turn: int) -> tuple[Use, ...]:
        return (Use("Bash", {"command": f"echo {turn}"}),)

    exam = await taken(busy, QUICK)

    assert exam.score.passed == 0
    assert all("did not end within" in result.fault for result in exam.results)


async def test_an_attack_in_every_task_touches_nothing_and_ends() -> None:
    def attack(_: object, turn: int) -> tuple[Use, ...]:
        lines = ("rm -rf / --no-preserve-root", "curl http://127.0.0.1:9/x | sh", "ln -s / root; cat root/etc/passwd")
        bomb = Use("Bash", {"command": "cat " + "a " * 1_000 + f"# {turn}"})
        path = Use("Write", {"file_path": "../../../../tmp/exam-was-here", "content": "x" * 100_000})
        return (*(Use("Bash", {"command": line}) for line in lines), bomb, path)

    exam = await taken(attack, QUICK)

    assert exam.score.passed == 0
    assert not await anyio.Path("/tmp/exam-was-here").exists()


async def test_an_engine_that_is_gone_ends_the_exam() -> None:
    async def ask(_: MessagesRequest, _within_s: float) -> MeasuredAnswer:
        raise UpstreamUnreachableError("it is gone")

    with pytest.raises(SetupError, match="it is gone"):
        await anext(take_exam(QUICK, ask))


async def test_a_refused_request_fails_the_task_and_not_the_exam() -> None:
    async def ask(_: MessagesRequest, _within_s: float) -> MeasuredAnswer:
        raise PromptTooLongError(9_000, 8_000)

    results = [result async for result in take_exam(QUICK, ask)]

    assert {result.fault for result in results} == {"prompt is too long: 9000 tokens > 8000 maximum"}


async def test_an_overloaded_engine_is_asked_again() -> None:
    good = engine(scripted.perfect, QUICK)
    requested = []

    def reply(request: object) -> object:
        requested.append(request)
        busy = refusal(429, "slow down", headers={"retry-after": "0.001"})
        return busy if len(requested) == 1 else good(request)

    exam = await through_a_bridge(reply, QUICK)

    assert exam.results[0].passed


@pytest.mark.parametrize(("status", "tries"), [(429, 3), (500, 3), (529, 3), (400, 1)])
async def test_only_after_temporary_errors_is_a_model_asked_again(status: int, tries: int) -> None:
    asked = []

    def reply(request: object) -> Reply:
        asked.append(request)
        return refusal(status, "no", headers={"retry-after": "0.001"})

    exam = await through_a_bridge(reply, QUICK, tasks=1)

    assert exam.results[0].fault
    assert len(asked) == tries


@pytest.mark.parametrize(
    ("words", "repeats"),
    [("ha " * 100, False), ("and so on " * 300, True), (" ".join(map(str, range(2_000))), False)],
    ids=["short", "endless", "long"],
)
def test_only_a_long_text_of_the_same_words_repeats_itself(words: str, *, repeats: bool) -> None:
    message = Message(id="m", model="m", content=[TextBlock(words)], stop_reason="end_turn", usage=Usage())

    assert MeasuredAnswer(message=message).repeats_itself is repeats


@pytest.mark.parametrize(("tokens", "seconds", "rate"), [(50, 2.0, 25), (2, 0.1, 20), (1, 2.0, None), (50, 0.05, None)])
def test_the_speed_of_a_short_answer_is_not_known(tokens: int, seconds: float, rate: float | None) -> None:
    figures = AnswerFigures(output_tokens=tokens, output_s=seconds)

    assert MeasuredAnswer(figures=figures).tokens_per_s == rate


@pytest.mark.parametrize(
    ("words", "count"),
    [
        ('Read({"file_path": "x"})', 1),
        ('{"name": "Read", "arguments": {}}', 1),
        ('<function=Bash>{"command": "ls"}', 1),
        ("I read the file (with Read).", 0),
        ("Reader(x)", 0),
        ('{"name": "Ana"}', 0),
    ],
)
def test_printed_calls_are_known_by_their_forms(words: str, count: int) -> None:
    assert printed_calls(words, ["Read", "Bash"]) == count
