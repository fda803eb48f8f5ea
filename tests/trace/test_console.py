"""The debug log is readable at any width, safe to print, and never in the way."""

from __future__ import annotations

import io
import json
import os
import re
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from msgspec import Raw
from rich.console import Console

from claude_bridge.conversion.loss import Loss
from claude_bridge.trace.bus import Bus
from claude_bridge.trace.console.sink import ConsoleSink, StderrConsole
from claude_bridge.trace.events import RequestReceived, TraceEvent
from claude_bridge.wire.anthropic import (
    TextBlock,
    ThinkingBlock,
    ToolUseBlock,
)
from tests.trace.samples import (
    NOON,
    answer_repaired,
    client_left,
    cut,
    described,
    ended,
    failed,
    first_token,
    grew,
    read,
    received,
    repaired,
    reread,
    retried,
    searched,
    sent,
    waiting,
)


@pytest.fixture(autouse=True)
def _utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def shown(*events: TraceEvent, width: int = 80, live: bool = False, **options: Any) -> str:
    file = io.StringIO()
    console = Console(file=file, width=width, height=25, **options)
    bus = Bus([ConsoleSink(console, live=live, now=lambda: NOON + 12)], secrets=["tr0ub4dor-and-more"])
    for event in events:
        bus.emit(event)
    bus.close()
    return file.getvalue()


CALLS: list[dict[str, Any]] = [{"type": "tool_use", "id": "t1", "name": "Bash", "input": {"command": "pytest"}}]
RESULTS: list[dict[str, Any]] = [
    {
        "type": "tool_result",
        "tool_use_id": "t1",
        "is_error": True,
        "content": "Exit code 1\n" + "E   assert 3 == 4\n" * 9,
    },
    {"type": "text", "text": "Fix it, please,\nand do not touch the public signature of fetch(): others call it."},
]
TURN: list[TraceEvent] = [
    received(
        [
            {"role": "user", "content": "Add a retry"},
            {"role": "assistant", "content": CALLS},
            {"role": "user", "content": RESULTS},
        ],
        system="s" * 6_800,
        tools=[{"name": "Bash", "description": "d" * 2_500}],
        thinking={"type": "adaptive"},
    ),
    sent(
        [{"role": "system", "content": "s" * 6_800}, {"role": "tool", "content": "x" * 200}],
        tools=[{"type": "function", "function": {"name": "Bash", "description": "d" * 2_500}}],
        max_tokens=8_192,
        losses=[
            Loss("$.top_k", "not a parameter of Chat Completions"),
            Loss("$.max_tokens", "lowered from 32000 to the model's limit 8192"),
        ],
    ),
    first_token(),
    repaired(),
    ended(
        [
            ThinkingBlock("The assertion compares the number of calls. " * 5),
            TextBlock("I'll look first.\n\nThen I'll fix it."),
            ToolUseBlock("t2", "Read", Raw(b'{"file_path": "src/http.py", "limit": 40}')),
        ],
        stop_reason="tool_use",
    ),
]

AT_80 = """
k7Qd ▶ 12:00:00 claude-sonnet-5, streamed, 3 messages, 1 tool, 10 kB
k7Qd │ from   claude-cli/2.1.330, session 3f2a9c1d, req_0000k7Qd
k7Qd │ holds  system prompt 6.8 kB, 2 user 429 B, 1 assistant 105 B,
k7Qd │        1 tool 2.5 kB
k7Qd │ with   max_tokens 32,000, thinking {type adaptive}
k7Qd │ result Bash failed with 174 B: Exit code 1 E assert 3 == 4 E assert 3 ==
k7Qd │        4 E assert 3 == 4 E assert 3 == 4 E assert 3 == 4 E assert 3 == …
k7Qd │ user   Fix it, please,
k7Qd │        and do not touch the public signature of fetch(): others call it.
k7Qd → 12:00:00 POST http://localhost:11434/v1/chat/completions
k7Qd │ to     qwen3:1.7b on ollama, 9.7 kB, ~9,100 tokens
k7Qd │ holds  1 system 6.8 kB, 1 tool result 228 B, 1 tool 2.6 kB
k7Qd │ with   max_tokens 8,192
k7Qd │ loss   top_k: not a parameter of Chat Completions
k7Qd │ loss   max_tokens: lowered from 32000 to the model's limit 8192
k7Qd · 12:00:03 first token after 3.9 s
k7Qd ◀ 12:00:06 tool_use after 6.4 s
k7Qd │ usage  9,100 tokens in (8,760 from cache, 96%), 212 out
k7Qd │ speed  first token after 3.9 s, then 85 tokens/s
k7Qd │ engine read 340 tokens in 1.2 s (283 tokens/s), wrote for 2.4 s
k7Qd │        (88 tokens/s)
k7Qd │ think  The assertion compares the number of calls. The assertion compares
k7Qd │        the number of calls. The assertion compares the number of calls. …
k7Qd │ text   I'll look first.
k7Qd │        Then I'll fix it.
k7Qd │ call   Read(file_path="src/http.py", limit=40)
k7Qd │ repair Bash: malformed JSON was mended
"""

