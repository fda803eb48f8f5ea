from __future__ import annotations

import pytest
from msgspec.structs import replace

from claude_bridge.providers import PROVIDERS
from claude_bridge.upstream.engines import catalog

NOBODY = "http://127.0.0.1:1"


@pytest.fixture
def anyio_backend() -> str:
    """Return the one loop that the tests themselves need: the bridge is a process of its own here."""
    return "asyncio"


@pytest.fixture
def without_usual_engines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look for engines that the user does not name where nobody listens, whatever runs on this machine."""
    silent = {name: f"http://127.0.0.1:{port}" for port, name in enumerate(catalog.LOCAL_ENGINES, 2)}
    monkeypatch.setattr(catalog, "LOCAL_ENGINES", silent)
    monkeypatch.setitem(PROVIDERS, "ollama", replace(PROVIDERS["ollama"], base_url=NOBODY))
