"""Whether there is a real Ollama to test, and what the run says of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.real_ollama import look_for_ollama, require_usable


@pytest.fixture(autouse=True)
def _nothing_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BRIDGE_TEST_E2E", "BRIDGE_TEST_OLLAMA", "PATH"):
        monkeypatch.delenv(name, raising=False)


def program(folder: Path) -> Path:
    path = folder / "ollama"
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def test_without_one_the_run_says_that_it_is_absent() -> None:
    assert look_for_ollama() == "absent (none on PATH, none named by BRIDGE_TEST_OLLAMA)"


def test_one_on_the_path_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = program(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert look_for_ollama() == path


def test_one_that_is_named_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRIDGE_TEST_OLLAMA", str(program(tmp_path)))
    assert look_for_ollama() == tmp_path / "ollama"


def test_a_name_that_is_no_program_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRIDGE_TEST_OLLAMA", str(tmp_path / "nothing"))
    with pytest.raises(pytest.UsageError, match=r"^BRIDGE_TEST_OLLAMA=.*nothing is no program$"):
        require_usable(look_for_ollama())


def test_without_end_to_end_tests_none_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRIDGE_TEST_OLLAMA", str(program(tmp_path)))
    monkeypatch.setenv("BRIDGE_TEST_E2E", "off")
    assert look_for_ollama() == "not used (BRIDGE_TEST_E2E=off)"