AT_200 = """
k7Qd ▶ 12:00:00 claude-sonnet-5, streamed, 3 messages, 1 tool, 10 kB
k7Qd │ from   claude-cli/2.1.330, session 3f2a9c1d, req_0000k7Qd
k7Qd │ holds  system prompt 6.8 kB, 2 user 429 B, 1 assistant 105 B, 1 tool 2.5 kB
k7Qd │ with   max_tokens 32,000, thinking {type adaptive}
k7Qd │ result Bash failed with 174 B: Exit code 1 E assert 3 == 4 E assert 3 == 4 E assert 3 == 4 E assert 3 == 4 E assert 3 == 4 E assert 3 == 4 E assert 3 == 4 E assert 3 == 4 E assert 3 == 4
k7Qd │ user   Fix it, please,
k7Qd │        and do not touch the public signature of fetch(): others call it.
k7Qd → 12:00:00 POST http://localhost:11434/v1/chat/completions
k7Qd │ to     qwen3:1.7b on ollama, 9.7 kB, ~9,100 tokens
k7Qd │ holds  1 system 6.8 kB, 1 tool result 228 B, 1 tool 2.6 kB
k7Qd │ with   max_tokens 8,192
k7Qd │ loss   top_k: not a parameter of Chat Completions
k7Qd │ loss   max_tokens: lowered from 32000 to the model's limit 8192
k7Qd · 12:00:03 first token after 3.9 s
k7Qd ◀ 12:00:06 tool_use after 6.4 s
k7Qd │ usage  9,100 tokens in (8,760 from cache, 96%), 212 out
k7Qd │ speed  first token after 3.9 s, then 85 tokens/s
k7Qd │ engine read 340 tokens in 1.2 s (283 tokens/s), wrote for 2.4 s (88 tokens/s)
k7Qd │ think  The assertion compares the number of calls. The assertion compares the number of calls. The assertion compares the number of calls. The assertion compares the number of calls. The
k7Qd │        assertion compares the number of calls.
k7Qd │ text   I'll look first.
k7Qd │        Then I'll fix it.
k7Qd │ call   Read(file_path="src/http.py", limit=40)
k7Qd │ repair Bash: malformed JSON was mended
"""  # noqa: E501 - what a wide terminal shows


def test_a_turn_at_80_columns() -> None:
    assert shown(*TURN, width=80) == AT_80


def test_a_turn_at_200_columns() -> None:
    assert shown(*TURN, width=200) == AT_200


# --- other ends ---------------------------------------------------------------------------------------------


def test_an_error_is_reported_whole() -> None:
    message = "ollama at http://127.0.0.1:11434 refuses connections. Is it running? Start it with `ollama serve`."
    assert shown(failed(message)) == (
        "k7Qd ✗ 12:00:01 400 invalid_request_error after 1.0 s\n"
        "k7Qd │ error  ollama at http://127.0.0.1:11434 refuses connections. Is it\n"
        "k7Qd │        running? Start it with `ollama serve`.\n"
    )


def test_an_error_in_mid_answer_says_how_far_it_came() -> None:
    text = shown(sent(), first_token(), *[grew(40)] * 12, failed("the stream broke off", in_stream=True))
    assert "400 invalid_request_error after 1.0 s, in mid-answer\n" in text
    assert "│ sent   ~120 tokens, the first after 3.9 s\n" in text


def test_a_client_that_left_is_reported_with_what_it_got() -> None:
    assert "✗ 12:00:05 the client left after 5.0 s\n" in shown(sent(), client_left())
    assert "nothing yet: the first token had not come" in shown(sent(), client_left())


