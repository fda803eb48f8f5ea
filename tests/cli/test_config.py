"""``bridge config``: path, init, show, check."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from tests.cli.process import Finished, run_bridge

pytestmark = pytest.mark.anyio

KEY = "sk-very-secret-key"
MISTAKES = '[server]\nprot = 1\nport = 99999\n[defaults]\nmodel = "olama/m"\n'


class Home:
    """A home of its own, with the usual configuration or without."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "settings" / "claude-bridge" / "config.toml"

    def write(self, text: str) -> None:
        self.file.parent.mkdir(parents=True)
        self.file.write_text(text)
        self.file.chmod(0o600)

    async def config(self, *arguments: str, **env: str) -> Finished:
        own = {"HOME": str(self.folder), "XDG_CONFIG_HOME": str(self.file.parent.parent), "BRIDGE_CONFIG": ""}
        done = await run_bridge("config", *arguments, env={**own, **env})
        assert KEY not in done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def words(text: str) -> str:
    """Return the text without the frames and line ends of panels."""
    return " ".join(text.replace("│", " ").split())


async def test_the_path_is_all_that_is_printed(home: Home) -> None:
    missing = await home.config("path")
    home.write("")
    there = await home.config("path")

    assert (missing.code, missing.stdout) == (there.code, there.stdout) == (0, f"{home.file}\n")
    assert "bridge config init" in missing.stderr
    assert there.stderr == ""


async def test_another_file_can_be_named(home: Home) -> None:
    by_option = await home.config("path", "--config", "/a/b.toml", BRIDGE_CONFIG="/c/d.toml")
    by_variable = await home.config("path", BRIDGE_CONFIG="/c/d.toml")

    assert (by_option.stdout, by_variable.stdout) == ("/a/b.toml\n", "/c/d.toml\n")


async def test_init_writes_an_example_that_only_the_owner_can_read(home: Home) -> None:
    done = await home.config("init")

    assert (done.code, done.stdout) == (0, f"{home.file}\n")
    assert "#port = 8765" in home.file.read_text()
    assert stat.S_IMODE(home.file.stat().st_mode) == 0o600
    assert (await home.config("check")).code == 0


async def test_init_overwrites_nothing(home: Home) -> None:
    home.write("# mine\n")
    done = await home.config("init")

    assert (done.code, done.stdout) == (1, "")
    assert "There is a configuration file already" in done.stderr
    assert home.file.read_text() == "# mine\n"


