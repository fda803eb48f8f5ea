"""A project's own settings: where they are found, when they may be used, and how they are merged."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from claude_bridge.config import project as projects
from claude_bridge.config.load import check_secrets, effective_settings, read_config
from claude_bridge.config.project import PROJECT_FILE, Project, changes_of, decision_on, find_project, remember

KEY = "sk-very-secret"


class Home:
    """A user's home with a project in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "home"
        self.project = self.folder / "work" / "project"
        self.file = self.project / PROJECT_FILE
        self.inside = self.project / "a" / "b"
        self.inside.mkdir(parents=True)

    def write(self, text: str) -> Project:
        self.file.write_text(text, "utf-8")
        self.file.chmod(0o600)
        found = find_project(self.inside)
        assert found is not None
        return found


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    return Home(tmp_path)


# --- where it is ----------------------------------------------------------------------------------------------


def test_it_is_found_in_the_folder_and_above_it_and_the_nearest_counts(home: Home) -> None:
    assert find_project(home.inside) is None
    assert home.write("[defaults]\nthink = 'on'").file == home.file
    nearer = home.inside / PROJECT_FILE
    nearer.write_text("")
    nearest = find_project(home.inside)
    assert nearest is not None
    assert nearest.file == nearer


def test_nothing_above_the_home_is_looked_at(home: Home) -> None:
    (home.folder.parent / PROJECT_FILE).write_text("")
    assert find_project(home.inside) is None
    (home.folder / PROJECT_FILE).write_text("")
    assert find_project(home.inside) is not None


def test_a_folder_that_is_gone_has_no_project(home: Home) -> None:
    assert find_project(home.inside / "gone") is None


# --- what may not be used -------------------------------------------------------------------------------------


def problem(home: Home) -> str:
    found = find_project(home.inside)
    assert found is not None
    assert (found.text, found.document) == ("", {}), "nothing of it was taken"
    return str(found.problem)