@pytest.mark.parametrize(
    ("fields", "usage"),
    [
        ({"cached_tokens": None}, "9,100 tokens in (cache not reported), 212 out"),
        ({"cached_tokens": 0}, "9,100 tokens in (none from cache), 212 out"),
        ({"prompt_tokens": None, "usage_is_estimated": True}, "~9,100 tokens in (8,760 from cache, 96%), ~212 out"),
        ({"prompt_tokens": 0, "cached_tokens": 5}, "0 tokens in (none from cache), 212 out"),
        ({"cost_usd": 0.0}, "9,100 tokens in (8,760 from cache, 96%), 212 out"),
        ({"cost_usd": 0.00003}, "9,100 tokens in (8,760 from cache, 96%), 212 out, <$0.0001"),
        ({"cost_usd": 0.012345}, "9,100 tokens in (8,760 from cache, 96%), 212 out, $0.012"),
        ({"cost_usd": 12.5}, "9,100 tokens in (8,760 from cache, 96%), 212 out, $12.50"),
    ],
)
def test_usage_says_what_is_not_known(fields: dict[str, Any], usage: str) -> None:
    assert f"│ usage  {usage}\n" in shown(ended(**fields))


# --- what is asked again and again --------------------------------------------------------------------------------

BAD = "messages.0: no content - at `$.messages`"


def _refused(number: int, message: str = BAD, **fields: Any) -> list[TraceEvent]:
    exchange = f"req_{number:04}"
    return [
        received(exchange=exchange, max_tokens=32_000 - number),
        msgspec.structs.replace(failed(message, exchange=exchange), **fields),
    ]


def test_what_a_client_sends_six_times_is_shown_once() -> None:
    text = shown(*[event for number in range(6) for event in _refused(number)])
    assert text.count(BAD) == 1
    assert text.count("▶") == 1
    assert text.count("refused again: the client tries with fewer features") == 1


def test_another_refusal_is_shown_with_what_was_asked() -> None:
    text = shown(*_refused(1), *_refused(2, "no"), *_refused(3, "no"))
    assert (text.count(BAD), text.count("│ error  no\n"), text.count("▶")) == (1, 1, 2)


def test_a_request_that_is_taken_at_last_is_shown_whole() -> None:
    text = shown(*_refused(1), received(), sent(), ended())
    assert text.count("▶") == 2
    assert text.index("▶", text.index(BAD)) < text.index("→") < text.index("◀")


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"status": 424}, id="a status that clients take as final"),
        pytest.param({"in_stream": True}, id="in mid-answer"),
    ],
)
def test_other_failures_are_all_shown(fields: dict[str, Any]) -> None:
    assert shown(*_refused(1, **fields), *_refused(2, **fields)).count(BAD) == 2


def test_the_same_mistake_of_another_session_is_another_one() -> None:
    requested, answered = _refused(2)
    assert isinstance(requested, RequestReceived)
    assert shown(*_refused(1), msgspec.structs.replace(requested, session="other"), answered).count(BAD) == 2


def test_a_request_that_was_sent_twice_says_why() -> None:
    for end in (ended(), failed("no")):
        assert "│ again  sent again: The engine reset the connection" in shown(received(), sent(), retried(), end)


def test_figures_that_no_engine_gave_are_left_out() -> None:
    text = shown(ended([], first_token_s=None, prompt_ms=None, output_ms=None))
    assert "speed" not in text
    assert "engine" not in text
    assert "│ text   (the answer is empty)\n" in text


def test_long_arguments_and_answers_are_cut() -> None:
    arguments = Raw(json.dumps({"path": "a.py", "text": "x" * 100_000, "lines": list(range(1000))}).encode())
    text = shown(ended([TextBlock("line\n" * 1000), TextBlock("y" * 100_000), ToolUseBlock("t", "Write", arguments)]))
    assert 'Write(path="a.py",' in text
    assert 'text="xxx' in text
    assert text.count("\n") < 25
    assert max(map(len, text.splitlines())) <= 80


def test_a_loss_that_an_earlier_request_had_too_is_only_named() -> None:
    losses = [Loss("$.top_k", "no such parameter")]
    text = shown(sent(losses=losses), sent(losses=[*losses, Loss("$.top_p", "refused")]))
    assert text.count("top_k: no such parameter") == 1
    assert "│ loss   top_p: refused\n" in text
    assert "│ loss   as before: top_k\n" in text


