"""The log in words: what is shown of a request and of its answer, as lines without colours and widths.

Texts in an entry are foreign and not yet made printable: whoever shows them must do that.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, assert_never

import msgspec

from claude_bridge.conversion.request.server_tool_history import search_results_text
from claude_bridge.trace.console.bodies import contents, last_said
from claude_bridge.trace.console.printable import counted, one_line, rate, seconds, shortened, size
from claude_bridge.trace.events import (
    ExchangeEnded,
    ImageDescribed,
    PromptCut,
    PromptRead,
    PromptReread,
    RequestReceived,
    WebToolCalled,
)
from claude_bridge.wire.anthropic import (
    RedactedThinkingBlock,
    ServerToolUseBlock,
    TextBlock,
    ThinkingBlock,
    ToolUseBlock,
    WebSearchToolResultBlock,
)
from claude_bridge.wire.anthropic_answers import AnswerBlock, Message, WebFetchAnswerBlock

Mark = Literal["asked", "sent", "first", "done", "failed"]
Tone = Literal["plain", "dim", "warning", "bad"]

_MAX_SAID = 8
_IMAGE = "image"
_TOLD_LOAD_MS = 1_000  # Ollama reports some milliseconds of loading for a model that is loaded
_SAID_ROWS = {"user": 3, "result": 2}
_MAX_TEXT_CHARS = 4_000
_MAX_ARGUMENT_CHARS = 72


class Line(NamedTuple):
    """One line of an entry; a longer text is folded to at most ``rows`` rows."""

    label: str
    text: str
    rows: int = 2
    tone: Tone = "plain"


class Entry(NamedTuple):
    """What is shown of one event; ``number`` counts exchanges, and picks the colour of the tag."""

    tag: str
    number: int
    mark: Mark
    at_s: float
    head: str
    lines: list[Line]
    tone: Tone = "plain"


# --- what was asked -----------------------------------------------------------------------------------------


def asked_head(event: RequestReceived) -> str:
    """Return the request in one line."""
    parts = [event.model, "streamed" if event.streamed else "not streamed", counted(event.messages, "message")]
    if event.tools:
        parts.append(counted(event.tools, "tool"))
    parts.append(size(len(event.body)))
    path = "" if event.path.partition("?")[0] == "/v1/messages" else f"{event.path} "
    return path + ", ".join(parts)


def asked_lines(event: RequestReceived) -> list[Line]:
    """Return who asked, what fills the request, and what was said last."""
    client = (event.user_agent or "").split()
    origin = [client[0]] if client else ["a client without a name"]
    if event.session:
        origin.append(f"session {event.session[:8]}")
    origin.append(event.exchange)
    said = last_said(event.body)
    left_out = len(said) - _MAX_SAID
    return [
        Line("from", ", ".join(origin), tone="dim"),
        *contents_lines(event.body),
        *([Line("unread", ", ".join(event.not_read), tone="dim")] if event.not_read else []),
        *([Line("", f"({left_out} more before these)", tone="dim")] if left_out > 0 else []),
        *(Line(what.who, what.text, _SAID_ROWS[what.who], what.tone) for what in said[-_MAX_SAID:]),
    ]


def contents_lines(body: bytes) -> list[Line]:
    """Return what fills a request body, the client's or ours."""
    sizes, parameters = contents(body)
    lines = [Line("holds", sizes, tone="dim"), Line("with", parameters, tone="dim")]
    return [line for line in lines if line.text]


def described_head(event: ImageDescribed) -> str:
    """Return that an image was described, or was not, in one line."""
    did = "described" if event.text is not None else "did not describe"
    return f"{event.model} {did} an image, after {seconds(event.took_s)}"


def described_lines(event: ImageDescribed) -> list[Line]:
    """Return which image it is, and what is said of it."""
    if event.text is None:
        return [Line(_IMAGE, f"{event.path.removeprefix('$.')}: {event.trouble}", tone="warning")]
    return [Line(_IMAGE, f"{event.path.removeprefix('$.')}: {shortened(event.text, _MAX_TEXT_CHARS)}", tone="dim")]


