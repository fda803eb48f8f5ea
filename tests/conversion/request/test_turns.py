"""Conversation repair: what strict engines want, from what clients send."""

from __future__ import annotations

from typing import Any

import pytest

from claude_bridge.adapters import engine_profiles as profiles
from claude_bridge.clients.claude_code import NO_CONTENT
from claude_bridge.conversion.loss import Loss
from claude_bridge.conversion.profile import Profile
from claude_bridge.conversion.request.offered_tools import ToolChange
from claude_bridge.conversion.request.tool_results import INTERRUPTED, SEE_IMAGES
from claude_bridge.conversion.request.turns import BEGINNING, repair_history, system_text
from claude_bridge.wire.anthropic import (
    ImageBlock,
    TextBlock,
    ThinkingBlock,
    ToolResultBlock,
    ToolUseBlock,
)
from tests.dialogues import a_request

IMAGE = {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}}
SEES_IN_RESULTS = Profile(name="x", evidence="a test", images_in_tool_results=True)
CONTINUES = Profile(name="x", evidence="a test", continues_prefill=True)


def _use(call_id: str) -> dict[str, Any]:
    return {"type": "tool_use", "id": call_id, "name": "Read", "input": {}}


def _result(call_id: str, content: Any = "ok") -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": call_id, "content": content}


def _user(*content: Any) -> dict[str, Any]:
    return {"role": "user", "content": _content(content)}