def test_many_losses_are_counted() -> None:
    text = shown(sent(losses=[Loss(f"$.f{at}", "lost") for at in range(20)]))
    assert text.count(": lost") == 12
    assert "and 8 more" in text


# --- several at once ----------------------------------------------------------------------------------------


def test_every_row_carries_the_tag_of_its_exchange() -> None:
    ids = [f"req_{at:04x}" for at in range(64)]
    events: list[TraceEvent] = []
    events += [received(exchange=exchange) for exchange in ids]
    events += [sent(exchange=exchange) for exchange in ids]
    events += [ended(exchange=exchange) for exchange in reversed(ids)]

    rows = [row for row in shown(*events).splitlines() if row]

    for exchange in ids:
        assert [row[5] for row in rows if row.startswith(f"{exchange[-4:]} ") and row[5] != "│"] == ["▶", "→", "◀"]
    assert all(re.match("[0-9a-f]{4} [▶→◀│] ", row) for row in rows)


def test_tags_of_exchanges_under_way_differ() -> None:
    rows = shown(received(exchange="req_a1234"), received(exchange="req_b1234")).splitlines()
    assert {row.split(" ")[0] for row in rows if row} == {"1234", "b1234"}


def test_an_exchange_that_ended_is_forgotten() -> None:
    for end in (ended(exchange="req_a1234"), failed("x", exchange="req_a1234"), client_left(exchange="req_a1234")):
        rows = shown(received(exchange="req_a1234"), end, received(exchange="req_b1234")).splitlines()
        assert {row.split(" ")[0] for row in rows if row} == {"1234"}


# --- what must not reach a terminal -------------------------------------------------------------------------

HOSTILE = "\x1b[2J\x1b]0;t\x07[bold red]\x9b31m\u202eevil[/] [link=http://x]:smile:\r\x00\ud800"


@pytest.mark.parametrize(
    ("tokens", "reported"),
    [pytest.param(21_400, "21,400 tokens", id="told"), pytest.param(None, "about 21,200 tokens", id="not told")],
)
def test_a_prompt_that_was_read_again_is_reported_with_the_cause(tokens: int | None, reported: str) -> None:
    text = shown(received(), sent(), reread(tokens), ended(), live=False)
    assert f"k7Qd │ reread turn 3 re-read {reported}: tool Bash's description" in text


def test_what_was_put_right_in_an_answer_is_reported_in_one_line() -> None:
    text = shown(
        received(), sent(), answer_repaired(), answer_repaired("the stop reason was length"), ended(), live=False
    )
    assert "k7Qd │ repair message_stop was missing; the stop reason was length" in text


def test_control_sequences_and_markup_are_shown_and_not_obeyed() -> None:
    hostile_tool = ToolUseBlock("t", HOSTILE, Raw(b'{"a": "\\u001b[2J", "\\u202e": [1]}'))
    events: list[TraceEvent] = [
        msgspec.structs.replace(
            received(body=b"\x1b[2J\x9b"), model=HOSTILE, user_agent=HOSTILE, session="\x1b[2J", path=HOSTILE
        ),
        received(body=rb'{"messages":[{"role":"\u001b[2J","content":"\u001b[2J"}],"\u001b[2J":"\u001b[2J"}'),
        received([{"role": "user", "content": [{"type": "text", "text": "\x1b[2J[bold]"}, {"type": "\x1b[2J"}]}]),
        msgspec.structs.replace(
            sent(losses=[Loss(HOSTILE, HOSTILE)]), url=HOSTILE, model=HOSTILE, upstream=HOSTILE, method=HOSTILE
        ),
        msgspec.structs.replace(repaired(HOSTILE), tool_name=HOSTILE),
        msgspec.structs.replace(described(HOSTILE), model=HOSTILE, path=HOSTILE),
        described(None, HOSTILE),
        searched(HOSTILE, error=HOSTILE, reason=HOSTILE),
        ended([TextBlock(HOSTILE), ThinkingBlock(HOSTILE), hostile_tool]),
        msgspec.structs.replace(failed(HOSTILE), error_type=HOSTILE),
        msgspec.structs.replace(client_left(), exchange="req_\x1b[2J"),
    ]
    for live in (True, False):
        text = shown(*events, live=live, force_terminal=live, color_system=None)
        assert "[bold red]" in text
        assert ":smile:" in text
        assert "\\x1b[2J" in text
        allowed = re.sub(r"\x1b\[(\?25[lh]|[0-9;]*m|2K|1A)|\r", "", text) if live else text  # what Rich itself sends
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\ud800-\udfff]", allowed)


