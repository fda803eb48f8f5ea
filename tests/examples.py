"""How many examples a law is tried with."""

from __future__ import annotations

import os

from hypothesis import settings

IS_THOROUGH = os.environ.get("BRIDGE_TEST_EXAMPLES") == "thorough"


def examples(thorough: int) -> settings:
    """Try a law with more or fewer examples than others: ``thorough`` of them in CI, a tenth in a quick run."""
    return settings(max_examples=thorough if IS_THOROUGH else max(10, thorough // 10))
