from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _without_proxies(without_proxies: None) -> None:
    """Reach the fakes directly; a test of proxies names its own."""
