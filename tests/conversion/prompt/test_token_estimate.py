"""The token estimate, and how it learns."""

from __future__ import annotations

import base64
import json
from random import Random

import pytest

from claude_bridge.conversion.prompt.token_estimate import (
    IMAGE_TOKENS,
    PDF_TOKENS,
    TokenScale,
    estimate_raw_tokens,
    estimate_tokens,
    image_tokens,
    token_count,
)
from tests.dialogues import a_request, sent


def _body(*blocks: dict[str, object]) -> bytes:
    return sent(a_request(messages=[{"role": "user", "content": list(blocks)}]))[0].body


def _estimate(*blocks: dict[str, object]) -> int:
    return estimate_tokens(_body(*blocks))


def _image(size: int) -> dict[str, object]:
    return {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "a" * size}}


PROSE = (
    "The bridge stands between a client and an engine. What the client says is translated, sent, and answered; what "
    "can't be carried is told. Nothing is lost in silence, and nobody waits longer than needed. "
)
CODE = '''
def find_context_overflow(request: NormalizedRequest, prompt_tokens: int, window_tokens: int | None) -> Overlong | None:
    """Return by how much the prompt exceeds the window, or None if that is not sure."""
    if window_tokens is None or request.holds_images or prompt_tokens <= window_tokens * 1.3:
        return None
    return Overlong(prompt_tokens=prompt_tokens, window_tokens=window_tokens)
'''
JAPANESE = (
    "このブリッジはクライアントとエンジンの間に立ち、要求を翻訳して送り、答えを返します。"
    "運べないものは必ず知らされ、何も黙って失われることはありません。"
)
RUSSIAN = (
    "мост стоит между клиентом и движком: он переводит запросы, отправляет их и возвращает ответы. "
    "чего нельзя передать, всегда сообщается, и ничего не теряется молча. "
)
BASE64 = base64.b64encode(Random(7).randbytes(3_000)).decode()
NUMBERS = "\n".join(f"{Random(row).gauss(0, 100):.4f},{row * 37}" for row in range(200))

COUNTED = {
    "prose": (PROSE, 43, 44),
    "code": (CODE, 91, 95),
    "Japanese": (JAPANESE, 56, 37),
    "Russian": (RUSSIAN, 42, 41),
    "base64": (BASE64, 2710, 2906),
    "numbers": (NUMBERS, 1670, 2721),
}
"""Texts with their tokens, as the tokenizers of GPT-5 (o200k) and of Qwen 3.5 count them."""


@pytest.mark.parametrize(("text", "gpt", "qwen"), COUNTED.values(), ids=COUNTED)
def test_the_estimate_is_near_what_tokenizers_count(text: str, gpt: int, qwen: int) -> None:
    estimate = estimate_tokens(json.dumps(text, ensure_ascii=False).encode(), holds_images=False)
    assert 0.65 < estimate / ((gpt + qwen) / 2) < 1.35


@pytest.mark.parametrize(
    ("text", "tokens"),
    [("{[(;:,.)]}", 0.43), ("lower", 0.21), ("UPPER", 1.1), ("0123", 1.0), ("    ", 0.08), ("漢字", 0.2), ("😀", 0.6)],
    ids=["punctuation", "small letters", "capitals", "digits", "spaces", "kanji", "emoji"],
)
def test_each_byte_weighs_what_its_class_was_fitted_to(text: str, tokens: float) -> None:
    body = (text * 100).encode()
    assert estimate_tokens(body, holds_images=False) == round(len(body) * tokens)


@pytest.mark.parametrize(
    "parts",
    [
        [PROSE * 40, CODE * 30, JAPANESE * 20] * 6,
        [PROSE * 400, BASE64 * 6, PROSE * 400],
        [f"{number}: {CODE}" for number in range(300)],
    ],
    ids=["by turns", "an image in the midst", "alike"],
)
def test_a_long_prompt_is_counted_by_a_sample(parts: list[str]) -> None:
    body = json.dumps(parts, ensure_ascii=False).encode()
    pieces = (body[at : at + 10_000] for at in range(0, len(body), 10_000))  # too short for that
    whole = sum(estimate_tokens(piece, holds_images=False) for piece in pieces)
    assert abs(estimate_tokens(body, holds_images=False) / whole - 1) < 0.05


