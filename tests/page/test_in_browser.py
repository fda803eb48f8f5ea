"""The pages in a real browser: from a trace and live, by mouse, keyboard and a screen reader's tree."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from anyio import from_thread, to_thread

from claude_bridge.page.document import trace_page
from claude_bridge.trace.events import TraceEvent
from claude_bridge.trace.jsonl import encode_event
from claude_bridge.trace.trace_file import TraceFile
from claude_bridge.wire.anthropic import TextBlock, ThinkingBlock
from claude_bridge.wire.anthropic_answers import AnswerBlock
from tests.cli.process import serving
from tests.fake_upstream import DONE, MODEL, FakeUpstream, Head, Reply, Send, Wait, finish, text, thinking, usage
from tests.page.browser import Browser, open_browser
from tests.page.recording import picture
from tests.trace.samples import ended, failed, received, repaired, sent

EVIL = "</script><script>window.evil=1</script><img src=x onerror='window.evil=1'>"

AUDIT = (Path(__file__).parent / "audit.js").read_text()
VIEWS = ("conversation", "compare", "timeline", "raw")
SEARCH_IN_VAIN = "select(null); byId('search').value = 'nowhere'; byId('search').dispatchEvent(new Event('input'))"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as found:
        yield found


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of a page with tools, thinking, an image, a repair, an error, hostile text, and 300 exchanges."""
    import base64

    image = {"type": "base64", "media_type": "image/png", "data": base64.b64encode(picture()).decode()}
    svg = {"type": "base64", "media_type": "image/svg+xml", "data": base64.b64encode(EVIL.encode()).decode()}
    result = [{"type": "text", "text": EVIL}, {"type": "image", "source": image}]
    client: list[dict[str, Any]] = [
        {"role": "user", "content": [{"type": "text", "text": f"Hello {EVIL}"}, {"type": "image", "source": image}]},
        {"role": "user", "content": [{"type": "image", "source": svg}]},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": EVIL, "input": {"command": EVIL}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": result}]},
    ]
    upstream = [{"role": "user", "content": "Hello, changed"}]
    answer: list[AnswerBlock] = [ThinkingBlock(f"I think {EVIL}", ""), TextBlock(f"The needle. {EVIL}")]
    events: list[TraceEvent] = [received(client, system=EVIL), sent(upstream), repaired(EVIL), ended(answer)]
    for number in range(298):
        name = f"req_{number:06}"
        events += [received(exchange=name), sent(exchange=name), ended(exchange=name, first_token_s=number / 100)]
    events += [
        received(exchange="req_bad"),
        failed(f"The engine is off. Start it: `ollama serve`. {EVIL}", exchange="req_bad"),
    ]
    folder = tmp_path_factory.mktemp("page")
    trace = folder / "trace.jsonl"
    trace.write_bytes(b"".join(encode_event(event) + b"\n" for event in events))
    (folder / "trace.html").write_bytes(b"".join(trace_page(TraceFile(trace))))
    return f"file://{folder}/trace.html"


def test_a_trace_is_looked_through_by_keyboard(browser: Browser, page: str) -> None:
    browser.look()
    browser.open(page)
    browser.until("document.querySelectorAll('#list li').length === 300")
    assert browser.run("document.querySelectorAll('.plots figure').length") == 3
    browser.press("j")
    browser.until("document.querySelector('#view article')")
    shown = browser.run("document.querySelector('#detail').innerText")
    for words in ("Exchange 1", "Hello </script>", "The needle.", "Thinking", "Result"):
        assert words in shown
    browser.until(
        "[...document.querySelectorAll('.tool_use .result img')].map((one) => one.naturalWidth).join() === '320'"
    )
    browser.press("2")
    browser.until("document.querySelector('.compare tr.changed')")
    browser.press("3")
    browser.until("document.querySelector('.steps .trouble')")
    browser.press("4")
    browser.click(".raw summary")
    browser.until("document.querySelector('.raw details[open] pre').textContent.includes('claude-sonnet-5')")
    browser.press("j")
    browser.until("document.querySelector('h2').textContent.startsWith('Exchange 2')")
    browser.press("Escape")
    browser.until("document.querySelector('.plots')")