def test_a_file_that_somebody_else_may_have_written_is_not_used(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    home.write("")
    home.file.chmod(0o602)
    assert problem(home).startswith("can be written by every user")
    home.file.chmod(0o600)
    home.project.chmod(0o1777)
    assert problem(home) == "is in a folder that every user can write to"
    home.project.chmod(0o755)
    monkeypatch.setattr(os, "geteuid", lambda: 12_345)
    assert problem(home) == "belongs to another user"


def test_links_and_devices_are_neither_followed_nor_waited_for(home: Home) -> None:
    (home.project / "real.toml").write_text("")
    home.file.symlink_to("real.toml")
    assert problem(home) == "is a symbolic link"
    home.file.unlink()
    home.file.symlink_to(PROJECT_FILE)
    assert problem(home) == "is a symbolic link", "one that leads to itself"
    home.file.unlink()
    os.mkfifo(home.file)
    assert problem(home) == "is not a regular file"
    home.file.unlink()
    home.file.mkdir()
    assert problem(home) == "can't be read: Is a directory"


@pytest.mark.parametrize(
    ("content", "reported"),
    [
        (b"#" * (projects.MAX_BYTES + 1), "is larger than 16 KiB"),
        (b"\xff\xfe", "is not UTF-8 text"),
        (b"[a]\nb 1\n", "is not valid TOML: line 2: Expected '=' after a key in a key/value pair"),
        (b"a." * 8_000 + b"a = 1", "is not valid TOML: line 1: it is nested too deeply"),
        (b"a = " + b"[" * 10_000, "is not valid TOML: line 1: it is nested too deeply"),
    ],
    ids=["huge", "no text", "no TOML", "deep keys", "deep lists"],
)
def test_a_file_that_can_not_be_read_is_named_with_the_reason(home: Home, content: bytes, reported: str) -> None:
    home.file.write_bytes(content)
    assert problem(home) == reported


# --- trust ----------------------------------------------------------------------------------------------------


def test_a_decision_is_kept_for_this_file_with_this_content(home: Home, tmp_path: Path) -> None:
    first = home.write("[defaults]\nthink = 'on'")
    assert decision_on(first) is None
    remember(first, trusted=True)
    assert decision_on(home.write("[defaults]\nthink = 'on'")) is True
    changed = home.write("[defaults]\nthink = 'off'")
    assert decision_on(changed) is None
    remember(changed, trusted=False)
    assert decision_on(changed) is False
    copy = home.inside / PROJECT_FILE
    copy.write_text("[defaults]\nthink = 'off'")
    elsewhere = find_project(home.inside)
    assert elsewhere is not None
    assert decision_on(elsewhere) is None


def test_decisions_that_are_damaged_are_none(home: Home, tmp_path: Path) -> None:
    found = home.write("")
    remember(found, trusted=True)
    (file,) = (tmp_path / "data").rglob("projects.json")
    for content in (b"", b"[]", b'{"a": 1}', b"\xff"):
        file.write_bytes(content)
        assert decision_on(found) is None
    remember(found, trusted=True)
    assert decision_on(found) is True


def test_what_it_would_change_is_shown_with_what_is_dangerous_first_and_no_key(home: Home) -> None:
    found = home.write(
        f'[providers.work]\nkind = "openai-chat"\nbase_url = "http://h"\napi_key = ["command:curl x", "{KEY}"]\n'
        f'headers = {{ x-key = "{KEY}", x-team = "file:k" }}\nmodels = [{{ id = "m", append_system_prompt = "p" }}]\n'
        '[defaults]\nmodel = "work/m"\nmax_tokens = 5\nfallback = ["work/n"]\n[routes]\n"*" = "work/m"\n'
    )
    assert [(*change,) for change in changes_of(found)] == [
        ("providers.work.base_url", '"http://h"', "where requests go"),
        ("providers.work.api_key[0]", '"command:curl x"', "runs a command"),
        ("providers.work.headers.x-team", f'"file:{home.project}/k"', "reads a file"),
        ("providers.work.models[0].append_system_prompt", '"p"', "what models read"),
        ("defaults.model", '"work/m"', "which model gets requests"),
        ("defaults.fallback[0]", '"work/n"', "which model gets requests"),
        ('routes."*"', '"work/m"', "which model gets requests"),
        ("providers.work.kind", '"openai-chat"', ""),
        ("providers.work.api_key[1]", "(hidden)", ""),
        ("providers.work.headers.x-key", "(hidden)", ""),
        ("providers.work.models[0].id", '"m"', ""),
        ("defaults.max_tokens", "5", ""),
    ]
    assert changes_of(home.write("")) == []
    assert [change.key for change in changes_of(home.write("defaults = 1\nproviders = []"))] == [
        "defaults",
        "providers",
    ]


# --- merging --------------------------------------------------------------------------------------------------

USERS = """
[defaults]
model = "work/big"
max_tokens = 5
[providers.work]
kind = "openai-chat"
base_url = "http://user"
api_key = "file:key"
[routes]
"a*" = "work/a"
"""


def test_tables_are_merged_and_the_projects_values_win(home: Home, tmp_path: Path) -> None:
    users = tmp_path / "config.toml"
    users.write_text(USERS)
    project = home.write(
        '[defaults]\nmodel = "work/small"\n[routes]\n"b*" = "work/b"\n[providers.work]\napi_key = "file:its/key"\n'
    )
    reading = read_config(users, {"BRIDGE_MAX_TOKENS": "7"}, project)
    config = reading.config

    assert reading.mistakes == ()
    assert (config.defaults.model, config.defaults.max_tokens) == ("work/small", 7)
    assert config.routes == {"a*": "work/a", "b*": "work/b"}
    assert config.providers["work"].base_url == "http://user"
    found = {one.key: one.origin for one in effective_settings(reading, {})}
    assert found["defaults.model"] == f"{PROJECT_FILE}:2"
    assert found["providers.work.base_url"] == "line 7"
    assert found["providers.work.api_key"] == f"{PROJECT_FILE}:6"


def test_paths_in_it_are_meant_from_its_folder(home: Home, tmp_path: Path) -> None:
    users = tmp_path / "config.toml"
    users.write_text(USERS)
    (home.project / "key").write_text(KEY)
    project = home.write('[providers.work]\napi_key = "file:key"\n[defaults]\nca_file = "ca.pem"\n')
    reading = read_config(users, {}, project)

    keys = reading.config.providers["work"].api_key
    assert keys is not None
    assert [key.read({}, reading.config.folder) for key in keys] == [KEY]
    assert reading.config.defaults.ca_file == str(home.project / "ca.pem")


def test_each_mistake_names_its_own_file(home: Home, tmp_path: Path) -> None:
    users = tmp_path / "config.toml"
    users.write_text("[server]\nprot = 1\n[providers.work]\nkind = 'openai-chat'\n")
    project = home.write('[defaults]\nthink = "no"\nmodle = 1\n[providers.work]\napi_key = "env:A"\n')

    assert [str(mistake) for mistake in read_config(users, {}, project).mistakes] == [
        f"{users}:2: server.prot is not a setting; nearest: port",
        f'{home.file}:2: defaults.think must be one of auto, off, on, not "no"',
        f"{home.file}:3: defaults.modle is not a setting; nearest: model",
        (
            f"{home.file}:4: providers.work is not a provider that the bridge knows (nearest: fireworks); "
            "one of your own needs base_url"
        ),
    ]


def test_keys_in_it_are_checked_as_those_of_the_user_are(home: Home, tmp_path: Path) -> None:
    users = tmp_path / "config.toml"
    users.write_text(USERS)
    project = home.write(f'[providers.work]\napi_key = ["{KEY}", "env:UNSET"]\n')
    home.file.chmod(0o644)
    reading = read_config(users, {}, project)
    doubts = [str(doubt) for doubt in (*reading.doubts, *check_secrets(reading, {}))]

    assert len(doubts) == 2
    assert doubts[0].startswith(f"{home.file}:2: providers.work.api_key[0] is a key in a file that others can read")
    assert doubts[1].startswith(f"{home.file}:2: providers.work.api_key[1] is env:UNSET")
    assert KEY not in str(doubts)
