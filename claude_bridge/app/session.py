"""One session of Claude Code with a bridge of its own: started when the engine is known, and ended together."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from claude_bridge.app import claude_program
from claude_bridge.app.client_environment import client_environment
from claude_bridge.app.notices import Notices
from claude_bridge.app.plan import Plan
from claude_bridge.app.running import RunningBridge
from claude_bridge.app.serve import run, serve_beside
from claude_bridge.app.web import leaves_searches, no_search_note, search_note, with_agreed_search
from claude_bridge.clients.claude_code import FULL_PROMPT, LITE_PROMPT
from claude_bridge.errors import SetupError, disk_errors_as
from claude_bridge.providers import Upstream

if sys.platform == "win32":
    from claude_bridge.app.child_windows import run_child
else:
    from claude_bridge.app.child_posix import run_child

_LEAVE_SCREEN = "\x1b[?1049l\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1006l\x1b[?1004l\x1b[?2004l\x1b[?25h\x1b[0m"
"""Back to the main screen; mouse, focus and paste reports off; the cursor visible: as a killed program leaves none."""


class Session(Struct, frozen=True, kw_only=True):
    """How Claude Code is to be started."""

    program: str
    arguments: Sequence[str] = ()
    """The user's own."""
    is_lite: bool | None = None
    """Whether it gets few tools and a short prompt; None: if the window is too small for all of them."""
    allows_traffic: bool = False
    """Whether it may also talk to Anthropic: telemetry, error reports, updates."""


class SessionEnd(NamedTuple):
    """How a session ended."""

    code: int
    """The program's exit code; 128 and the signal's number if a signal ended it."""
    session_id: str | None
    """Claude Code's name for the session, with which it can be resumed; None: it sent the model nothing."""


def run_session(plan: Plan, session: Session, notices: Notices) -> SessionEnd:
    """Run Claude Code in the foreground of the terminal, with a bridge on a free loopback port.

    Raises:
        SetupError: there is no such engine, its window is too small, or the program can't be started.
    """

    async def with_search(plan: Plan, upstream: Upstream) -> Plan:
        if decide_lite(session, upstream.window_tokens) or leaves_searches(plan.web, upstream):
            return plan  # it has no tool that searches, or another one searches
        is_script = claude_program.prints_one_answer(session.arguments)
        return replace(plan, web=await with_agreed_search(plan.web, Notices() if is_script else notices))

    return run(partial(serve_beside, plan, partial(_run, session), notices, complete=with_search))


async def _run(session: Session, bridge: RunningBridge, upstream: Upstream) -> SessionEnd:
    plan = bridge.plan
    is_lite = decide_lite(session, upstream.window_tokens)
    served = replace(
        bridge.listening.served(upstream, small_model=plan.routing.small_model),
        allows_traffic=session.allows_traffic,
        outside=os.environ,
    )
    ours = client_environment(served) | (claude_program.LITE_ENVIRONMENT if is_lite else {})
    client = claude_program.client_command(
        session.arguments,
        environment=ours,
        is_lite=is_lite,
        has_status_line=claude_program.has_own_status_line(),
        has_auto_mode=served.bridge.forwards_client_auth,
    )
    web = search_note(plan.web, upstream) or (None if is_lite else no_search_note(plan.web))
    too_small = None
    if session.is_lite is False and (upstream.window_tokens or FULL_PROMPT.most) < FULL_PROMPT.least:
        too_small = f"the first request takes {FULL_PROMPT} tokens, which the window can't hold: leave out --no-lite"
    notes = [*client.notes, *filter(None, (web, too_small))]
    bridge.notices.starting_client(bridge.listening, upstream, notes)
    # Without the engines' keys: every command that Claude Code runs could read them.
    environment = {name: value for name, value in os.environ.items() if name not in plan.key_variables} | ours
    with private_file(json.dumps(client.settings)) as settings_file:
        command = [session.program, *client.options, "--settings", str(settings_file), *client.arguments]
        with disk_errors_as(f"{session.program} can't be started", "The installation may be damaged; reinstall it."):
            code = await run_child(command, environment)
    if code > 128 and sys.stdout.isatty():
        sys.stdout.write(_LEAVE_SCREEN)
        sys.stdout.flush()
    sessions = bridge.service.stats.report(running=0).sessions
    return SessionEnd(code, max(sessions, key=lambda name: sessions[name].last_at_s, default=None))


def decide_lite(session: Session, window_tokens: int | None) -> bool:
    """Return whether to start with few tools; raises SetupError where even that does not fit the window."""
    if session.is_lite is not None:
        return session.is_lite
    full, lite = FULL_PROMPT, LITE_PROMPT
    if window_tokens is None or claude_program.chooses_tools(session.arguments):
        return False
    if window_tokens < lite.needs_window_tokens:
        raise SetupError(
            f"The context window of {window_tokens:,} tokens is too small for Claude Code, whose first request takes "
            f"{full} tokens, and {lite} with few tools.",
            "Give the engine a larger window, or choose the tools yourself: `bridge run … -- --tools Bash`",
        )
    return window_tokens < full.needs_window_tokens


_FILE_PREFIX = "claude-bridge-"


@contextmanager
def private_file(text: str) -> Iterator[Path]:
    """Yield a file that only this user may read: other users can read the command lines of all programs.

    What was left by a bridge that was killed is removed.
    """
    _remove_left_files()
    descriptor, name = tempfile.mkstemp(prefix=f"{_FILE_PREFIX}{os.getpid()}-", suffix=".json")
    path = Path(name)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        yield path
    finally:
        path.unlink(missing_ok=True)


def _remove_left_files() -> None:
    if sys.platform == "win32":
        return  # where a signal of 0 would end the process that is asked about
    for path in Path(tempfile.gettempdir()).glob(f"{_FILE_PREFIX}*-*.json"):
        owner = path.name.removeprefix(_FILE_PREFIX).partition("-")[0]
        try:
            os.kill(int(owner), 0)
        except ProcessLookupError:
            with suppress(OSError):  # another user's
                path.unlink()
        except (ValueError, OverflowError, OSError):
            continue  # it is no file of ours, or another user's
