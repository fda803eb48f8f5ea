"""The real parts of the suite: Claude Code and the embedded engine, fetched into a cache of the suite's own.

They are fetched when a chosen test needs them: the model by pip, Claude Code by npm. ``BRIDGE_TEST_E2E=required``
fails where one can't be had, in place of skipping, and takes the newest Claude Code; ``off`` fetches nothing and skips.
``BRIDGE_TEST_CLAUDE`` names a Claude Code to use as it is, and ``BRIDGE_TEST_CACHE`` the cache folder.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import NoReturn

import pytest
from platformdirs import user_cache_path

from claude_bridge.errors import SetupError
from claude_bridge.upstream.embedded.engine import (
    SMALL_MODEL_WINDOW_TOKENS,
    EmbeddedEngine,
    require_engine,
    small_model_template,
)
from claude_bridge.upstream.embedded.model_file import SMOLLM2, fetch_model
from tests.workers import one_worker_at_a_time

INSTALL_LIMIT_S = 600.0
TURNED_OFF = "BRIDGE_TEST_E2E=off"


def cache_folder() -> Path:
    """Return where the suite keeps what it has downloaded."""
    named = os.environ.get("BRIDGE_TEST_CACHE")
    return Path(named).absolute() if named else user_cache_path("claude-bridge-tests")


def is_required() -> bool:
    return os.environ.get("BRIDGE_TEST_E2E") == "required"


def missing(cause: str) -> NoReturn:
    """Skip the test with its cause, or fail it where nothing may be skipped."""
    if is_required():
        pytest.fail(cause, pytrace=False)
    pytest.skip(cause)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Fetch what the chosen tests need before the first one runs: a download counts against no test's time limit."""
    if session.config.option.collectonly:
        return
    needed = {marker.name for item in session.items for marker in item.iter_markers()}
    with one_worker_at_a_time(session.config):
        parts = {"engine": find_model, "ollama": find_model, "claude_code": find_claude_code}
        for name, find in (parts | {"typescript": find_typescript_sdk}).items():
            if name in needed:
                find()


@pytest.fixture(scope="session")
def model_path() -> Path:
    """The small model's GGUF file."""
    return _path_or_missing(find_model())


@pytest.fixture(scope="session")
def engine(model_path: Path) -> EmbeddedEngine:
    """llama.cpp with the small model. One for the session: it takes 400 MB."""
    window = SMALL_MODEL_WINDOW_TOKENS
    return EmbeddedEngine(model_path, model_name=SMOLLM2.name, window_tokens=window, template=small_model_template())


@pytest.fixture(scope="session")
def claude_binary() -> Path:
    """Claude Code's native binary."""
    return _path_or_missing(find_claude_code())


@pytest.fixture(scope="session")
def typescript_sdk() -> Path:
    """A folder in which Node.js finds Anthropic's SDK for TypeScript."""
    return _path_or_missing(find_typescript_sdk())


def _path_or_missing(found: Path | str) -> Path:
    if isinstance(found, str):
        missing(found)
    return found


@cache
def find_model() -> Path | str:
    """Return the small model's file, downloaded if need be, or why it can't be had."""
    if os.environ.get("BRIDGE_TEST_E2E") == "off":
        return TURNED_OFF
    try:
        require_engine()
        return fetch_model(SMOLLM2, lambda _done, _total: None, cache=cache_folder() / "claude-bridge")
    except SetupError as error:
        return f"There is no engine: {error.what} {error.hint}"


@cache
def find_claude_code() -> Path | str:
    """Return Claude Code's binary, installed if need be, or why it can't be had."""
    if os.environ.get("BRIDGE_TEST_E2E") == "off":
        return TURNED_OFF
    named = os.environ.get("BRIDGE_TEST_CLAUDE")
    if named:
        return Path(named).absolute() if os.access(named, os.X_OK) else f"BRIDGE_TEST_CLAUDE={named} is no program."
    package = f"claude-code-{_platform()}"
    prefix = cache_folder() / "claude-code"
    binary = prefix / "node_modules" / "@anthropic-ai" / package / "claude"
    if binary.exists() and not is_required():
        return binary
    cause = _install(f"@anthropic-ai/{package}@latest", prefix)
    if binary.exists():
        return binary
    return f"Claude Code is not installed: {cause or f'the package {package} holds no program'}."


@cache
def find_typescript_sdk() -> Path | str:
    """Return the folder with Anthropic's SDK for TypeScript, installed if need be, or why it can't be had."""
    if os.environ.get("BRIDGE_TEST_E2E") == "off":
        return TURNED_OFF
    prefix = cache_folder() / "typescript-sdk"
    installed = prefix / "node_modules" / "@anthropic-ai" / "sdk" / "package.json"
    cause = None if installed.exists() else _install("@anthropic-ai/sdk@latest", prefix)
    return prefix if installed.exists() else f"Anthropic's SDK for TypeScript is not installed: {cause}."


def _install(package: str, prefix: Path) -> str | None:
    """Install an npm package; return why that was not possible, or None."""
    npm = shutil.which("npm")
    if npm is None:
        return "npm is missing; install Node.js, or name a Claude Code with BRIDGE_TEST_CLAUDE"
    prefix.mkdir(parents=True, exist_ok=True)
    # --force: the package's "engines" field asks for a newer Node than its native binary needs.
    command = [npm, "install", "--prefix", str(prefix), "--force", "--no-audit", "--no-fund", "--no-update-notifier"]
    command += ["--fetch-retries", "1", "--fetch-retry-mintimeout", "1000"]
    try:
        done = subprocess.run(
            [*command, "--loglevel", "error", package],
            check=False,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=INSTALL_LIMIT_S,
        )
    except subprocess.TimeoutExpired:
        return f"npm install {package} took longer than {INSTALL_LIMIT_S:.0f} s"
    codes = [
        line.split()[-1] for line in done.stderr.splitlines() if line.startswith(("npm error code", "npm ERR! code"))
    ]
    return f"npm install {package} failed: {', '.join(codes) or done.returncode}" if done.returncode else None


def _platform() -> str:
    machine = {"x86_64": "x64", "amd64": "x64", "aarch64": "arm64"}.get(platform.machine().lower(), platform.machine())
    is_musl = sys.platform == "linux" and platform.libc_ver()[0] != "glibc"
    return f"{sys.platform}-{machine}{'-musl' if is_musl else ''}"
