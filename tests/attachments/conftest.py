from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _without_proxies(without_proxies: None) -> None:
    """Fetch the pages of the fakes from the fakes."""
