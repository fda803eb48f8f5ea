"""Each engine's own words, and what the client is told: see engine_errors for the table."""

from __future__ import annotations

import msgspec
import pytest

from claude_bridge.conversion.upstream_errors.translate import explain_refusal
from claude_bridge.errors import BridgeError
from tests.conversion.engine_errors import ROWS, Row

ENGINES = {
    "OpenAI", "OpenRouter", "Groq", "Gemini", "DeepSeek", "Mistral", "Together", "Fireworks", "xAI", "llama.cpp",
    "vLLM", "SGLang", "TGI", "LM Studio",
}  # fmt: skip


def _explained(row: Row) -> BridgeError:
    body = row.body if isinstance(row.body, bytes) else msgspec.json.encode(row.body)
    return explain_refusal(row.status, row.headers, body, "The engine at http://h")


@pytest.mark.parametrize("engine", sorted({row.engine for row in ROWS}))
def test_an_engines_words_are_reported_with_the_right_meaning(engine: str) -> None:
    for row in ROWS:
        if row.engine == engine:
            error = _explained(row)
            assert (error.status, error.error_type) == (row.reported, row.error_type), row.what
            assert row.words in error.message, row.what
            assert (error.should_retry, error.retry_after_s) == (row.should_retry, row.retry_after_s), row.what


def test_only_what_the_client_can_change_is_reported_as_its_own_fault() -> None:
    """Claude Code sends a request up to six times after 400 and 422, unless the prompt is too long."""
    own_faults = {(row.engine, row.what) for row in ROWS if row.reported in (400, 422) and "too long" not in row.words}
    assert own_faults == {("OpenAI", "a field that the client chose")}


def test_every_engine_has_its_rows() -> None:
    assert {row.engine for row in ROWS} >= ENGINES
