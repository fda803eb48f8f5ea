"""Keys, and the other values that are more than text."""

from __future__ import annotations

from pathlib import Path

import pytest

from claude_bridge.config.types import Address, ModelName, Secret

KEY = "sk-very-secret"
NO_WORDS = "^$"
"""What is wanted says it all."""


def test_a_key_is_read_from_its_configured_source(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(f"{KEY}\n")

    assert Secret.parse(KEY).read({}, tmp_path) == KEY
    assert Secret.parse("env:NAME").read({"NAME": f" {KEY}\n"}, tmp_path) == KEY
    assert Secret.parse("file:key").read({}, tmp_path) == KEY
    assert Secret.parse(f"file:{tmp_path / 'key'}").read({}, Path("/nowhere")) == KEY


def test_a_key_below_the_home_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "key").write_text(KEY)

    (tmp_path / "key").write_text(f"\ufeff{KEY}\n", "utf-8")  # as editors on Windows write it
    assert Secret.parse("file:~/key").read({}, Path("/nowhere")) == KEY


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("env:NAME", "is env:NAME, and that variable is not set"),
        ("env:EMPTY", "is env:EMPTY, and that variable is not set"),
        ("file:nothing", "is file:nothing, and that file can't be read: No such file or directory"),
        ("file:empty", "is file:empty, and that file is empty"),
        ("file:bytes", "is file:bytes, and that file can't be read: it is not UTF-8 text"),
    ],
)
def test_a_key_that_can_not_be_had_is_reported_with_its_place(tmp_path: Path, given: str, words: str) -> None:
    (tmp_path / "empty").write_text(" \n")
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")

    with pytest.raises(ValueError, match=words):
        Secret.parse(given).read({"EMPTY": " "}, tmp_path)


def test_a_key_is_never_shown_but_its_place_is() -> None:
    assert KEY not in repr(Secret.parse(KEY)) + str(Secret.parse(KEY)) + Secret.parse(KEY).shown
    assert Secret.parse("env:NAME").shown == "env:NAME"
    assert [Secret.parse(given).is_literal for given in (KEY, "env:A", "file:a")] == [True, False, False]


@pytest.mark.parametrize("given", ["", " ", "env:", "file:"])
def test_a_key_without_anything_is_none(given: str) -> None:
    with pytest.raises(ValueError, match=NO_WORDS):
        Secret.parse(given)


@pytest.mark.parametrize(
    ("given", "provider", "model"),
    [
        ("ollama/qwen3:1.7b", "ollama", "qwen3:1.7b"),
        ("openrouter/openai/gpt-5", "openrouter", "openai/gpt-5"),
        ("ollama", "ollama", ""),
    ],
)
def test_a_model_is_named_behind_its_provider(given: str, provider: str, model: str) -> None:
    name = ModelName.parse(given)
    assert (name.provider, name.model) == (provider, model)


@pytest.mark.parametrize("given", ["", "/m", "ollama/", " ollama/m"])
def test_half_a_model_name_is_none(given: str) -> None:
    with pytest.raises(ValueError, match=NO_WORDS):
        ModelName.parse(given)


@pytest.mark.parametrize("given", ["localhost:11434", "ftp://h", "http://", "http://h:99999", ""])
def test_what_is_no_address_is_refused(given: str) -> None:
    with pytest.raises(ValueError, match=NO_WORDS):
        Address.parse(given)


def test_an_address_with_a_password_is_reported_and_not_repeated() -> None:
    with pytest.raises(ValueError, match=r"^contains a password$"):
        Address.parse("http://me:hunter2@host")


def test_an_address_with_a_key_in_its_query_is_reported_and_not_repeated() -> None:
    with pytest.raises(ValueError, match=r"^contains a key in its query \(api_key\)$"):
        Address.parse("https://host/v1?api-version=1&api_key=hunter2")


def test_an_address_may_have_a_query_and_blanks_around_it() -> None:
    assert Address.parse(" https://host/x?api-version=1 ") == "https://host/x?api-version=1"
