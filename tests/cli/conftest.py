from __future__ import annotations

import pytest


@pytest.fixture
def anyio_backend() -> str:
    """Return the one loop that the tests themselves need: the bridge is a process of its own here."""
    return "asyncio"
