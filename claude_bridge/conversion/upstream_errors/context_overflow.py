"""How engines say that a prompt is too long for them, with the numbers in it (``context_overflow.toml``)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from typing import Any

from msgspec import Struct

from claude_bridge.data_files import read_rows
from claude_bridge.errors import BridgeError, PromptTooLongError, UpstreamBrokenError

MAX_CHARS = 4_000
"""How much of an engine's words is looked at: some repeat the whole request behind them."""

_N = r"\d[\d,_]{0,14}(?:\.\d{3}(?!\d))?[kK]?\b"

_PARTS = {
    "<gap>": r".{0,300}?",
    "<to>": r"\D{0,40}?",
    "<n>": _N,
    **{f"<{name}>": f"(?P<{name}>{_N})" for name in ("prompt", "window", "more")},
}


@cache
def _numbered() -> list[re.Pattern[str]]:
    """Return the wordings with numbers."""
    return [_pattern([wording]) for wording in _rows()["wordings"]]


@cache
def _in_sentences() -> dict[str, re.Pattern[str]]:
    """Return what is looked for in each sentence of other words, by its name."""
    return {name: _pattern(wordings) for name, wordings in _rows()["sentence"].items()}


@cache
def _rows() -> dict[str, Any]:
    """Return the rows: read at the first refusal, as that takes 4 ms of each start."""
    return read_rows("conversion/upstream_errors/context_overflow.toml")


def _pattern(wordings: Sequence[str]) -> re.Pattern[str]:
    text = "|".join(wordings)
    for name, parts in _rows()["parts"].items():
        text = text.replace(f"<{name}>", f"(?:{'|'.join(parts)})")
    for part, meaning in _PARTS.items():
        text = text.replace(part, meaning)
    return re.compile(text, re.IGNORECASE | re.DOTALL)


_SENTENCE_END = re.compile(r"[.;!]\s|\n|[\u3002\uff1b]")


class OverflowNumbers(Struct, frozen=True):
    """How an engine says that a request is too long for it; None: it names no number.

    Where the limit of the answer is counted in, the prompt may be the smaller number.
    """

    prompt_tokens: int | None = None
    window_tokens: int | None = None


def overflow_numbers(words: str, document: Any) -> OverflowNumbers | None:  # noqa: ANN401 - any JSON
    """Return the numbers in an error, or None if it does not say that a request is too long.

    ``document`` is the whole body as JSON, ``words`` what it says.
    """
    error = document.get("error") if isinstance(document, dict) else None
    if isinstance(error, dict):
        prompt, window = error.get("n_prompt_tokens"), error.get("n_ctx")
        if isinstance(prompt, int) and isinstance(window, int):
            return OverflowNumbers(prompt, window)  # llama.cpp
    words = words[:MAX_CHARS]
    for pattern in _numbered():
        if match := pattern.search(words):
            tokens = {name: _tokens(number) for name, number in match.groupdict().items() if number}
            return OverflowNumbers(tokens["prompt"] + tokens.get("more", 0), tokens["window"])
    found = map(_numbers_in, _SENTENCE_END.split(words))
    return next((numbers for numbers in found if numbers is not None), None)


def _numbers_in(sentence: str) -> OverflowNumbers | None:
    """Return the numbers of a sentence that says so in other words, or None if it does not."""
    found = {name for name, pattern in _in_sentences().items() if pattern.search(sentence)}
    if "no room" in found:
        return OverflowNumbers()
    is_unknown = {"unknown", "in tokens"} <= found and "about other things" not in found
    if "about the answer" in found or not ("known" in found or is_unknown):
        return None
    prompt = _in_sentences()["prompt number"].search(sentence)
    if prompt is None:
        return OverflowNumbers()
    prompt_tokens = _tokens(prompt["before"] or prompt["behind"])
    windows = (_tokens(window["window"]) for window in _in_sentences()["window number"].finditer(sentence))
    window_tokens = next((tokens for tokens in windows if 0 < tokens < prompt_tokens), None)
    return OverflowNumbers(prompt_tokens, window_tokens) if window_tokens else OverflowNumbers()


def _tokens(number: str) -> int:
    """Return the number, which may be "9,000", "9_000", "9.000" or "128k"."""
    factor = 1_000 if number[-1] in "kK" else 1
    return int(re.sub(r"\D", "", number)) * factor


def prompt_too_long(words: str, document: Any) -> PromptTooLongError | None:  # noqa: ANN401 - as above
    """Return the error in Anthropic's words, or None if this is another trouble.

    Not too long is what fits without the limit on the answer: a shorter conversation would not help there.
    """
    numbers = overflow_numbers(words, document)
    if numbers is None:
        return None
    prompt, window = numbers.prompt_tokens, numbers.window_tokens
    if prompt is None or window is None:
        return PromptTooLongError(None, None)
    return None if prompt < window // 2 else PromptTooLongError(max(prompt, window + 1), window)


MAX_MISJUDGED = 8
"""How many times as long as the bridge's own guess a prompt can be: digits take four times as many tokens as words."""


def checked_overflow(
    error: PromptTooLongError,
    *,
    prompt_tokens: int,
    guess: int,
    window_tokens: int | None,
    holds_images: bool,
    where: str,
) -> BridgeError:
    """Return what an engine means that calls this prompt too long: the client drops a part of its history for it.

    Numbers that fit neither this prompt nor this window are of another request: an Ollama whose runner died sends old
    lines of its log. Where there are no numbers, the bridge gives its own: by them the client knows how much to drop.
    """
    report = error.report
    if report is None or report.prompt_tokens is None or report.window_tokens is None:
        if error.has_numbers or window_tokens is None:
            return error
        numbered = PromptTooLongError(max(prompt_tokens, window_tokens + 1), window_tokens)
        numbered.report = report
        return numbered
    is_another_window = window_tokens is not None and report.window_tokens != window_tokens
    is_another_prompt = report.prompt_tokens > max(guess, 1) * MAX_MISJUDGED and not holds_images
    if is_another_window and is_another_prompt:
        return UpstreamBrokenError(
            f"{where} refused a prompt of about {guess:,} tokens as one of {report.prompt_tokens:,}: its error may be "
            "about another request, so its log should be looked at."
        )
    return error
