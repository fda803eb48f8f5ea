"""A real Ollama for the suite, where its program is on the machine: on PATH, or named by ``BRIDGE_TEST_OLLAMA``.

Where there is none, what needs it is not collected, and the first lines of the run say so. It gets models made from the
suite's small one, a home of its own, and no way to Ollama's cloud.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import httpx
import pytest

from tests.fake_upstream import free_port
from tests.real_parts import TURNED_OFF

START_LIMIT_S = 60.0
WINDOW_TOKENS = 2_048
"""What the Modelfiles ask for."""

_TOOLS_IN_A_PROMPT = """\
{{ if .Tools }}<|im_start|>system
Tools are described as JSON lines inside <tools></tools>.
<tools>
{{ range .Tools }}{{ . }}
{{ end }}</tools>
To call one, answer with a JSON object inside tags:
<tool_call>
{"name": <function-name>, "arguments": <args-json-object>}
</tool_call><|im_end|>
<|im_start|>user
list the files here<|im_end|>
<|im_start|>assistant
<tool_call>
{"name": "Bash", "arguments": {"command": "ls"}}
</tool_call><|im_end|>
{{ end }}"""
"""With an example before its eyes, the model calls a tool when it is asked in the same words."""

_MESSAGES = """\
{{ range .Messages }}<|im_start|>{{ if eq .Role "tool" }}user{{ else }}{{ .Role }}{{ end }}
{{ if .Content }}{{ .Content }}{{ end }}
{{- if .ToolCalls }}<tool_call>
{{ range .ToolCalls }}{"name": "{{ .Function.Name }}", "arguments": {{ .Function.Arguments }}}
{{ end }}</tool_call>{{ end }}<|im_end|>
{{ end }}<|im_start|>assistant
"""

_SAID = "{{ if .Content }}"
_THOUGHT = "{{ if .Thinking }}<think>{{ .Thinking }}</think>{{ end }}"
_THINK = "{{ if .Think }}<think>\n{{ end }}"

TEMPLATES = {
    "able": _TOOLS_IN_A_PROMPT + _MESSAGES,
    "thinker": _TOOLS_IN_A_PROMPT + _MESSAGES.replace(_SAID, _THOUGHT + _SAID) + _THINK,
    "talker": "<|im_start|>user\n{{ .Prompt }}<|im_end|>\n<|im_start|>assistant\n",
}
"""The models' names and chat templates, as Go writes them; what a template has a place for, the model can do."""


def look_for_ollama() -> Path | str:
    """Return Ollama's program, or why there is none to test."""
    if os.environ.get("BRIDGE_TEST_E2E") == "off":
        return f"not used ({TURNED_OFF})"
    named = os.environ.get("BRIDGE_TEST_OLLAMA")
    if named and not os.access(named, os.X_OK):
        return f"BRIDGE_TEST_OLLAMA={named} is no program"
    found = named or shutil.which("ollama")
    return Path(found).absolute() if found else "absent (none on PATH, none named by BRIDGE_TEST_OLLAMA)"


find_ollama = cache(look_for_ollama)


def has_ollama() -> bool:
    return isinstance(find_ollama(), Path)


def pytest_configure() -> None:
    require_usable(find_ollama())


def require_usable(found: Path | str) -> None:
    """End the run where what was named can't be tested."""
    if isinstance(found, str) and "no program" in found:
        raise pytest.UsageError(found)


def pytest_report_header() -> str:
    """Say which Ollama is tested beside the scripted one."""
    return f"ollama: {find_ollama()}"


@pytest.fixture(scope="session")
def real_ollama(model_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a real Ollama with a model for each of TEMPLATES."""
    folder = tmp_path_factory.mktemp("ollama")
    program = find_ollama()
    assert isinstance(program, Path), program
    kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH", "TMPDIR") if name in os.environ}
    own = {
        "HOME": str(folder),
        "OLLAMA_HOST": f"127.0.0.1:{free_port()}",
        "OLLAMA_MODELS": str(folder / "models"),
        "OLLAMA_NO_CLOUD": "1",
    }
    environment = {**kept, **own}
    url = f"http://{own['OLLAMA_HOST']}"
    log = folder / "log.txt"
    with (
        log.open("wb") as output_text,
        subprocess.Popen(
            [program, "serve"], env=environment, stdin=subprocess.DEVNULL, stdout=output_text, stderr=output_text
        ) as server,
    ):
        try:
            _wait_for(url, server, log)
            for name, template in TEMPLATES.items():
                _create(program, environment, folder, name, template, model_path)
            yield url
        finally:
            server.terminate()  # it ends its runners too
            try:
                server.wait(START_LIMIT_S)
            except subprocess.TimeoutExpired:
                server.kill()


def _wait_for(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + START_LIMIT_S
    with httpx.Client(trust_env=False) as client:
        while time.monotonic() < until and server.poll() is None:
            try:
                if client.get(f"{url}/api/version").status_code == 200:
                    return
            except httpx.TransportError:
                time.sleep(0.05)
    pytest.fail(f"Ollama did not come up. It said:\n{log.read_text('utf-8', 'replace')[-2_000:]}", pytrace=False)


def _create(program: Path, environment: dict[str, str], folder: Path, name: str, template: str, model: Path) -> None:
    modelfile = folder / f"{name}.modelfile"
    lines = [f"FROM {model}", f'TEMPLATE """{template}"""', f"PARAMETER num_ctx {WINDOW_TOKENS}"]
    lines += ["PARAMETER temperature 0", "PARAMETER stop <|im_end|>"]
    modelfile.write_text("\n".join(lines), "utf-8")
    done = subprocess.run(
        [program, "create", name, "-f", modelfile],
        check=False,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=START_LIMIT_S,
    )
    if done.returncode:
        pytest.fail(f"ollama create {name} failed: {done.stderr[-500:]}", pytrace=False)