async def test_init_says_where_it_can_not_write(home: Home, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = await home.config("init", "--config", str(tmp_path / "file" / "config.toml"))

    assert done.code == 1
    assert "can't be written: " in words(done.stderr)


async def test_show_prints_each_value_and_where_it_comes_from(home: Home) -> None:
    home.write(f'[server]\nport = 1234\n[providers.ollama]\napi_key = "{KEY}"\n')
    done = await home.config("show", BRIDGE_MAX_TOKENS="77")

    rows = [line.split() for line in done.stdout.splitlines()]
    assert done.code == 0
    assert done.stdout.startswith(f"{home.file}\n")
    assert ["server.port", "1234", "line", "2"] in rows
    assert ["server.host", '"127.0.0.1"', "default"] in rows
    assert ["defaults.max_tokens", "77", "BRIDGE_MAX_TOKENS"] in rows
    assert ["providers.ollama.api_key", "(hidden)", "line", "4"] in rows


async def test_show_without_a_file_says_so(home: Home) -> None:
    done = await home.config("show")
    assert done.code == 0
    assert "does not exist: nothing is set in a file" in done.stdout


async def test_show_prints_json_for_programs(home: Home) -> None:
    home.write(f'[server]\nport = 1234\nauth_token = "{KEY}"\n')
    done = await home.config("show", "--json")

    reported = json.loads(done.stdout)
    assert (reported["file"], reported["is_there"]) == (str(home.file), True)
    assert {"key": "server.port", "value": 1234, "origin": "line 2"} in reported["settings"]
    assert {"key": "server.auth_token", "value": "(hidden)", "origin": "line 3"} in reported["settings"]
    assert {"key": "defaults.model", "value": None, "origin": "default"} in reported["settings"]


async def test_show_lists_which_request_goes_where(home: Home) -> None:
    home.write('[defaults]\nmodel = "ollama/a"\nplan_model = "ollama/b"\n')
    listed = [*json.loads((await home.config("show", "--json")).stdout)["routing"]]
    assert listed == [
        {"request": "the session is in plan mode", "model": "ollama/b"},
        {"request": "all other requests", "model": "ollama/a"},
    ]
    assert "the session is in plan mode ollama/b" in words((await home.config("show")).stdout)


async def test_show_does_not_guess_where_there_are_mistakes(home: Home) -> None:
    home.write(MISTAKES)
    done = await home.config("show")

    assert (done.code, done.stdout) == (1, "")
    assert done.stderr.count("Error") == 1
    assert f"{home.file}:2: server.prot" in done.stderr


async def test_check_reports_all_mistakes_and_fails(home: Home) -> None:
    home.write(MISTAKES)
    done = await home.config("check", BRIDGE_HOST="h", BRIDGE_CONTEXT_WINDOW="1")

    lines = done.stdout.splitlines()
    assert (done.code, done.stderr) == (1, "")
    assert lines[0] == str(home.file)
    assert [line.split()[:3] for line in lines[1:5]] == [
        ["✗", "config.toml:2", "server.prot"],
        ["✗", "config.toml:3", "server.port"],
        ["✗", "config.toml:5", "defaults.model"],
        ["✗", "BRIDGE_CONTEXT_WINDOW", "must"],
    ]
    assert lines[-1] == "4 broken."


async def test_check_prints_json_for_programs(home: Home) -> None:
    home.write('[server]\nprot = 1\n[providers.ollama]\napi_key = "env:UNSET"\n')
    done = await home.config("check", "--json")

    reported = json.loads(done.stdout)
    assert (done.code, reported["ok"], reported["file"]) == (1, False, str(home.file))
    assert reported["mistakes"] == [
        {"place": str(home.file), "line": 2, "key": "server.prot", "what": "is not a setting; nearest: port"}
    ]
    assert reported["doubts"] == []  # nothing else is looked at before the mistakes are mended


async def test_doubts_are_reported_and_no_failure(home: Home) -> None:
    home.write(f'[providers.ollama]\napi_key = "env:UNSET"\n[providers.openai]\napi_key = "{KEY}"\n')
    home.file.chmod(0o644)
    done = await home.config("check", BRIDGE_PROT="1")

    assert done.code == 0
    assert "! config.toml:2 providers.ollama.api_key is env:UNSET" in words(done.stdout)
    assert "chmod 600" in done.stdout
    assert "BRIDGE_PROT" in done.stdout
    assert done.stdout.splitlines()[-1] == "3 warnings."


async def test_check_is_content_with_no_file_unless_one_is_named(home: Home) -> None:
    usual = await home.config("check")
    named = await home.config("check", "--config", str(home.folder / "nothing.toml"))

    assert (usual.code, named.code) == (0, 1)
    assert "does not exist, and need not" in usual.stdout
    assert "nothing.toml" in named.stdout


@pytest.mark.parametrize("columns", [80, 200])
async def test_what_is_printed_fits_the_terminal(home: Home, columns: int) -> None:
    home.write(MISTAKES)
    checked = await home.config("check", COLUMNS=str(columns))
    home.file.write_text(f'[[providers.ollama.models]]\nid = "{"m" * 100}"\ncost = {{ input = 1, output = 2 }}\n')
    shown = await home.config("show", COLUMNS=str(columns))

    for done in (checked, shown):
        assert max(len(line.rstrip()) for line in done.stdout.splitlines()[1:]) <= columns
    assert shown.stdout.count("m") - shown.stdout.splitlines()[0].count("m") >= 100
