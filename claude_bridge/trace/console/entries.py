"""The log in words: what is shown of a request and of its answer, as lines without colours and widths.

Texts in an entry are foreign and not yet made printable: whoever shows them must do that.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, assert_never

import msgspec
from msgspec import Raw, Struct

from claude_bridge.clients.claude_code import REMINDER_TAG
from claude_bridge.conversion.request.server_tool_history import search_results_text
from claude_bridge.providers import engine_words
from claude_bridge.trace import events
from claude_bridge.trace.console.printable import NO_BREAK, counted, one_line, rate, seconds, shortened, size
from claude_bridge.trace.parts import Part, items, members, message_parts, parsed
from claude_bridge.wire import anthropic
from claude_bridge.wire.anthropic_answers import AnswerBlock, Message, WebFetchAnswerBlock
from claude_bridge.wire.lenient_json import read_or_none

Mark = Literal["received", "sent", "first", "done", "failed"]
Tone = Literal["plain", "dim", "warning", "bad"]

_MAX_USER_LINES = 8
_TOLD_LOAD_MS = 1_000  # Ollama reports some milliseconds of loading for a model that is loaded
_USER_LINE_ROWS = 3
_MAX_TEXT_CHARS = 4_000
_MAX_ARGUMENT_CHARS = 72


class Line(NamedTuple):
    """One line of an entry; a longer text is folded to at most ``rows`` rows."""

    label: str
    text: str
    rows: int = 2
    tone: Tone = "plain"


class LogEntry(NamedTuple):
    """What is shown of one event; ``number`` counts exchanges, and picks the colour of the tag."""

    tag: str
    number: int
    mark: Mark
    at_s: float
    head: str
    lines: list[Line]
    tone: Tone = "plain"


# --- what was asked -----------------------------------------------------------------------------------------


def request_headline(event: events.RequestReceived) -> str:
    """Return the request in one line."""
    parts = [event.model, "streamed" if event.streamed else "not streamed", counted(event.messages, "message")]
    if event.tools:
        parts.append(counted(event.tools, "tool"))
    parts.append(size(len(event.body)))
    path = "" if event.path.partition("?")[0] == "/v1/messages" else f"{event.path} "
    return path + ", ".join(parts)


def request_lines(event: events.RequestReceived) -> list[Line]:
    """Return who sent the request, what fills it, and the content of its last user turn."""
    client = (event.user_agent or "").split()
    origin = [client[0]] if client else ["a client without a name"]
    if event.session:
        origin.append(f"session {event.session[:8]}")
    origin.append(event.exchange)
    lines = last_user_lines(event.body)
    left_out = len(lines) - _MAX_USER_LINES
    return [
        Line("from", ", ".join(origin), tone="dim"),
        *contents_lines(event.body),
        *([Line("unread", ", ".join(event.not_read), tone="dim")] if event.not_read else []),
        *([Line("", f"({left_out} more before these)", tone="dim")] if left_out > 0 else []),
        *lines[-_MAX_USER_LINES:],
    ]


def contents_lines(body: bytes) -> list[Line]:
    """Return what fills a request body, the client's or ours."""
    sizes, parameters = contents(body)
    lines = [Line("holds", sizes, tone="dim"), Line("with", parameters, tone="dim")]
    return [line for line in lines if line.text]


def sent_lines(event: events.RequestSent) -> list[Line]:
    """Return what an engine was sent, and why that one."""
    why = f", since {event.reason}" if event.reason else ""
    engine = engine_words(event.upstream, event.kind)
    to = f"{event.model} on {engine}{why}, {size(len(event.body))}, ~{event.estimated_tokens:,} tokens"
    return [Line("to", to), *contents_lines(event.body)]


def described(event: events.ImageDescribed) -> tuple[str, list[Line]]:
    """Return whether an image was described, which image it is, and its description."""
    did = "described" if event.text is not None else "did not describe"
    text = event.trouble if event.text is None else shortened(event.text, _MAX_TEXT_CHARS)
    tone: Tone = "warning" if event.text is None else "dim"
    head = f"{event.model} {did} an image, after {seconds(event.took_s)}"
    return head, [Line("image", f"{event.path.removeprefix('$.')}: {text}", tone=tone)]


def web_call(event: events.WebToolCalled) -> tuple[str, list[Line]]:
    """Return what the bridge did on the web, the request, and why it failed."""
    did = "web search" if event.tool == "web_search" else "web fetch"
    found = f"{counted(event.results, 'result')}, {size(event.size_bytes)}" if event.error is None else event.error
    lines = [Line("input", shortened(event.input, _MAX_TEXT_CHARS), tone="dim")]
    lines += [Line("error", event.reason, rows=3, tone="warning")] if event.reason else []
    return f"{did}: {found}, after {seconds(event.took_s)}", lines


# --- what was answered --------------------------------------------------------------------------------------


