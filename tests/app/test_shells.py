"""How each shell is told of variables: what it reads back is what was meant."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess

import pytest

from claude_bridge.app.shells import SHELLS, shell_named
from tests.real_parts import missing

VALUES = {
    "ANTHROPIC_BASE_URL": "http://127.0.0.1:8765",
    "ANTHROPIC_API_KEY": "",
    "PLAIN": "qwen3:1.7b",
    "AWKWARD": "a 'b' \"c\" $HOME `d` \\e %PATH% é\t!",
}


def read_back(*shell: str, script: str) -> dict[str, str]:
    """Run a script in a shell, and return the variables that its children get."""
    show = ["/usr/bin/env", "-0"]
    done = subprocess.run(
        [*shell, f"{script}\n{shlex.join(show)}"], capture_output=True, check=True, env={}, timeout=20
    )
    pairs = (entry.partition("=") for entry in done.stdout.decode().split("\0"))
    return {name: value for name, _, value in pairs if name in VALUES}


@pytest.mark.parametrize("explained", [{}, dict.fromkeys(VALUES, "it's a reason")], ids=["bare", "explained"])
@pytest.mark.parametrize(("form", "program"), [("bash", "bash"), ("zsh", "bash"), ("fish", "fish")])
def test_a_shell_reads_back_what_was_meant(form: str, program: str, explained: dict[str, str]) -> None:
    path = shutil.which(program)
    if path is None:
        missing(f"{program} is not installed.")
    assert read_back(path, "-c", script=SHELLS[form](VALUES, explained)) == VALUES


def test_powershell_gets_literal_strings() -> None:
    """There a single quote is doubled in a literal string, and nothing else has a meaning."""
    lines = SHELLS["powershell"](VALUES, {}).splitlines()
    read = [re.fullmatch(r"\$env:(\w+) = '((?:[^']|'')*)'", line) for line in lines]
    assert {found[1]: found[2].replace("''", "'") for found in read if found} == VALUES


def test_cmd_gets_the_whole_assignment_in_quotes() -> None:
    lines = SHELLS["cmd"]({"A": "x y", "B": "50%"}, {"A": "why"}).splitlines()
    assert lines == ["rem why", 'set "A=x y"', 'set "B=50%%"']


def test_settings_and_json_hold_the_variables() -> None:
    assert json.loads(SHELLS["settings"](VALUES, {})) == {"env": VALUES}
    assert json.loads(SHELLS["json"](VALUES, {})) == VALUES


def test_docker_sees_this_machine_and_not_anthropic() -> None:
    values = {name: value for name, value in VALUES.items() if name != "AWKWARD"}
    flags = SHELLS["docker"]({**values, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}, {}).split()
    assert flags[:4] == ["--add-host", "host.docker.internal:host-gateway", "--add-host", "api.anthropic.com:0.0.0.0"]
    given = dict(flag.split("=", 1) for flag in flags[5::2])
    assert given == {
        **values,
        "ANTHROPIC_BASE_URL": "http://host.docker.internal:8765",
        "NO_PROXY": "127.0.0.1,host.docker.internal",
        "no_proxy": "127.0.0.1,host.docker.internal",
    }


def test_docker_keeps_the_address_of_a_bridge_elsewhere() -> None:
    assert "ANTHROPIC_BASE_URL=http://box:1" in SHELLS["docker"]({"ANTHROPIC_BASE_URL": "http://box:1"}, {})


@pytest.mark.parametrize(
    ("path", "form"),
    [
        ("/bin/bash", "bash"),
        ("/usr/bin/fish", "fish"),
        ("/opt/homebrew/bin/zsh", "zsh"),
        ("/usr/bin/pwsh", "powershell"),
        (r"C:\Windows\System32\cmd.exe", "cmd"),
        ("/bin/dash", "bash"),
        ("", "bash"),
    ],
)
def test_the_form_for_the_shell_in_use(path: str, form: str) -> None:
    assert shell_named(path) == form


def test_the_options_for_docker_are_words_as_they_stand() -> None:
    environment = VALUES | {"TOKEN": "a$b'c", "MODEL_NAME": "qwen3:1.7b (opus)"}
    options = SHELLS["docker"](environment, {})
    script = 'printf "%s\\0" $(cat)'
    done = subprocess.run(["sh", "-c", script], input=options.encode(), capture_output=True, check=True, timeout=20)
    words = done.stdout.decode().split("\0")
    assert {"TOKEN=a$b'c", "PLAIN=qwen3:1.7b", "ANTHROPIC_API_KEY="} <= set(words)
    assert not any(word.startswith(("MODEL_NAME", "AWKWARD")) for word in words)
