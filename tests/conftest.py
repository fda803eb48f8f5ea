"""Options and settings of the whole suite."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings

# The same examples at every run: a law that fails, fails for everyone and every time.
settings.register_profile(
    "bridge", derandomize=True, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("bridge")

pytest_plugins = ("tests.real_parts", "tests.real_ollama", "tests.background")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden", action="store_true", help="rewrite what we produce in tests/golden: read the diff"
    )