def usage_text(event: events.ExchangeEnded) -> str:
    """Return the tokens read, reused and written."""
    usage = event.message.usage
    whole_prompt = usage.input_tokens + usage.cache_read_input_tokens + usage.cache_creation_input_tokens
    prompt = whole_prompt if event.prompt_tokens is None else event.prompt_tokens
    about = "~" if event.usage_is_estimated else ""
    if event.cached_tokens is None:
        cache = "cache not reported"
    elif event.cached_tokens == 0 or prompt == 0:
        cache = "none from cache"
    else:
        cache = f"{event.cached_tokens:,} from cache, {event.cached_tokens / prompt:.0%}"
    out = f"{about}{usage.output_tokens:,} out"
    if usage.output_tokens_details:
        out += f" ({usage.output_tokens_details.thinking_tokens:,} thinking)"
    if cost := event.cost_usd:  # in dollars, with what is left of a cent
        out += f", ${cost:.2f}" if cost >= 1 else f", ${cost:.2g}" if cost >= 0.0001 else ", <$0.0001"
    return f"{about}{prompt:,} tokens in ({cache}), {out}"


def read_text(event: events.PromptRead) -> str:
    """Return how much of a prompt has been read."""
    share = event.read_tokens / max(1, event.prompt_tokens)
    cached = f", {event.cached_tokens:,} of them from cache" if event.cached_tokens else ""
    return f"reading: {min(share, 1.0):.0%} of {event.prompt_tokens:,} tokens{cached}"


def reread_text(event: events.PromptReread) -> str:
    """Return that a prompt was read again, and why."""
    tokens = f"{event.tokens:,} tokens" if event.tokens is not None else f"about {event.lost_tokens:,} tokens"
    return f"turn {event.turn} re-read {tokens}: {event.reason}"


def cut_text(event: events.PromptCut) -> str:
    """Return what became of a prompt that did not fit, and the remedy."""
    return (
        f"the engine read {event.reported_tokens:,} of about {event.estimated_tokens:,} tokens, and cut the rest in "
        f"silence: its window has {event.window_tokens:,}. Update it, or give a larger --context-window"
    )


def speed_lines(event: events.ExchangeEnded) -> list[Line]:
    """Return the speed, as the client saw it and as the engine reports it."""
    tokens = event.message.usage.output_tokens
    seen: list[str] = []
    if event.first_token_s is not None:
        seen.append(f"first token after {seconds(event.first_token_s)}")
        writing_s = event.after_s - event.first_token_s
        if writing_s > 0.05 and tokens > 1:
            seen.append(f"then {rate(tokens, writing_s)}")
    engine: list[str] = []
    if event.load_ms and event.load_ms > _TOLD_LOAD_MS:
        engine.append(f"loaded the model in {seconds(event.load_ms / 1000)}")
    if event.prompt_ms and event.prompt_tokens is not None:
        read_s, read = event.prompt_ms / 1000, event.prompt_tokens - (event.cached_tokens or 0)
        caveat = ", cached ones counted in" if event.cached_tokens is None else ""
        engine.append(f"read {counted(read, 'token')} in {seconds(read_s)} ({rate(read, read_s)}{caveat})")
    if event.output_ms:
        engine.append(f"wrote for {seconds(event.output_ms / 1000)} ({rate(tokens, event.output_ms / 1000)})")
    lines = [Line("speed", ", ".join(seen)), Line("engine", ", ".join(engine))]
    return [line for line in lines if line.text]


def answer_lines(message: Message) -> list[Line]:
    """Return the text, thinking and tool calls of the model."""
    lines = [_answer_line(block) for block in message.content]
    return lines or [Line("text", "(the answer is empty)", tone="warning")]


def _answer_line(block: AnswerBlock) -> Line:
    match block:
        case anthropic.TextBlock():
            return Line("text", shortened(block.text.strip(), _MAX_TEXT_CHARS), rows=6)
        case anthropic.ThinkingBlock():
            return Line("think", shortened(block.thinking.strip(), _MAX_TEXT_CHARS), rows=2, tone="dim")
        case anthropic.RedactedThinkingBlock(data):
            return Line("think", f"(sealed, {len(data):,} characters)", tone="dim")
        case anthropic.ToolUseBlock() | anthropic.ServerToolUseBlock():
            return Line("call", f"{block.name}({_arguments(bytes(block.input))})", rows=3)
        case anthropic.WebSearchToolResultBlock():
            return Line("result", search_results_text(block.content), rows=3, tone="dim")
        case WebFetchAnswerBlock():
            return Line("result", _arguments(bytes(block.content)), tone="dim")
        case _:
            assert_never(block)


def _arguments(arguments: bytes) -> str:
    fields = parsed(arguments)
    if not isinstance(fields, dict):
        return shortened(one_line(arguments.decode("utf-8", "replace")), 2 * _MAX_ARGUMENT_CHARS)
    return ", ".join(f"{name}={_argument(value)}" for name, value in fields.items())


