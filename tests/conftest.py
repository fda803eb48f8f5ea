"""Options and settings of the whole suite."""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Generator

import pytest
from hypothesis import HealthCheck, settings

# The suite starts hundreds of interpreters; without bytecode files each of them would compile the package anew.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# A proxy of the machine is for what the tests install, not for the engines and bridges that they start.
_DIRECT = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
os.environ["NO_PROXY"] = os.environ["no_proxy"] = f"{_DIRECT},localhost,127.0.0.1,::1".lstrip(",")

# What is started in the background of a shell ignores Ctrl-C, and so would every program that a test starts and ends.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# The same examples at every run: a law that fails, fails for everyone and every time. CI tries many more of them.
_USUAL = settings(derandomize=True, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("quick", _USUAL, max_examples=20)
settings.register_profile("thorough", _USUAL, max_examples=100)
settings.load_profile(os.environ.get("BRIDGE_TEST_EXAMPLES", "quick"))

pytest_plugins = ("tests.workers", "tests.real_parts", "tests.real_ollama", "tests.background")
collect_ignore = ["golden"]  # thousands of files, and no test among them


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Keep the garbage collector from what is collected here: it all stays, and takes half a second to walk."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden", action="store_true", help="rewrite what we produce in tests/golden: read the diff"
    )
    parser.addoption(
        "--update-reference",
        action="store_true",
        help="rewrite the parts of docs/reference that are made from the code",
    )


@pytest.fixture
def without_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reach every host directly, whatever proxy this machine has for the web."""
    for name in [name for name in os.environ if name.lower() in ("http_proxy", "https_proxy", "all_proxy")]:
        monkeypatch.delenv(name)
