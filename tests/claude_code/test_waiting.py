"""Minutes of silence, and the real Claude Code: one answer, and nothing asked twice."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.background import PREFILL_S
from tests.claude_code.prefill import AFTER_ALL_S, forms

pytestmark = [pytest.mark.claude_code, pytest.mark.in_background, pytest.mark.timeout(PREFILL_S + AFTER_ALL_S)]


@pytest.fixture(scope="module")
def reported(claude_binary: Path, prefill: subprocess.Popen[str]) -> Any:
    assert claude_binary.exists()
    output, errors = prefill.communicate()
    assert prefill.returncode == 0, errors[-3000:]
    return json.loads(output)


@pytest.mark.parametrize("form", forms(0))
def test_a_long_silence_ends_in_one_answer_and_nothing_is_sent_again(reported: Any, form: str) -> None:
    came = reported[form]
    assert (came["code"], came["result"]) == (0, "It took a while.")
    assert came["took_s"] > PREFILL_S
    assert came["requests"] == len(forms(0)[form])
    assert came["retries"] == 0