def _argument(value: object) -> str:
    text = msgspec.json.encode(value).decode()
    if len(text) <= _MAX_ARGUMENT_CHARS:
        return text
    end = {'"': '"', "[": "]", "{": "}"}.get(text[0], "")
    return shortened(text, _MAX_ARGUMENT_CHARS - 1) + end


_MAX_VALUE_CHARS = 40
_SHOWN_ELSEWHERE = frozenset({"model", "stream", "metadata", "stream_options", "messages", "input", "tools", "system"})
_REMINDER = f"<{REMINDER_TAG}>"


class Contents(NamedTuple):
    """What fills a request body: ``sizes`` of messages by role and of tools, and the other ``parameters``."""

    sizes: str
    parameters: str


def contents(body: bytes) -> Contents:
    """Return what fills a request body.

    It reads any wire that has ``messages`` or ``input`` items, so that the client's request and the translated one can
    be compared.
    """
    fields = members(body)
    if not fields and parsed(body) != {}:
        return Contents("", f"no JSON object: {shortened(one_line(body[:200].decode('utf-8', 'replace')), 100)}")
    sizes = [f"system prompt {size(len(bytes(fields['system'])))}"] if "system" in fields else []
    sizes += _messages_by_role(items(fields.get("messages") or fields.get("input")))
    tools = fields.get("tools", Raw(b"[]"))
    if number := len(items(tools)):
        sizes.append(f"{counted(number, 'tool')} {size(len(bytes(tools)))}")
    parameters = [f"{name} {_value(raw)}" for name, raw in fields.items() if name not in _SHOWN_ELSEWHERE]
    return Contents(", ".join(part.replace(" ", NO_BREAK) for part in sizes), ", ".join(parameters))


def last_user_lines(body: bytes) -> list[Line]:
    """Return the texts and tool results of the client's last user turn, in their order.

    Messages of role "system" may follow it; reminders inside it, which the client wrote itself, are only counted.
    """
    messages = items(members(body).get("messages"))
    for at in reversed(range(len(messages))):  # only the last few are decoded: a history may be a megabyte
        message = parsed(messages[at])
        if isinstance(message, dict) and message.get("role") == "user":
            break
    else:
        return []
    before = message_parts(parsed(messages[at - 1])) if at else []
    names = {part.id: part.name for part in before if part.kind == "tool_use"}
    lines, reminders = list[Line](), 0
    for part in message_parts(message):
        if part.kind == "tool_result":
            lines.append(_result_line(part, names.get(part.id, "?")))
        elif part.text.lstrip().startswith(_REMINDER):
            reminders += 1
        else:
            lines.append(Line("result" if part.id else "user", _content_text(part), _USER_LINE_ROWS))
    if reminders:
        lines.append(Line("user", f"({counted(reminders, 'reminder')} of the client's own)", _USER_LINE_ROWS, "dim"))
    return lines


def _result_line(result: Part, name: str) -> Line:
    if not result.text:
        return Line("result", f"{name} gave nothing")
    verb = "failed with" if result.is_error else "gave"
    text = one_line(result.text[:_MAX_TEXT_CHARS])
    amount = size(len(result.text.encode("utf-8", "replace")))
    return Line("result", f"{name} {verb} {amount}: {text}", tone="warning" if result.is_error else "plain")


def _content_text(part: Part) -> str:
    if part.kind == "text":
        return shortened(part.text, _MAX_TEXT_CHARS)
    media_type, _, data = part.data.removeprefix("data:").partition(";base64,")
    return f"[{' '.join(filter(None, (part.kind, part.name, media_type, data and size(len(data)))))}]"


class _Role(Struct):
    role: str = ""
    type: str = "?"


_ITEMS = {"function_call_output": "tool", "function_call": "call", "reasoning": "thought"}
"""Items of the Responses API that are no messages."""


_role_decoder = msgspec.json.Decoder(_Role)


def _messages_by_role(messages: list[Raw]) -> list[str]:
    counts: dict[str, list[int]] = {}
    for message in messages:
        found = read_or_none(_role_decoder.decode, message)
        role = found.role or _ITEMS.get(found.type, found.type) if found else "?"
        count = counts.setdefault(role, [0, 0])
        count[0] += 1
        count[1] += len(bytes(message))
    parts = [
        f"{counted(number, 'tool result') if role == 'tool' else f'{number} {role}'} {size(total)}"
        for role, (number, total) in counts.items()
    ]
    return parts or ["no messages"]


def _value(raw: Raw) -> str:
    value = parsed(raw)
    if isinstance(value, dict):
        inside = " ".join(f"{key} {part}" for key, part in value.items() if isinstance(part, str | int))
        is_whole = all(isinstance(part, str | int) for part in value.values()) and len(inside) <= _MAX_VALUE_CHARS
        return f"{{{inside}}}" if is_whole else f"{{{size(len(bytes(raw)))}}}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    text = value if isinstance(value, str) else bytes(raw).decode("utf-8", "replace")
    return shortened(one_line(text[:1000]), _MAX_VALUE_CHARS)
