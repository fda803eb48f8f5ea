"""An engine that says nothing for minutes, and the real Claude Code before it: a program, run beside the other tests.

``python -m tests.claude_code.prefill BINARY FOLDER SECONDS`` prints one JSON object: what came of each form of silence.
"""

from __future__ import annotations

import json
import signal
import sys
import time
from pathlib import Path
from typing import Any

import anyio

from tests.claude_code.client import new_installation
from tests.fake_upstream import (
    DONE,
    MODEL,
    FakeUpstream,
    Head,
    Pause,
    Reply,
    Send,
    answer,
    finish,
    text,
    tool_call,
    tool_call_arguments,
    usage,
)
from tests.running_bridge import open_bridge, scripted_upstream

AFTER_ALL_S = 180.0
"""What the session may take beside the silence."""


def forms(silence_s: float) -> dict[str, list[Reply]]:
    """Return what the engine says, by what it is at while it is silent."""
    silence = Pause(silence_s)
    return {
        "prefill": [[silence, *answer("It took a while.")]],
        "mid-answer": [[Head(), Send(text("It took")), silence, Send(text(" a while.") + finish() + usage() + DONE)]],
        "arguments": [
            [
                Head(),
                Send(tool_call("Bash", '{"command":"echo found","desc')),
                silence,
                Send(tool_call_arguments('ription":"Look"}') + finish("tool_calls") + usage() + DONE),
            ],
            answer("It took a while."),
        ],
    }


async def play(binary: Path, folder: Path, silence_s: float) -> dict[str, Any]:
    """Return what came of each form, all of them played side by side."""
    reported: dict[str, Any] = {}

    async def run(name: str, script: list[Reply]) -> None:
        claude_code = new_installation(binary, folder / name)
        began_at = time.monotonic()
        async with FakeUpstream(script) as upstream, open_bridge(scripted_upstream(upstream.base_url)) as url:
            session = await claude_code.ask(url, "What is there?", "--model", MODEL, within_s=silence_s + AFTER_ALL_S)
            reported[name] = {
                "code": session.code,
                "result": session.result["result"],
                "requests": len(upstream.requests),
                "retries": len(session.notices("api_retry")),
                "took_s": time.monotonic() - began_at,
            }

    async with anyio.create_task_group() as tasks:
        for name, script in forms(silence_s).items():
            tasks.start_soon(run, name, script)
    return reported


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the clients end with it
    sys.stdout.write(json.dumps(anyio.run(play, Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3]))))
