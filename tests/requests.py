"""What a client may ask: conversations of every kind of block, in good order and in none, and the rows they go to."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, Literal, get_args, get_origin

from hypothesis import strategies as st
from msgspec import Struct
from msgspec.structs import fields

from claude_bridge.conversion.profile import PARTS, Profile
from tests.dialogues import OLLAMA_CHAT, OPENAI_CHAT, RESPONSES, ROWS

Json = dict[str, Any]
Messages = list[Json]

words = st.sampled_from(["", " ", "Hi.", "ä\n", "<system-reminder>x</system-reminder>", "Error: no", '{"a":1}'])
spoken_words = st.sampled_from(["Well.", "So it is.", "Let me look.", "Äh …\n\nYes?"])
ids = st.sampled_from(["toolu_1", "toolu_2", "toolu_3"])

INLINE_TOOLS = ("Read", "Bash", "mcp__a_server__" + "x" * 60, "name with blanks")
DEFERRED_TOOLS = ("WebFetch", "CronList", "mcp__later__" + "y" * 70)

# --- blocks ---------------------------------------------------------------------------------------------------

text_blocks = st.builds(lambda text: {"type": "text", "text": text}, words)
_files = st.sampled_from(["aGVsbG8=", "d29ybGQ="])


def _base64(media_type: str) -> st.SearchStrategy[Json]:
    return st.builds(lambda data: {"type": "base64", "media_type": media_type, "data": data}, _files)


_elsewhere = st.sampled_from([{"type": "url", "url": "https://example.com/a"}, {"type": "file", "file_id": "file_011"}])
image_blocks = st.builds(lambda source: {"type": "image", "source": source}, _base64("image/png") | _elsewhere)
_document_sources = (
    _base64("application/pdf")
    | _elsewhere
    | st.sampled_from(
        [
            {"type": "text", "media_type": "text/plain", "data": "Plain words."},
            {"type": "content", "content": "Content as one text."},
            {"type": "content", "content": [{"type": "text", "text": "Content in blocks."}]},
            {
                "type": "content",
                "content": [
                    {"type": "hologram", "x": 1},
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aW5uZXI="}},
                ],
            },
        ]
    )
)
document_blocks = st.builds(
    lambda source, more: {"type": "document", "source": source, **more},
    _document_sources,
    st.sampled_from([{}, {"title": "A title"}, {"title": "T", "context": "C", "citations": {"enabled": True}}]),
)
thinking_blocks = st.builds(lambda text: {"type": "thinking", "thinking": text, "signature": "s"}, words)
tool_references = st.builds(
    lambda name: {"type": "tool_reference", "tool_name": name}, st.sampled_from([*DEFERRED_TOOLS, "Unheard-of"])
)
tool_additions = st.builds(
    lambda tool: {"type": "tool_addition", "tool": tool},
    st.builds(lambda name: {"type": "tool_reference", "name": name}, st.sampled_from(DEFERRED_TOOLS))
    | st.builds(
        lambda name: {"type": "tool_definition", "definition": {"name": name, "description": f"What {name} does."}},
        st.sampled_from(["Inline", "mcp__inline__tool"]),
    ),
)
other_blocks = st.sampled_from(
    [
        {"type": "hologram", "x": 1},
        {"type": "redacted_thinking", "data": "sealed"},
        {"type": "search_result", "source": "https://example.com/s", "title": "A find", "content": []},
        {
            "type": "search_result",
            "source": "https://example.com/t",
            "title": "Another find",
            "content": [{"type": "text", "text": "A passage."}],
        },
        {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "bridges"}},
        {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": None},
        {
            "type": "web_search_tool_result",
            "tool_use_id": "srvtoolu_1",
            "content": {"type": "web_search_tool_result_error", "error_code": "unavailable"},
        },
        {
            "type": "web_search_tool_result",
            "tool_use_id": "srvtoolu_1",
            "content": [
                {"type": "web_search_result", "title": "A page", "url": "https://example.com/u", "page_age": None},
                {"type": "web_search_result", "title": None, "url": "https://example.com/v"},
                3,
            ],
        },
    ]
)
inputs = st.sampled_from(
    [
        {},
        {"file_path": "/a b/ä.txt", "limit": 3},
        {"b": [1, {"a": None, "": "x"}], "a": 0.5, "c": 'says "so"\n'},
        {"__unparsedToolInput": {"raw": '{"a":', "len": 5}},
        [],
        ["a", 2**60],
        "only text",
        17,
        None,
    ]
)
tool_uses = st.builds(
    lambda at, name, given: {"type": "tool_use", "id": at, "name": name, "input": given},
    ids,
    st.sampled_from([*INLINE_TOOLS, *DEFERRED_TOOLS]),
    inputs,
)
_inner_blocks = text_blocks | image_blocks | document_blocks | other_blocks | tool_references | tool_uses
result_content = st.none() | words | st.lists(_inner_blocks, max_size=3)
tool_results = st.builds(
    lambda at, content, failed: {"type": "tool_result", "tool_use_id": at, "content": content, "is_error": failed},
    ids,
    result_content,
    st.none() | st.booleans(),
)
any_blocks = (
    text_blocks | image_blocks | document_blocks | other_blocks | thinking_blocks | tool_uses | tool_results
) | (tool_references | tool_additions)

# --- conversations --------------------------------------------------------------------------------------------


def _turns(role: str) -> st.SearchStrategy[Json]:
    return st.builds(lambda content: {"role": role, "content": content}, words | st.lists(any_blocks, max_size=4))


any_turns = st.sampled_from(["user", "assistant", "system", "developer"]).flatmap(_turns)
wild_conversations = st.lists(any_turns, min_size=1, max_size=6)
"""In no order at all: orphans, empty turns, results before their calls."""


@st.composite
def _steps(draw: st.DrawFn, number: int) -> Messages:
    """Return what an agent and its user do in one step: words, calls, and their results in any order."""
    requested: list[Json] = [{"type": "text", "text": draw(spoken_words)}]
    requested += draw(st.lists(text_blocks | image_blocks | document_blocks, max_size=1))
    answer_blocks: list[Json] = draw(st.lists(thinking_blocks, max_size=1))
    answer_blocks.append({"type": "text", "text": draw(spoken_words)})
    called = [
        {"type": "tool_use", "id": f"toolu_{number}_{at}", "name": name, "input": given}
        for at, (name, given) in enumerate(draw(st.lists(st.tuples(st.sampled_from(INLINE_TOOLS), inputs), max_size=3)))
    ]
    messages = [{"role": "user", "content": requested}]
    if draw(st.booleans()):
        messages.append({"role": "system", "content": draw(spoken_words)})
    messages.append({"role": "assistant", "content": answer_blocks + called})
    if called:
        results: list[Json] = [
            {"type": "tool_result", "tool_use_id": call["id"], "content": draw(result_content)} for call in called
        ]
        more = draw(st.lists(text_blocks, max_size=1))
        messages.append({"role": "user", "content": [*draw(st.permutations(results)), *more]})
        messages.append({"role": "assistant", "content": draw(spoken_words)})
    return messages


@st.composite
def agent_conversations(draw: st.DrawFn, *, most: int = 3) -> Messages:
    """Return a history as an agent makes it, which ends with an answer; the ids of its calls are its own."""
    return [message for number in range(draw(st.integers(0, most))) for message in draw(_steps(number))]


conversations = wild_conversations | agent_conversations().filter(bool)
questions = st.builds(
    lambda more: {"role": "user", "content": [{"type": "text", "text": "Go on."}, *more]},
    st.lists(any_blocks, max_size=2),
)

# --- all else in a request ------------------------------------------------------------------------------------


def _tool(name: str, **more: Any) -> Json:
    properties = {"path": {"type": "string", "description": f"Of {name[:9]}.", "pattern": "^/"}, "n": {"minimum": 0}}
    schema = {"type": "object", "properties": properties, "required": ["path"], "additionalProperties": False}
    return {"name": name, "description": f"What {name[:9]} does.", "input_schema": schema, **more}


TOOLS = [
    *map(_tool, INLINE_TOOLS),
    _tool("DeferredToolPlaceholder", defer_loading=True),
    *(_tool(name, defer_loading=True) for name in DEFERRED_TOOLS),
]
tool_lists = st.sampled_from([None, [], TOOLS, TOOLS[:2], TOOLS[::-1]])
system_prompts = st.sampled_from(
    [
        None,
        "Be terse.",
        [
            {"type": "text", "text": "x-anthropic-billing-header: cc_version=2.1.330.4f2; cch=9ab01;"},
            {"type": "text", "text": "You are an agent.", "cache_control": {"type": "ephemeral"}},
            {"type": "text", "text": "Be terse."},
        ],
    ]
)
thinking_preferences = st.sampled_from(
    [
        {},
        {"thinking": {"type": "adaptive", "display": "updates"}, "output_config": {"effort": "high"}},
        {"thinking": {"type": "enabled", "budget_tokens": 9_000}},
        {"thinking": {"type": "disabled"}},
    ]
)
frames = st.builds(
    lambda tools, system, thinking: {"tools": tools, "system": system, **thinking},
    tool_lists,
    system_prompts,
    thinking_preferences,
)
"""What stays the same in all requests of a conversation."""


def in_another_shape(messages: Messages, draw: Callable[[st.SearchStrategy[Any]], Any]) -> Messages:
    """Return the same conversation as a client may send it a turn later: what was marked is not, a list is a string."""
    changed = copy.deepcopy(messages)
    for message in changed:
        content = message["content"]
        if isinstance(content, str) and content:
            if draw(st.booleans()):
                message["content"] = [{"type": "text", "text": content, "cache_control": {"type": "ephemeral"}}]
        elif content:
            if [set(block) for block in content] == [{"type", "text"}] and draw(st.booleans()):
                message["content"] = content[0]["text"]
            elif draw(st.booleans()):
                content[-1]["cache_control"] = {"type": "ephemeral", "ttl": "1h"}
        if message["role"] != "system" and draw(st.booleans()):
            message["output_config"] = {"effort": "low"}
    return changed


# --- rows -----------------------------------------------------------------------------------------------------


_OF_OTHER_KINDS: dict[str, tuple[str, ...]] = {
    OPENAI_CHAT: ("thinking", "reasoning_items", "files_in_tool_results", "keeps_tool_list"),
    RESPONSES: ("thinking", "reasoning", "reasoning_details", "thought_signature"),
    OLLAMA_CHAT: (
        "reasoning_content",
        "reasoning",
        "images_in_tool_results",
        "files_in_tool_results",
        "keeps_tool_list",
        "reads_pdfs",
        "fetches_pdfs",
        "fetches_images",
    ),
}
"""Facts, and values of facts, that can't be true of engines of a kind."""