def test_no_text_of_a_trace_becomes_markup_or_script(browser: Browser, page: str) -> None:
    browser.look()
    browser.requested.clear()
    browser.open(page)
    for view in ("conversation", "compare", "timeline", "raw"):
        browser.run(f"select(page.exchanges[0].exchange, '{view}')")
        browser.until(f"document.querySelector('#tab-{view}[aria-selected=true]')")
        browser.run("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    browser.until("document.querySelectorAll('.raw pre').length >= 2")
    assert browser.run("window.evil") is None
    assert browser.run("document.querySelectorAll('img[onerror], #detail script').length") == 0
    # What a script of the page's own would do, were there a hole: the policy lets it do nothing.
    browser.run(
        "{const one = document.createElement('script'); one.textContent = 'window.evil = 1'; document.body.append(one)}"
    )
    browser.run("fetch('http://127.0.0.1:9/').catch(() => 0)")
    assert browser.run("window.evil") is None
    assert [url for url in browser.requested if not url.startswith(("file:", "data:", "about:"))] in (
        [],
        ["http://127.0.0.1:9/"],
    )
    assert any("Content Security Policy" in problem for problem in browser.problems)
    browser.problems.clear()


def test_exchanges_are_searched_and_filtered(browser: Browser, page: str) -> None:
    browser.look(width=400, height=800, dark=True)
    browser.open(page)
    browser.press("/")
    for letter in "needle":
        browser.press(letter)
    browser.until("document.querySelectorAll('#list li:not([hidden])').length === 1")
    browser.run("document.querySelector('#search').value = ''")
    browser.run(
        "{const one = document.querySelector('#by-state'); one.value = 'failed'; one.dispatchEvent(new Event('input'))}"
    )
    browser.until("document.querySelector('#count').textContent === '1 of 300 exchanges'")
    browser.click("#list li:not([hidden])")
    browser.until("document.querySelector('[role=alert]').textContent.includes('The engine is off.')")
    assert browser.run("getComputedStyle(document.querySelector('#browse')).display") == "none"
    assert browser.run("document.documentElement.scrollWidth") <= 400
    assert browser.problems == []


def test_a_screen_reader_has_names_for_everything(browser: Browser, page: str) -> None:
    browser.look()
    browser.open(page)
    browser.press("j")
    browser.until("document.querySelector('#view article')")
    tree = browser.accessible()
    names = {role: [name for one, name in tree if one == role] for role, _ in tree}
    assert names["tab"] == ["Conversation", "Client and engine", "Timeline", "Raw"]
    assert names["tabpanel"] == ["Conversation"]
    assert any(name.startswith("Exchanges") for name in names["listbox"])
    assert "Search" in names["searchbox"]
    assert names["combobox"] == ["Session", "Model", "Show"]
    assert browser.run("document.querySelectorAll('#list [aria-selected=true]').length") == 1
    for role in ("button", "link", "image", "option", "tab", "heading"):
        assert all(names.get(role, [""])), f"{role} without a name"


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [320, 1600])
def test_every_view_fits_its_window_and_can_be_read(browser: Browser, page: str, *, width: int, dark: bool) -> None:
    """At 320 pixels too, which a window of 1280 has at a zoom of 400 %."""
    browser.look(width=width, dark=dark)
    browser.open(page)
    views = ["select(null)", *(f"select(page.exchanges[0].exchange, '{view}')" for view in VIEWS)]
    for view in [*views, "select(page.exchanges.at(-1).exchange, 'conversation')", SEARCH_IN_VAIN]:
        browser.run(f"{view}; new Promise((done) => setTimeout(done))")
        browser.run("document.querySelectorAll('#detail details').forEach((one) => { one.open = true; })")
        assert browser.run(AUDIT) == [], view


def test_the_focus_is_never_lost_nor_caught(browser: Browser, page: str) -> None:
    def focused() -> str:
        found: str = browser.run("document.activeElement.id || document.activeElement.className || 'body'")
        return found

    browser.look()
    browser.open(page)
    browser.press("j")
    browser.until("document.querySelector('#view article')")
    # With content-visibility the first Tab takes seconds for these 300 items, and more than a minute for a thousand.
    assert browser.run("getComputedStyle(document.querySelector('#list li')).contentVisibility") == "visible"
    order = []
    for _ in range(8):
        browser.press("Tab")
        order.append(focused())
    assert [order[0], *order[2:]] == [
        "skip",
        "search",
        "by-session",
        "by-model",
        "by-state",
        "list",
        "tab-conversation",
    ]
    for view in VIEWS[1:]:
        browser.press("ArrowRight")
        browser.until(f"document.activeElement.id === 'tab-{view}' && document.querySelector('.{view}')")
    browser.press("Tab")
    assert focused() == "view"
    browser.press("Escape")
    browser.until("document.querySelector('.plots') && document.activeElement.id === 'detail'")
    browser.press("j")
    browser.until("document.querySelector('#view')")
    browser.run("document.querySelector('.skip').focus()")
    browser.press("Enter")
    assert focused() == "detail"
    assert browser.run("document.querySelector('h2').textContent").startswith("Exchange 1 ")