def test_a_described_image_is_reported_with_its_description() -> None:
    assert shown(described(), described(None, "it said nothing")).splitlines() == [
        "k7Qd → 12:00:00 llava described an image, after 2.5 s",
        "k7Qd │ image  messages[2].content[0]: A cat on a keyboard.",
        "k7Qd → 12:00:00 llava did not describe an image, after 2.5 s",
        "k7Qd │ image  messages[2].content[0]: it said nothing",
    ]


def test_a_search_is_reported_with_its_query_and_why_it_failed() -> None:
    assert shown(searched(), searched(error="unavailable", reason="SearXNG does not answer.")).splitlines() == [
        "k7Qd → 12:00:00 web search: 2 results, 2.4 kB, after 500 ms",
        'k7Qd │ input  {"query": "bridges"}',
        "k7Qd → 12:00:00 web search: unavailable, after 500 ms",
        'k7Qd │ input  {"query": "bridges"}',
        "k7Qd │ error  SearXNG does not answer.",
    ]


def test_secrets_are_not_shown() -> None:
    text = shown(
        received([{"role": "user", "content": "my key is tr0ub4dor-and-more"}]),
        failed("the engine refused sk-ant-api03-abcdefgh and tr0ub4dor-and-more"),
    )
    assert "my key is [redacted]" in text
    assert "tr0ub4dor" not in text
    assert "sk-ant" not in text


# --- terminals and pipes ------------------------------------------------------------------------------------


def test_a_pipe_gets_plain_lines_and_no_progress() -> None:
    text = shown(received(), sent(), first_token(), *[grew()] * 500, ended())
    assert [row[5:] for row in text.splitlines() if row and row[5] != "│"] == [
        "▶ 12:00:00 claude-sonnet-5, streamed, 1 message, 93 B",
        "→ 12:00:00 POST http://localhost:11434/v1/chat/completions",
        "· 12:00:03 first token after 3.9 s",
        "◀ 12:00:06 end_turn after 6.4 s",
    ]
    assert "\x1b" not in text


def test_a_pipe_is_reported_once_that_the_engine_reads() -> None:
    text = shown(sent(), waiting(), waiting(), first_token(), waiting())
    assert text.count("the engine loads or reads") == 1
    assert "~9,100 tokens to read" in text


def test_once_a_speed_is_known_the_wait_is_foreseen() -> None:
    text = shown(sent(), ended(cached_tokens=0, prompt_ms=20_000.0), sent(), waiting())
    assert "~9,100 tokens to read: 20 s at 455" in text


def test_what_may_have_come_from_a_cache_is_not_taken_for_speed() -> None:
    first, second = ended(cached_tokens=None, prompt_ms=20_000.0), ended(cached_tokens=None, prompt_ms=20.0)
    text = shown(sent(), first, sent(), second, sent(), waiting(), width=100)
    assert "read 9,100 tokens in 20 ms (455,000 tokens/s, cached ones counted in)" in text
    assert "~9,100 tokens to read: 20 s at 455" in text


def test_how_much_of_the_prompt_has_been_read_is_shown_from_time_to_time() -> None:
    text = shown(sent(), read(1_800, 4), read(3_600, 11), waiting(), read(4_500, 12), read(8_100, 22), first_token())
    rows = [row.partition(" · ")[2] for row in text.splitlines() if "reading" in row]
    assert rows == [
        "12:00:11 reading: 40% of 9,000 tokens, 900 of them from cache",
        "12:00:22 reading: 90% of 9,000 tokens, 900 of them from cache",
    ]
    assert "loads or reads" not in text


def test_loading_a_model_is_reported_where_it_took_its_time() -> None:
    assert "loaded the model in 8.0 s" in shown(ended(load_ms=8_000.0))
    assert "loaded" not in shown(ended(load_ms=40.0))