@st.composite
def _any_profile(draw: st.DrawFn, kind: str, row: Profile) -> Profile:
    """Return a row that nobody has written yet: any facts may be true of an engine."""
    changes: Json = {}
    kinds: tuple[type[Struct], ...] = (Profile, *PARTS.values())
    for field in [fact for kind in kinds for fact in fields(kind)]:
        options = [option for option in _options(field.type) if option not in _OF_OTHER_KINDS[kind]]
        is_changed: bool = draw(st.booleans())
        if options and is_changed and field.name not in _OF_OTHER_KINDS[kind]:
            changes[field.name] = draw(st.sampled_from(options))
    return row.with_changes(changes)


def _options(kind: Any) -> list[Any]:
    if kind is bool:
        return [False, True]
    if get_origin(kind) is Literal:
        return list(get_args(kind))
    if get_origin(kind) is tuple:
        items = get_args(get_args(kind)[0])
        return [(), items[:1], items] if get_origin(get_args(kind)[0]) is Literal else []
    members = [member for member in get_args(kind) if get_origin(member) is Literal]
    return [None, *get_args(members[0])] if members else []


def rows(kind: str) -> st.SearchStrategy[Profile]:
    """Return the rows of an upstream kind, and combinations of facts that are in none."""
    known = [row for of, row in ROWS.values() if of == kind]
    return st.sampled_from(known) | st.sampled_from(known).flatmap(lambda row: _any_profile(kind, row))


KINDS = (OPENAI_CHAT, OLLAMA_CHAT, RESPONSES)