def test_an_image_counts_as_a_picture_and_not_by_its_bytes() -> None:
    small, large = _estimate(_image(10)), _estimate(_image(1_000_000))
    assert small == large
    assert IMAGE_TOKENS < small < IMAGE_TOKENS + 100
    assert _estimate(_image(10), _image(10)) > 2 * IMAGE_TOKENS


def test_a_pdf_counts_by_the_pages_that_it_may_have() -> None:
    def estimate(size: int) -> int:
        part = {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64," + "a" * size}}
        return estimate_tokens(json.dumps({"content": [part]}, separators=(",", ":")).encode())

    assert PDF_TOKENS < estimate(10) < PDF_TOKENS + 100
    assert 5 * PDF_TOKENS < estimate(550_000) < 6 * PDF_TOKENS


def test_images_can_be_counted_alone() -> None:
    assert image_tokens(_body(_image(10), {"type": "text", "text": "Hi"}, _image(10))) == 2 * IMAGE_TOKENS


def test_text_that_begins_like_a_data_url_counts_as_text() -> None:
    for text in (
        "data: " + "x" * 48_000,
        "data:image/png;base64," + "x" * 48_000,
        '"url":"data:a;base64,' + "x" * 48_000,
    ):
        assert _estimate({"type": "text", "text": text}) > 10_000


def test_a_request_that_is_passed_on_is_measured_in_the_same_way() -> None:
    body = json.dumps({"messages": [{"role": "user", "content": [_image(100_000), {"type": "text", "text": PROSE}]}]})
    text = estimate_tokens(json.dumps(PROSE).encode(), holds_images=False)
    assert text + IMAGE_TOKENS < estimate_raw_tokens(body.encode(), 1) < text + IMAGE_TOKENS + 100
    assert estimate_raw_tokens(json.dumps({"text": '"data":"' + "x" * 9_600}).encode(), 0) > 2_000


def test_tools_count() -> None:
    plain = estimate_tokens(sent(a_request())[0].body)
    tools = [{"name": "a", "description": "x" * 4_800, "input_schema": {}}]
    assert estimate_tokens(sent(a_request(tools=tools))[0].body) > plain + 1_000


@pytest.mark.parametrize(
    ("number", "count"), [(0, 0), (5, 5), (-1, None), (10**8, None), (2**60, None), (None, None)], ids=repr
)
def test_not_every_number_is_a_count(number: int | None, count: int | None) -> None:
    assert token_count(number) == count


# --- the scale ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("factor", [0.7, 1.2, 3.0], ids=["a large vocabulary", "a small one", "another language"])
def test_one_answer_is_enough_to_know_the_tokenizer(factor: float) -> None:
    scale = TokenScale()
    assert scale.tokens(2_000) == 2_000
    scale.calibrate(10_000, round(10_000 * factor))
    assert scale.tokens(2_000) == round(2_000 * factor)


def test_the_last_long_prompt_calibrates_best() -> None:
    scale = TokenScale()
    scale.calibrate(10_000, 12_000)
    scale.calibrate(20_000, 22_000)
    assert scale.tokens(1_000) == 1_100


def test_what_is_known_makes_the_highest_count_lower() -> None:
    scale = TokenScale()
    before = scale.at_most(10_000)
    scale.calibrate(10_000, 10_500)
    assert 10_500 < scale.at_most(10_000) < before


@pytest.mark.parametrize(
    ("estimate", "reported"),
    [
        pytest.param(100, 150, id="a small prompt"),
        pytest.param(10_000, 500, id="only the part that was not cached"),
        pytest.param(10_000, 90_000, id="nonsense"),
        pytest.param(10_000, None, id="nothing"),
    ],
)
def test_the_scale_does_not_learn_from_what_proves_nothing(estimate: int, reported: int | None) -> None:
    scale = TokenScale()
    scale.calibrate(10_000, 12_000)
    scale.calibrate(estimate, reported)
    assert scale.tokens(1_000) == 1_200
