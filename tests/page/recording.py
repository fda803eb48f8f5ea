"""A session with all that a page has to show, recorded: tools, thinking, an image, repairs, an error, a fallback."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

from PIL import Image, ImageDraw

from tests.claude_code.client import ClaudeCode
from tests.cli.process import serving
from tests.fake_upstream import (
    DONE,
    FakeUpstream,
    Pause,
    ReceivedRequest,
    Reply,
    answer,
    finish,
    model_list,
    refusal,
    stream,
    text,
    thinking,
    tool_call,
    usage,
)

MAIN, SPARE = "qwen3-coder", "spare-model"


def picture() -> bytes:
    """Return a small PNG image of a bridge."""
    image = Image.new("RGB", (320, 160), "#dcecff")
    pen = ImageDraw.Draw(image)
    pen.rectangle((0, 120, 320, 160), fill="#3f7fd8")
    pen.arc((40, 40, 280, 220), 180, 360, fill="#b3261e", width=8)
    pen.line((0, 120, 320, 120), fill="#333333", width=6)
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def turn(*frames: bytes, prompt: int, output: int, cached: int) -> Reply:
    """Return a reply that takes a little while, as a model does."""
    head, *sends = stream(*frames, usage(prompt, output, cached_tokens=cached), DONE)
    return [head, Pause(0.3), *(step for send in sends for step in (send, Pause(0.04)))]


def replies(project: Path) -> Iterator[Reply]:
    """Yield what the main model says, turn by turn."""
    words = ("I look at the folder first, ", "and then ", "at the picture.")
    yield turn(
        *map(thinking, ["The user wants ", "to know what is here. ", "I list the files."]),
        *map(text, words),
        tool_call("Bash", {"command": "ls -la; echo done", "description": "List the files"}),
        finish("tool_calls"),
        prompt=21_400, output=64, cached=0,
    )  # fmt: skip
    yield turn(
        tool_call("Read", {"file_path": str(project / "bridge.png")}), finish("tool_calls"),
        prompt=21_900, output=31, cached=21_400,
    )  # fmt: skip
    # Arguments that are not JSON: the bridge repairs them.
    notes = f"{{'file_path': '{project}/notes.md', 'content': '# A bridge\\n<script>alert(1)</script>\\n'}}"
    yield turn(
        text("Now I write it down."),
        tool_call("Write", notes),
        finish("tool_calls"),
        prompt=23_100, output=48, cached=21_900,
    )  # fmt: skip
    yield turn(
        *map(text, ["A picture of a **red arch bridge** ", "over blue water, ", "and my notes. ", "<b>Done.</b>"]),
        finish(), prompt=23_300, output=40, cached=23_100,
    )  # fmt: skip
    yield refusal(400, "This model does not support the parameter 'tool_choice' with streaming")
    yield refusal(503, "The server is restarting")


def engine(project: Path) -> FakeUpstream:
    """Return an engine with two models: one that plays its part, and a spare one."""
    script = replies(project)

    def reply(request: ReceivedRequest) -> Reply:
        if request.json["model"] == SPARE:
            return answer("I stand in for the other model: 2 + 2 = 4.", prompt_tokens=22_000, completion_tokens=14)
        if not request.json.get("tools"):
            return answer("A title")
        return next(script, refusal(503, "The server is restarting"))

    return FakeUpstream(reply, documents={"/v1/models": model_list(MAIN, SPARE)})


async def record(claude_code: ClaudeCode, trace: Path) -> None:
    """Record a session of the real client."""
    (claude_code.project / "bridge.png").write_bytes(picture())
    prompts = ["What is in this folder? Look at the picture too.", "And now?", "What is 2 + 2?"]
    async with engine(claude_code.project) as upstream:
        arguments = ("openai", MAIN, "--base-url", upstream.base_url, "--context-window", "65536")
        fallback = ("--fallback", f"openai/{SPARE}", "--trace", str(trace))
        env = {"OPENAI_BASE_URL": upstream.base_url}
        async with serving(*arguments, *fallback, env=env) as bridge:
            await bridge.says("Start Claude Code")
            user_messages = [[{"type": "text", "text": prompt}] for prompt in prompts]
            await claude_code.converse(bridge.url, user_messages, "--model", MAIN)