@pytest.fixture(autouse=True)
def _usual_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no variable of this machine decide what a terminal shows."""
    monkeypatch.setenv("TERM", "xterm-256color")
    for name in ("COLUMNS", "FORCE_COLOR", "LINES", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)


def test_a_terminal_gets_colours_and_progress_that_goes_away() -> None:
    text = shown(received(), sent(), first_token(), grew(), live=True, force_terminal=True, color_system="standard")
    assert "\x1b[36mk7Qd" in text
    assert "qwen3:1.7b: no token yet, 12 s (~9,100 tokens to read)" in text
    assert "tokens, 12 s (first after 3.9 s)" in re.sub(" at [^,]*", "", text)
    assert "first token after" not in text
    assert text.endswith("\x1b[2K")


def test_progress_counts_what_does_not_fit() -> None:
    events: list[TraceEvent] = [received(exchange=f"req_{at:04x}") for at in range(12)]
    assert "and 4 more under way" in shown(*events, live=True, force_terminal=True)


def test_no_color_is_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    text = shown(*TURN, live=True, force_terminal=True, color_system="truecolor")
    assert "k7Qd" in text
    assert StderrConsole().no_color
    assert not re.search(r"\x1b\[[0-9;]*\b(3[0-7]|9[0-7]|38|48)\b[0-9;]*m", text)


def test_forced_colour_alone_makes_a_pipe_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    file = io.StringIO()
    sink = ConsoleSink(Console(file=file, width=80))
    sink.take(received())
    sink.close()
    assert "\x1b[?25l" not in file.getvalue()
    assert "\x1b[36mk7Qd" in file.getvalue()


def test_a_terminal_without_unicode_gets_ascii() -> None:
    file = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    sink = ConsoleSink(Console(file=file, width=80))
    for event in (received([{"role": "user", "content": "naïve"}]), sent(), ended([TextBlock("日本")])):
        sink.take(event)
    sink.close()
    file.seek(0)
    text = file.read()
    assert text.startswith("\nk7Qd > 12:00:00 claude-sonnet-5")
    assert "k7Qd | user   na?ve\n" in text


# --- never in the way ---------------------------------------------------------------------------------------


class StoppedTerminal(io.StringIO):
    """Takes nothing until it is released, as a terminal does after Ctrl-S."""

    def __init__(self) -> None:
        super().__init__()
        self.released = threading.Event()

    def write(self, text: str) -> int:
        self.released.wait(30)
        return super().write(text)


def test_a_stopped_terminal_does_not_hold_up_exchanges_and_what_is_missed_is_counted() -> None:
    file = StoppedTerminal()
    bus = Bus([ConsoleSink(Console(file=file, width=80))], in_threads=True)
    started = time.monotonic()
    for _ in range(4_000):
        bus.emit(client_left())
    assert time.monotonic() - started < 20
    file.released.set()
    bus.close()
    assert re.search(r"1,9[45]\d events not shown: the terminal was too slow\n$", file.getvalue())


class Unwritable(io.StringIO):
    def write(self, _text: str) -> int:
        raise BrokenPipeError


def test_a_terminal_that_is_gone_ends_the_log_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr", Unwritable())
    bus = Bus([ConsoleSink()], in_threads=True)
    give_up_at = time.monotonic() + 30
    while bus.active and time.monotonic() < give_up_at:
        bus.emit(received())
    assert not bus.active
    os.write(sys.stdout.fileno(), b"")  # Rich's own console would have pointed it at nothing, and exited


def test_closing_twice_does_no_harm() -> None:
    sink = ConsoleSink(Console(file=io.StringIO()))
    sink.close()
    sink.close()


def test_fields_that_were_not_read_are_named() -> None:
    assert "│ unread safeguards\n" in shown(received(safeguards=[{"type": "x"}]))


def test_a_prompt_that_was_cut_is_reported_with_the_remedy() -> None:
    log = " ".join(shown(received(), sent(), cut(), ended(), width=200).split())
    assert "cut the engine read 16,384 of about 44,000 tokens, and cut the rest in silence" in log
    assert "its window has 32,768. Update it, or give a larger --context-window" in log


def test_an_engine_that_does_not_say_its_name_is_described_by_its_api() -> None:
    unnamed = msgspec.structs.replace(sent(), upstream="The engine", kind="openai-chat")
    assert "│ to     qwen3:1.7b on an OpenAI-compatible engine, " in shown(received(), unnamed)
