"""Which model gets a request, by the name that it asks for."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from claude_bridge.routing import (
    RequestFacts,
    Routing,
    Target,
    is_alias_of_anthropic,
    is_planning,
    plain_name,
    shows_images,
)
from claude_bridge.wire.anthropic import (
    ImageBlock,
    InputMessage,
    TextBlock,
    ToolResultBlock,
    ToolUseBlock,
    UrlSource,
)

MAIN = Target("ollama", "qwen3:32b")
SMALL = Target("ollama", "qwen3:1.7b")
OTHER = Target("ollama", "llama3.3")
OPUS = Target("openrouter", "openai/gpt-5")
HELPER = Target("ollama", "qwen3:8b")
SPARE = Target("openai", "gpt-5")
OFFERED = {MAIN.model, SMALL.model, OTHER.model}

FULL = Routing(
    main=MAIN, small=SMALL, subagents=HELPER, routes=(("claude-opus-*", OPUS), ("*mini", SMALL)), fallback=(SPARE,)
)


def test_the_small_model_is_the_one_for_small_requests() -> None:
    assert (Routing(main=MAIN).small_model, FULL.small_model) == (None, "qwen3:1.7b")


def chosen(routing: Routing, requested: str, *, is_subagent: bool = False) -> Target:
    return chosen_by(routing, requested, RequestFacts(is_subagent=is_subagent))


def chosen_by(routing: Routing, requested: str, facts: RequestFacts) -> Target:
    return routing.candidates(requested, facts, offered=OFFERED)[0].target


@pytest.mark.parametrize(
    ("requested", "target"),
    [
        pytest.param("qwen3:32b", MAIN, id="its own name"),
        pytest.param("qwen3:32b[1m]", MAIN, id="with the suffix of a million tokens"),
        pytest.param("llama3.3", OTHER, id="another one that is there"),
        pytest.param("claude-bridge/llama3.3", OTHER, id="its alias"),
        pytest.param("claude-sonnet-5-5", MAIN, id="a name of Anthropic's"),
        pytest.param("claude-opus-5-5", OPUS, id="a route"),
        pytest.param("claude-opus-5-5[1m]", OPUS, id="a route, with the suffix"),
        pytest.param("gpt-5-mini", SMALL, id="another route"),
        pytest.param("claude-haiku-5-5", SMALL, id="a small request"),
        pytest.param("qwen3:1.7b", SMALL, id="the small model's name"),
        pytest.param("something else", MAIN, id="an unknown name"),
    ],
)
def test_a_name_means_a_model(requested: str, target: Target) -> None:
    assert chosen(FULL, requested) == target


def test_without_rules_all_goes_to_the_one_model() -> None:
    plain = Routing(main=MAIN)
    for name in ("claude-haiku-5-5", "claude-opus-5-5", "x", MAIN.model):
        assert chosen(plain, name) == MAIN
        assert len(plain.candidates(name, RequestFacts(), ())) == 1


def test_sub_agents_have_a_model_of_their_own_unless_they_name_one() -> None:
    assert chosen(FULL, "claude-sonnet-5-5", is_subagent=True) == HELPER
    assert chosen(FULL, "claude-haiku-5-5", is_subagent=True) == SMALL
    assert chosen(FULL, "claude-opus-5-5", is_subagent=True) == OPUS


def test_images_have_a_model_that_sees_them() -> None:
    routing = Routing(main=MAIN, images=OTHER, small=SMALL, routes=(("claude-opus-*", OPUS),))

    def seen_by(requested: str) -> Target:
        return chosen_by(routing, requested, RequestFacts(shows_images=True))

    assert seen_by(MAIN.model) == seen_by("claude-haiku-5") == OTHER
    assert seen_by("claude-opus-5") == OPUS, "a route says so for all of its requests"
    assert chosen(routing, MAIN.model) == MAIN


def test_images_are_found_in_tool_results_too() -> None:
    image = ImageBlock(UrlSource("https://example.org/a.png"))
    shown = [
        InputMessage(role="user", content=[TextBlock("Look"), image]),
        InputMessage(role="user", content=[ToolResultBlock("toolu_1", [TextBlock("It is"), image])]),
    ]
    assert all(map(shows_images, shown))
    others = [
        InputMessage(role="user", content="Look"),
        InputMessage(role="user", content=[ToolResultBlock("toolu_1", "text")]),
    ]
    assert not any(map(shows_images, others))


def test_planning_and_long_prompts_have_models_of_their_own() -> None:
    routing = Routing(main=MAIN, planning=OPUS, long_context=SPARE, long_context_tokens=1_000, small=SMALL)
    planning, long = RequestFacts(is_planning=True), RequestFacts(is_planning=True, prompt_tokens=1_001)
    assert chosen_by(routing, MAIN.model, planning) == chosen_by(routing, "claude-sonnet-5", planning) == OPUS
    assert chosen_by(routing, MAIN.model, long) == SPARE, "a prompt has to fit first of all"
    assert chosen_by(routing, MAIN.model, RequestFacts(prompt_tokens=1_000)) == MAIN
    assert chosen(routing, "claude-haiku-5") == SMALL


def test_a_prompt_is_long_above_60_000_tokens_unless_another_limit_is_set() -> None:
    routing = Routing(main=MAIN, long_context=SPARE)
    assert chosen_by(routing, "claude-x", RequestFacts(prompt_tokens=60_000)) == MAIN
    assert chosen_by(routing, "claude-x", RequestFacts(prompt_tokens=60_001)) == SPARE


def test_a_target_without_a_model_is_written_as_its_provider() -> None:
    assert [str(Target("openai", "")), str(Target("openai", "gpt-5"))] == ["openai", "openai/gpt-5"]


ACTIVE = "<system-reminder>\nPlan mode is active. The user indicated that they do not want you to execute yet"
STILL = "<system-reminder>\nPlan mode still active (see full instructions earlier in conversation). Read-only"
LEFT = "<system-reminder>\n## Exited Plan Mode\n\nYou have exited plan mode. You can now make edits"


def user(*texts: str) -> InputMessage:
    return InputMessage(role="user", content=[TextBlock(text) for text in texts])


def system(reminder: str) -> InputMessage:
    """Return a reminder as it comes since 2.1.332, without tags."""
    return InputMessage(role="system", content="# Environment\n\n" + reminder.removeprefix("<system-reminder>\n"))


def plan(
    *, is_error: bool | None = None, result: str = "User has approved your plan.", tool: str = "ExitPlanMode"
) -> list[InputMessage]:
    return [
        InputMessage(role="assistant", content=[ToolUseBlock("toolu_1", tool)]),
        InputMessage(role="user", content=[ToolResultBlock("toolu_1", result, is_error=is_error)]),
    ]


def read(reminder: str) -> list[InputMessage]:
    """Return a call whose result has a reminder beside it."""
    result = ToolResultBlock("toolu_2", [TextBlock("A file."), TextBlock(reminder)])
    return [
        InputMessage(role="assistant", content=[ToolUseBlock("toolu_2", "Read")]),
        InputMessage(role="user", content=[result]),
    ]


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        pytest.param([user(ACTIVE, "Tidy up")], True, id="it begins"),
        pytest.param([user(ACTIVE), user("And the tests")], True, id="later turns"),
        pytest.param([user(ACTIVE), user(STILL)], True, id="a short reminder"),
        pytest.param([user(ACTIVE), user(LEFT, "Go on")], False, id="the user left it"),
        pytest.param([user(LEFT), user(ACTIVE)], True, id="entered again"),
        pytest.param([user(ACTIVE), *plan()], False, id="the plan was approved"),
        pytest.param([user(ACTIVE), *plan(is_error=True)], True, id="the plan was rejected"),
        pytest.param([user(ACTIVE), *plan(result=LEFT)], False, id="the reminder within the result"),
        pytest.param([user(ACTIVE), *plan(tool="Read", result="A file.")], True, id="the result of another tool"),
        pytest.param([user(ACTIVE), *read(LEFT)], False, id="left within the result of another tool"),
        pytest.param([user("Plan mode is active. Explain it.")], False, id="the user's own words"),
        pytest.param([user("Tidy up"), system(ACTIVE)], True, id="in a system message"),
        pytest.param([user("Tidy up"), system(ACTIVE), system(LEFT)], False, id="left in a system message"),
        pytest.param([InputMessage(role="user", content="Tidy up")], False, id="never"),
    ],
)
def test_plan_mode_is_known_by_the_last_reminder_and_an_approved_plan(
    messages: list[InputMessage], expected: bool
) -> None:
    assert is_planning(messages) is expected


def test_the_rules_are_described_in_the_order_in_which_they_are_tried() -> None:
    routing = replace(FULL, planning=OPUS, images=OTHER, routes=(("claude-*", OPUS), ("claude-opus-5", SMALL)))
    assert routing.describe() == [
        ("the request names claude-opus-5", "ollama/qwen3:1.7b"),
        ("the request names claude-*", "openrouter/openai/gpt-5"),
        ("the conversation contains images", "ollama/llama3.3"),
        ("the session is in plan mode", "openrouter/openai/gpt-5"),
        ("the request names *haiku*, or the small model", "ollama/qwen3:1.7b"),
        ("a sub-agent sends the request", "ollama/qwen3:8b"),
        ("all other requests", "ollama/qwen3:32b"),
        ("fallback 1", "openai/gpt-5"),
    ]


def test_an_exact_route_goes_before_a_pattern() -> None:
    routing = Routing(main=MAIN, routes=(("claude-*", OTHER), ("claude-opus-5", OPUS)))
    assert chosen(routing, "claude-opus-5") == OPUS
    assert chosen(routing, "claude-opus-6") == OTHER


def test_fallbacks_come_behind_in_order_and_never_twice() -> None:
    routing = Routing(main=MAIN, fallback=(OTHER, MAIN, SPARE))
    assert [candidate.target for candidate in routing.candidates("claude-x", RequestFacts(), ())] == [
        MAIN,
        OTHER,
        SPARE,
    ]
    assert [candidate.target for candidate in routing.candidates("llama3.3", RequestFacts(), OFFERED)] == [
        OTHER,
        MAIN,
        SPARE,
    ]


def test_nothing_is_asked_that_nobody_named() -> None:
    """A paid provider is used only where the user has written it down."""
    asked = {
        candidate.target
        for name in ("claude-x", "gpt-5", "o3")
        for candidate in Routing(main=MAIN).candidates(name, RequestFacts(), ())
    }
    assert asked == {MAIN}


def test_all_that_is_named_is_known_once() -> None:
    assert FULL.others == [SMALL, HELPER, OPUS, SPARE]


def test_each_candidate_says_why() -> None:
    reasons = [candidate.reason for candidate in FULL.candidates("claude-opus-5-5", RequestFacts(), ())]
    assert reasons == ["the route claude-opus-* says so", "it is a fallback"]


def test_names_of_clients_are_made_plain() -> None:
    assert plain_name("claude-bridge/qwen3[1m]") == "qwen3"
    assert is_alias_of_anthropic("claude-sonnet-5-5[1m]")
    assert not is_alias_of_anthropic("claude-bridge/qwen3")