def _assistant(*content: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": _content(content)}


def _content(content: tuple[Any, ...]) -> list[Any]:
    return [{"type": "text", "text": block} if isinstance(block, str) else block for block in content]


def _repaired(
    *messages: dict[str, Any], profile: Any = profiles.UNKNOWN, losses: list[Loss] | None = None
) -> list[str]:
    """Return the turns, each as one line that a person can read."""
    history = repair_history(a_request(messages=list(messages)).messages, profile)
    turns = history.turns
    if losses is not None:
        losses += history.losses
    return [f"{'user' if turn.is_user else 'assistant'}: {' | '.join(map(_line, turn.blocks))}" for turn in turns]


def _line(block: Any) -> str:
    match block:
        case TextBlock(text):
            return text
        case ThinkingBlock(thinking):
            return f"({thinking})"
        case ToolUseBlock(id=call_id):
            return f"call {call_id}"
        case ToolResultBlock(call_id, str(content)):
            return f"{call_id} = {content}"
        case ToolResultBlock(call_id, list(content)):
            return f"{call_id} = [{', '.join(map(_line, content))}]"
        case ImageBlock():
            return "image"
    raise AssertionError(block)


@pytest.mark.parametrize(
    ("system", "text"),
    [
        (None, ""),
        ("Be terse.", "Be terse."),
        (["a", "", "b"], "a\n\nb"),
        (["x-anthropic-billing-header: cch=1;", "a"], "a"),
        (["a", "x-anthropic-billing-header: cch=1;"], "a\n\nx-anthropic-billing-header: cch=1;"),
        ("x-anthropic-billing-header: cch=1;", ""),
    ],
    ids=["none", "string", "blocks", "billing header", "quoted by the user", "nothing else"],
)
def test_the_system_prompt_is_one_text_without_the_billing_header(system: Any, text: str) -> None:
    given = _content(tuple(system)) if isinstance(system, list) else system
    assert system_text(a_request(system=given).system) == (text, [])


def test_what_no_system_prompt_can_hold_is_lost() -> None:
    text, losses = system_text(a_request(system=[*_content(("a",)), IMAGE]).system)
    assert text == "a"
    assert [loss.path for loss in losses] == ["$.system"]


def test_a_turn_that_calls_is_followed_by_its_results_in_order() -> None:
    assert _repaired(
        _user("go"),
        _assistant(_use("a"), "see", _use("b")),
        _user("note", _result("b", "2"), "more", _result("a", "1")),
    ) == ["user: go", "assistant: call a | see | call b", "user: a = 1 | b = 2 | note | more"]


def test_a_system_turn_stays_in_its_place_as_user_text() -> None:
    messages = [_user("go"), _assistant("well"), {"role": "system", "content": "9 tokens left"}, _user("on")]
    reminder = "<system-reminder>\n9 tokens left\n</system-reminder>"
    assert _repaired(*messages) == ["user: go", "assistant: well", f"user: {reminder} | on"]


def test_a_system_turn_that_is_wrapped_already_is_not_wrapped_again() -> None:
    assert _repaired({"role": "system", "content": "<system-reminder>x</system-reminder>"}) == [
        "user: <system-reminder>x</system-reminder>"
    ]


def test_results_come_before_a_system_turn_that_was_sent_first() -> None:
    messages = [_user("go"), _assistant(_use("a")), {"role": "system", "content": "x"}, _user(_result("a"))]
    assert _repaired(*messages)[2] == "user: a = ok | <system-reminder>\nx\n</system-reminder>"


ORPHANS: dict[str, tuple[list[dict[str, Any]], list[str]]] = {
    "call without result": (
        [_user("go"), _assistant(_use("a")), _user("stop")],
        ["user: go", "assistant: call a", f"user: a = {INTERRUPTED} | stop"],
    ),
    "call at the very end": (
        [_user("go"), _assistant(_use("a"))],
        ["user: go", "assistant: call a", f"user: a = {INTERRUPTED}"],
    ),
    "one of two": (
        [_user("go"), _assistant(_use("a"), _use("b")), _user(_result("b"))],
        ["user: go", "assistant: call a | call b", f"user: a = {INTERRUPTED} | b = ok"],
    ),
    "result without call": ([_user(_result("a"), "go")], ["user: Result of a: ok | go"]),
    "result that comes too late": (
        [_user("go"), _assistant(_use("a")), _user("wait"), _assistant("yes"), _user(_result("a"))],
        ["user: go", "assistant: call a", f"user: a = {INTERRUPTED} | wait", "assistant: yes", "user: Result of a: ok"],
    ),
    "result twice": (
        [_user("go"), _assistant(_use("a")), _user(_result("a", "1"), _result("a", "2"))],
        ["user: go", "assistant: call a", "user: a = 1 | Result of a: 2"],
    ),
    "result in an assistant turn": (
        [_user("go"), _assistant(_result("a")), _user("on")],
        ["user: go", "assistant: Result of a: ok", "user: on"],
    ),
    "call in a user turn": ([_user(_use("a"))], ["user: [tool use Read {}]"]),
    "images of a result without call": ([_user(_result("a", [IMAGE]))], ["user: Result of a:  | image"]),
}


@pytest.mark.parametrize(("messages", "turns"), ORPHANS.values(), ids=ORPHANS.keys())
def test_every_call_has_its_result_and_every_result_its_call(messages: list[dict[str, Any]], turns: list[str]) -> None:
    assert _repaired(*messages) == turns


SHARED_IDS: dict[str, tuple[list[dict[str, Any]], list[str]]] = {
    "two calls at once": (
        [_user("go"), _assistant(_use("a"), _use("a")), _user(_result("a", "1"), _result("a", "2"))],
        ["user: go", "assistant: call a | call a_2", "user: a = 1 | a_2 = 2"],
    ),
    "one of two calls at once": (
        [_user("go"), _assistant(_use("a"), _use("a")), _user(_result("a", "1"))],
        ["user: go", "assistant: call a | call a_2", f"user: a = 1 | a_2 = {INTERRUPTED}"],
    ),
    "at every turn": (
        [_user("go"), _assistant(_use("a")), _user(_result("a", "1")), _assistant(_use("a")), _user(_result("a", "2"))],
        ["user: go", "assistant: call a", "user: a = 1", "assistant: call a_2", "user: a_2 = 2"],
    ),
}


@pytest.mark.parametrize(("messages", "turns"), SHARED_IDS.values(), ids=SHARED_IDS.keys())
def test_calls_that_share_an_id_get_each_its_own(messages: list[dict[str, Any]], turns: list[str]) -> None:
    assert _repaired(*messages) == turns


EMPTIES: dict[str, tuple[list[dict[str, Any]], list[str]]] = {
    "same roles": (
        [_user("a"), _user("b"), _assistant("c"), _assistant("d"), _user("e")],
        ["user: a | b", "assistant: c | d", "user: e"],
    ),
    "empty assistant turn": ([_user("a"), _assistant(""), _user("b")], ["user: a | b"]),
    "turn without blocks": ([_user("a"), _assistant(), _user("b")], ["user: a | b"]),
    "turn that was only thought": (
        [_user("a"), _assistant({"type": "thinking", "thinking": "x"}), _user("b")],
        ["user: a | b"],
    ),
    "turn that says it has nothing to say": ([_user("a"), _assistant(NO_CONTENT), _user("b")], ["user: a | b"]),
    "turn that says it has nothing to say, and calls": (
        [_user("a"), _assistant(NO_CONTENT, _use("t")), _user(_result("t"))],
        ["user: a", f"assistant: {NO_CONTENT} | call t", "user: t = ok"],
    ),
    "a user's own words to that effect": ([_user(NO_CONTENT)], [f"user: {NO_CONTENT}"]),
    "turn of redacted thinking": ([_user("a"), _assistant({"type": "redacted_thinking"}), _user("b")], ["user: a | b"]),
    "nothing at all": ([_user("")], []),
}


@pytest.mark.parametrize(("messages", "turns"), EMPTIES.values(), ids=EMPTIES.keys())
def test_turns_alternate_and_none_is_empty(messages: list[dict[str, Any]], turns: list[str]) -> None:
    assert _repaired(*messages) == turns


def test_thinking_stays_where_the_engine_has_a_field_for_it() -> None:
    messages = [_user("a"), _assistant({"type": "thinking", "thinking": "x"}, "b"), _user("c")]
    assert _repaired(*messages, profile=profiles.LLAMA_CPP)[1] == "assistant: (x) | b"


@pytest.mark.parametrize("profile", [profiles.UNKNOWN, profiles.LLAMA_CPP], ids=["no field", "a field"])
def test_a_turn_that_was_only_thought_is_left_out_whether_or_not_there_is_a_field_for_thoughts(
    profile: Profile,
) -> None:
    losses: list[Loss] = []
    thought = _assistant({"type": "thinking", "thinking": "x"})
    assert _repaired(_user("a"), thought, _user("b"), profile=profile, losses=losses) == ["user: a | b"]
    assert len(losses) == 1


def test_a_thought_before_more_of_the_same_turn_stays() -> None:
    thought = _assistant({"type": "thinking", "thinking": "x"})
    assert _repaired(_user("a"), thought, _assistant("b"), _user("c"), profile=profiles.LLAMA_CPP) == [
        "user: a",
        "assistant: (x) | b",
        "user: c",
    ]


def test_an_image_in_an_assistants_turn_is_a_loss() -> None:
    losses: list[Loss] = []
    _repaired(_user("a"), _assistant("b", IMAGE), losses=losses)
    assert losses[0] == Loss("$.messages[1].content", "an assistant's message can hold no images or files")


def test_an_image_in_a_result_that_an_assistant_holds_is_a_loss() -> None:
    losses: list[Loss] = []
    _repaired(_user("a"), _assistant("b", _result("x", [IMAGE])), losses=losses)
    assert losses[0] == Loss("$.messages[1].content", "an assistant's message can hold no images or files")


def test_thinking_before_a_prefill_is_a_loss_where_other_thinking_is_kept() -> None:
    losses: list[Loss] = []
    thought = {"type": "thinking", "thinking": "x", "signature": ""}
    keeps_thoughts = Profile(name="x", evidence="a test", reasoning_field="reasoning_content")
    _repaired(_user("a"), _assistant(thought, "b"), profile=keeps_thoughts, losses=losses)
    assert [loss.path for loss in losses] == ["$.messages[-1]"] * 2
    assert "thinking" in losses[1].reason


def test_an_assistant_who_speaks_first_is_spoken_to_before() -> None:
    assert _repaired(_assistant("a"), _user("b")) == [f"user: {BEGINNING}", "assistant: a", "user: b"]
    assert _repaired(_assistant(_use("t")), _user(_result("t")))[0] == f"user: {BEGINNING}"
    assert _repaired(_assistant("a"), profile=CONTINUES) == [f"user: {BEGINNING}", "assistant: a"]


def test_thinking_in_a_user_turn_goes_nowhere() -> None:
    losses: list[Loss] = []
    assert _repaired(_user({"type": "thinking", "thinking": "x"}, "a"), profile=profiles.LLAMA_CPP, losses=losses) == [
        "user: a"
    ]
    assert [loss.path for loss in losses] == ["$.messages[0].content"]


def test_thinking_that_is_left_out_is_one_loss_however_long_the_conversation() -> None:
    losses: list[Loss] = []
    thought = _assistant({"type": "thinking", "thinking": "x"}, "b")
    _repaired(_user("a"), thought, _user("c"), thought, _user("d"), losses=losses)
    assert [loss.path for loss in losses] == ["$.messages[1].content"]


def test_images_of_results_follow_in_the_user_turn() -> None:
    messages = [
        _user("go"),
        _assistant(_use("a"), _use("b")),
        _user("so?", _result("b", [IMAGE]), _result("a", [*_content(("x",)), IMAGE])),
    ]
    assert _repaired(*messages)[2] == f"user: a = x | b = {SEE_IMAGES} | image | image | so?"


def test_images_stay_in_results_where_the_profile_says_so() -> None:
    messages = [_user("go"), _assistant(_use("a")), _user(_result("a", [*_content(("x",)), IMAGE]))]
    assert _repaired(*messages, profile=SEES_IN_RESULTS)[2] == "user: a = [x, image]"


def test_a_prefill_becomes_an_instruction_and_a_loss() -> None:
    losses: list[Loss] = []
    turns = _repaired(_user("JSON!"), _assistant('{"a":'), losses=losses)
    assert turns == ['user: JSON! | Begin your answer with exactly this text, and continue from there:\n{"a":']
    assert [loss.path for loss in losses] == ["$.messages[-1]"]


def test_a_prefill_stays_where_the_engine_continues_it() -> None:
    losses: list[Loss] = []
    assert _repaired(_user("a"), _assistant("b"), profile=CONTINUES, losses=losses)[-1] == "assistant: b"
    assert losses == []


def test_a_prefill_alone_becomes_a_user_turn() -> None:
    assert _repaired(_assistant("a"))[0].startswith("user: Begin your answer")


def test_a_prefill_without_text_is_left_out() -> None:
    thought = _assistant({"type": "thinking", "thinking": "x"})
    assert _repaired(_user("a"), thought, profile=profiles.LLAMA_CPP) == ["user: a"]
    assert _repaired(_user("a"), _assistant(IMAGE), profile=profiles.UNKNOWN) == ["user: a"]


@pytest.mark.parametrize(
    "last",
    [[], [_assistant("d")], [_assistant({"type": "thinking", "thinking": "x"}), _user("e")]],
    ids=["a question", "a prefill", "a thought before more of a question"],
)
def test_a_longer_history_is_taken_up_before_the_last_turn_that_has_an_answer(last: list[dict[str, Any]]) -> None:
    request = a_request(messages=[_user("a"), _assistant("b"), _user("c"), *last])
    seam = repair_history(request.messages, profiles.LLAMA_CPP).seam
    assert seam is not None
    assert (seam.index, seam.needs) == (1, 2)


def test_tools_that_are_loaded_in_a_prefill_stay_loaded() -> None:
    earlier, later = ({"type": "tool_reference", "tool_name": name} for name in ("Earlier", "Later"))
    request = a_request(messages=[_user("a", earlier), _user("b", later), _assistant("c", later)])
    (turn,) = repair_history(request.messages, profiles.UNKNOWN).turns
    assert turn.tool_changes == (ToolChange("Earlier"), ToolChange("Later"), ToolChange("Later"))


def test_nothing_that_was_given_is_changed() -> None:
    request = a_request(messages=[_user("a"), _user("b"), _assistant(_use("a")), _user("c")])
    before = repr(request)
    repair_history(request.messages, profiles.UNKNOWN)
    assert repr(request) == before
