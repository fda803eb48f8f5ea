"""The web of `pytest-httpx`, for what is asked of engines and services that can't be on this machine."""

from __future__ import annotations

import pytest
from pytest_httpx import HTTPXMock

from claude_bridge.upstream import client
from claude_bridge.upstream.httpx_transport import HttpxTransport


@pytest.fixture
def web(httpx_mock: HTTPXMock, monkeypatch: pytest.MonkeyPatch) -> HTTPXMock:
    """Answer what is asked of any host; a question that no response fits fails the test."""
    monkeypatch.setattr(client, "transport_to", HttpxTransport)
    return httpx_mock