def web_head(event: WebToolCalled) -> str:
    """Return what the bridge did on the web, in one line."""
    did = "web search" if event.tool == "web_search" else "web fetch"
    found = f"{counted(event.results, 'result')}, {size(event.size_bytes)}" if event.error is None else event.error
    return f"{did}: {found}, after {seconds(event.took_s)}"


def web_lines(event: WebToolCalled) -> list[Line]:
    """Return what was asked for, and why that failed."""
    asked = Line("input", shortened(event.input, _MAX_TEXT_CHARS), tone="dim")
    return [asked, *([Line("error", event.reason, rows=3, tone="warning")] if event.reason else [])]


# --- what was answered --------------------------------------------------------------------------------------


def usage_text(event: ExchangeEnded) -> str:
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
    return f"{about}{prompt:,} tokens in ({cache}), {out}{_cost_text(event.cost_usd)}"


def _cost_text(cost_usd: float | None) -> str:
    """Return the cost in dollars, with what is left of a cent; nothing where it costs nothing or is not known."""
    if not cost_usd:
        return ""
    return f", ${cost_usd:.2f}" if cost_usd >= 1 else f", ${cost_usd:.2g}" if cost_usd >= 0.0001 else ", <$0.0001"


def read_text(event: PromptRead) -> str:
    """Return how much of a prompt has been read."""
    share = event.read_tokens / max(1, event.prompt_tokens)
    cached = f", {event.cached_tokens:,} of them from cache" if event.cached_tokens else ""
    return f"reading: {min(share, 1.0):.0%} of {event.prompt_tokens:,} tokens{cached}"


def reread_text(event: PromptReread) -> str:
    """Return that a prompt was read again, and why."""
    tokens = f"{event.tokens:,} tokens" if event.tokens is not None else f"about {event.lost_tokens:,} tokens"
    return f"turn {event.turn} re-read {tokens}: {event.reason}"


def cut_text(event: PromptCut) -> str:
    """Return what became of a prompt that did not fit, and the remedy."""
    return (
        f"the engine read {event.reported_tokens:,} of about {event.estimated_tokens:,} tokens, and cut the rest in "
        f"silence: its window has {event.window_tokens:,}. Update it, or give a larger --context-window"
    )


def speed_lines(event: ExchangeEnded) -> list[Line]:
    """Return how fast it went, as the client saw it and as the engine tells it."""
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
    """Return what the model said, thought and called."""
    lines = [_answer_line(block) for block in message.content]
    return lines or [Line("text", "(the answer is empty)", tone="warning")]


def _answer_line(block: AnswerBlock) -> Line:
    match block:
        case TextBlock():
            return Line("text", shortened(block.text.strip(), _MAX_TEXT_CHARS), rows=6)
        case ThinkingBlock():
            return Line("think", shortened(block.thinking.strip(), _MAX_TEXT_CHARS), rows=2, tone="dim")
        case RedactedThinkingBlock(data):
            return Line("think", f"(sealed, {len(data):,} characters)", tone="dim")
        case ToolUseBlock() | ServerToolUseBlock():
            return Line("call", f"{block.name}({_arguments(bytes(block.input))})", rows=3)
        case WebSearchToolResultBlock():
            return Line("result", search_results_text(block.content), rows=3, tone="dim")
        case WebFetchAnswerBlock():
            return Line("result", _arguments(bytes(block.content)), tone="dim")
        case _:
            assert_never(block)


def _arguments(arguments: bytes) -> str:
    try:
        fields: Any = msgspec.json.decode(arguments)
    except (ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict):
        return shortened(one_line(arguments.decode("utf-8", "replace")), 2 * _MAX_ARGUMENT_CHARS)
    return ", ".join(f"{name}={_argument(value)}" for name, value in fields.items())


def _argument(value: object) -> str:
    text = msgspec.json.encode(value).decode()
    if len(text) <= _MAX_ARGUMENT_CHARS:
        return text
    end = {'"': '"', "[": "]", "{": "}"}.get(text[0], "")
    return shortened(text, _MAX_ARGUMENT_CHARS - 1) + end
