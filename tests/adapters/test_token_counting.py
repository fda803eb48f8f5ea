"""How engines are asked to count a prompt."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from claude_bridge.adapters import engine_profiles
from claude_bridge.adapters.token_counting import COUNTINGS, COUNTS_IMAGES, Question
from claude_bridge.conversion.profile import CountRoute, Profile
from tests.dialogues import a_request, sent

TOOL = {"name": "Bash", "description": "Run it", "input_schema": {"type": "object"}}
REQUEST = sent(a_request(system="Be kind", tools=[TOOL]), engine_profiles.LLAMA_CPP)[0].body
ASKED = json.loads(REQUEST)
ROWS = list(engine_profiles.PROFILES.values())


def played(route: CountRoute, *answers: Any) -> tuple[list[Question], int]:
    """Return what is asked, and the count that the answers give."""
    counting = COUNTINGS[route](REQUEST)
    questions = [next(counting)]
    for answer in answers:
        try:
            question = counting.send(json.dumps(answer).encode())
        except StopIteration as end:
            return questions, end.value
        questions.append(question)
    raise AssertionError("no count")


def test_llama_cpp_counts_the_request_as_it_would_be_sent() -> None:
    (question,), count = played("input-tokens", {"input_tokens": 186, "object": "response.input_tokens"})
    assert (question.path, question.at_root) == ("/chat/completions/input_tokens", False)
    assert (question.body, count) == (REQUEST, 186)


def test_an_older_llama_cpp_makes_the_prompt_and_then_its_tokens() -> None:
    prompt = "<|im_start|>user\nHi<|im_end|>\n"
    (first, second), count = played("template", {"prompt": prompt}, {"tokens": [1, 2, 3]})
    assert (first.path, first.at_root) == ("/apply-template", True)
    kept = {name: ASKED[name] for name in ("model", "messages", "tools", "chat_template_kwargs")}
    assert json.loads(first.body) == kept
    assert (second.path, second.at_root) == ("/tokenize", True)
    assert json.loads(second.body) == {
        "model": ASKED["model"],
        "content": prompt,
        "add_special": True,
        "parse_special": True,
    }
    assert count == 3


def test_vllm_and_sglang_count_messages_and_tools() -> None:
    (question,), count = played("tokenize", {"count": 42, "max_model_len": 4096, "tokens": [1]})
    assert (question.path, question.at_root) == ("/tokenize", True)
    assert set(json.loads(question.body)) == {"model", "messages", "tools", "chat_template_kwargs"}
    assert count == 42


@pytest.mark.parametrize("route", COUNTINGS)
@pytest.mark.parametrize("answer", [b"", b"[]", b"<html>", b'{"count":"many"}', b'{"prompt":5,"input_tokens":null}'])
def test_an_answer_that_is_none_is_reported_as_such(route: CountRoute, answer: bytes) -> None:
    counting = COUNTINGS[route](REQUEST)
    next(counting)
    with pytest.raises(msgspec.DecodeError):
        counting.send(answer)


@pytest.mark.parametrize("row", list(engine_profiles.PROFILES.values()), ids=lambda row: row.name)
def test_every_row_names_routes_that_there_are(row: Profile) -> None:
    assert set(row.count_routes) <= set(COUNTINGS)
    assert set(COUNTS_IMAGES) <= set(COUNTINGS)
