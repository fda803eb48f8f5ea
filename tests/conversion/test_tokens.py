"""The token estimate."""

from __future__ import annotations

from claude_bridge.conversion.tokens import IMAGE_TOKENS, estimate_tokens
from tests.dialogues import a_request, sent


def _estimate(*blocks: dict[str, object]) -> int:
    return estimate_tokens(sent(a_request(messages=[{"role": "user", "content": list(blocks)}]))[0].body)


def _image(size: int) -> dict[str, object]:
    return {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "a" * size}}


def test_text_counts_by_its_length() -> None:
    assert estimate_tokens(b"x" * 380) == 100


def test_an_image_counts_as_a_picture_and_not_by_its_bytes() -> None:
    small, large = _estimate(_image(10)), _estimate(_image(1_000_000))
    assert small == large
    assert IMAGE_TOKENS < small < IMAGE_TOKENS + 100
    assert _estimate(_image(10), _image(10)) > 2 * IMAGE_TOKENS


def test_text_that_begins_like_a_data_url_counts_as_text() -> None:
    for text in (
        "data: " + "x" * 38_000,
        "data:image/png;base64," + "x" * 38_000,
        '"url":"data:a;base64,' + "x" * 38_000,
    ):
        assert _estimate({"type": "text", "text": text}) > 10_000


def test_tools_count() -> None:
    plain = estimate_tokens(sent(a_request())[0].body)
    tools = [{"name": "a", "description": "x" * 3_800, "input_schema": {}}]
    assert estimate_tokens(sent(a_request(tools=tools))[0].body) > plain + 1_000