def test_a_tool_result_is_shown_as_the_terminal_showed_it(browser: Browser, page: str) -> None:
    browser.look()
    browser.open(page)
    browser.run("select(page.exchanges[0].exchange, 'conversation')")
    browser.until("document.querySelector('.tool_use .result pre.code')")


def test_what_happened_is_shown_in_words_and_not_in_colours_alone(browser: Browser, page: str) -> None:
    browser.look()
    browser.open(page)
    assert browser.run("document.querySelector('#list .trouble .end').textContent") == "end_turn, repaired"
    # Nothing was sent: all of the time is the bridge's own.
    assert browser.run("phasesOf(page.exchanges.at(-1)).map(([name, , length]) => [name, length])") == [
        ["wait", 1],
        ["prefill", 0],
        ["generation", 0],
    ]
    assert browser.run("endOf({state: 'reading'})") == "no end recorded"
    assert browser.run("document.querySelector('.errors code').textContent") == "ollama serve"


def test_a_body_goes_to_curl_through_a_pipe_where_its_bytes_are_too_many(browser: Browser, page: str) -> None:
    browser.open(page)
    for letter, begins in (("a", "curl -X"), ("語", "printf %s ")):
        line = browser.run(f"curlOf({{curl: 'curl -X', sent: {{text: '{letter}'.repeat(50000)}}}}, [])")
        assert line.startswith(begins)


def test_plots_of_many_exchanges_are_few_elements_and_open_what_is_clicked(browser: Browser, page: str) -> None:
    browser.look()
    browser.open(page)
    assert browser.run("document.querySelectorAll('.plots *').length") < 50
    browser.click(".plots svg")
    browser.until("document.querySelector('h2').textContent.startsWith('Exchange 15')")


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_running_bridge_is_looked_at_with_the_printed_address(browser: Browser, tmp_path: Path) -> None:
    may_go_on = anyio.Event()

    def reply(_request: object) -> Reply:
        frames = [thinking("Let me see."), text("Once upon a time")]
        return [Head(), *map(Send, frames), Wait(may_go_on), Send(finish()), Send(usage(9_000, 40)), Send(DONE)]

    async def ask(url: str) -> None:
        question = {
            "model": "m",
            "max_tokens": 99,
            "stream": True,
            "messages": [{"role": "user", "content": "Tell me"}],
        }
        async with httpx.AsyncClient(timeout=30) as client:
            await client.post(f"{url}/v1/messages", json=question)

    async with (
        FakeUpstream(reply) as upstream,
        serving("openai", MODEL, "--base-url", upstream.base_url) as bridge,
        anyio.create_task_group() as tasks,
    ):
        await bridge.says("Start Claude Code")
        (address,) = re.findall(rf"({bridge.url}/\?key=\S+)", bridge.reported)

        def look() -> None:
            browser.look()
            browser.problems.clear()
            browser.open(bridge.url)
            assert "key of this run" in browser.run("document.body.innerText")
            browser.problems.clear()  # of the 401
            browser.open(address)
            browser.until("document.querySelector('#detail .state.good')")
            assert browser.run("location.href") == f"{bridge.url}/"
            assert browser.run("document.cookie") == ""
            from_thread.run_sync(partial(tasks.start_soon, ask, bridge.url))
            browser.until("document.querySelector('#running .progress')?.textContent.startsWith('writing')")
            for width, dark in ((320, True), (1600, False)):
                browser.look(width=width, dark=dark)
                assert browser.run(AUDIT) == []
            from_thread.run_sync(may_go_on.set)
            browser.until("document.querySelector('#list .end')?.textContent === 'end_turn'")
            browser.press("j")
            browser.until("document.querySelector('#view')?.textContent.includes('Once upon a time')")
            browser.press("Escape")
            browser.until("document.querySelector('#settings details')")
            browser.click("#settings summary")
            browser.until(f"document.querySelector('#settings details[open]').textContent.includes('{bridge.url}')")
            assert browser.problems == []

        await to_thread.run_sync(look)
        tasks.cancel_scope.cancel()
