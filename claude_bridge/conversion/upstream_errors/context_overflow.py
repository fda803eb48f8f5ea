"""How engines say that a prompt is too long for them, with the numbers in it (``context_overflow.toml``)."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from msgspec import Struct

from claude_bridge.data_files import read_rows
from claude_bridge.errors import BridgeError, PromptTooLongError, UpstreamBrokenError

MAX_CHARS = 4_000
"""How much of an engine's words is looked at: some repeat the whole request behind them."""

_N = r"\d[\d,_]{0,14}(?:\.\d{3}(?!\d))?[kK]?\b"
_TO_NUMBER = r"\D{0,40}?"

_PARTS = {
    "<gap>": r".{0,300}?",
    "<to>": _TO_NUMBER,
    "<n>": _N,
    **{f"<{name}>": f"(?P<{name}>{_N})" for name in ("prompt", "window", "more")},
}


@cache
def _numbered() -> list[re.Pattern[str]]:
    """Return the wordings with numbers as patterns: read at the first refusal, as that takes 4 ms of each start."""
    patterns: list[str] = read_rows("conversion/upstream_errors/context_overflow.toml")["wordings"]
    for part, text in _PARTS.items():
        patterns = [pattern.replace(part, text) for pattern in patterns]
    return [re.compile(pattern, re.IGNORECASE | re.DOTALL) for pattern in patterns]


# Ollama, Groq, DeepSeek, Moonshot, Z.ai, Qwen, MiniMax and others give no numbers, or not in these orders.
_KNOWN = re.compile(
    r"prompt is (?:longer than|too long)|prompt too long|context_length_exceeded|exceed_context_size"
    r"|maximum context length|exceeds the (?:model's |available )?(?:maximum )?context"
    r"|longer than the model's context length|(?:reduce|shorten) (?:the length of |the size of )?(?:the|your) "
    r"(?:messages|prompt|input|conversation)|input is too long"
    r"|exceeded model token limit|prompt exceeds max length|input token length too long"
    r"|but model only supports up to|input tokens exceed the configured limit|context exceeds your deployment"
    r"|tokens to keep from the initial prompt is greater than the context length|context size has been exceeded"
    r"|model_context_window_exceeded|context window exceeds limit|range of input length should be"
    r"|too many (?:input |prompt )?tokens\b"
    r"|context[ _](?:window|length|size|limit)[ _](?:was |has been |is )?(?:exceeded|reached)"
    r"|exceed max message tokens|tokens,? but (?:the |this )?model (?:only )?supports"
    r"|context (?:window|length|size)[^.]{0,40} is (?:only )?\d[\d,_]{0,14} tokens,? but"
    r"|(?:输入|上下文|提示词?).{0,20}(?:过长|超过|超出|超限)",
    re.IGNORECASE,
)

# What engines say that nobody has met yet: a sentence in which the prompt exceeds something that is counted in tokens.
_PROMPT = (
    r"\b(?:prompt|input|context|conversation|chat history|messages?|request|sequence)s?'?s?(?:[ _-](?:tokens?|text|ids|"
    r"messages?|context|window|length|size|len|count)){0,3}\b|\b(?:requested|total)(?: number of)? tokens\b"
    r"|\b(?:prompt|input|seq|sequence)_(?:tokens?|len|length|ids)\b|\b(?:token|tokens) count\b|\bnumber of tokens\b"
)
_EXCEEDS = (
    r"\b(?:exceed(?:s|ed|ing)?|surpass(?:es|ed)?|overflow(?:s|ed)?|beyond)\b"
    r"|\b(?:is|are|was|were|be) (?:much |far )?(?:greater|longer|larger|bigger|higher|more) than\b"
    r"|\b(?:is|are|was|were) (?:too (?:long|large|big)|over)\b|\btoo (?:long|large|big) for\b"
    r"|\bmust (?:not exceed|(?:be|have) (?:less|smaller|lower|shorter|fewer|no more) than|be at most)\b"
    r"|\b(?:does not|doesn't|do not|don't|will not|won't|cannot|can't) fit\b|\bmore than\b|\bover the\b"
    r"|>=? ?(?:the )?(?:max|limit|context|n_ctx|(?=\d))"
)
_UNKNOWN = re.compile(
    rf"(?:{_PROMPT}).{{0,80}}?(?:{_EXCEEDS})"
    rf"|(?:{_EXCEEDS}).{{0,40}}?\bmax(?:imum)? (?:number of )?(?:input |prompt |context )?tokens\b",
    re.IGNORECASE,
)
_IN_TOKENS = re.compile(r"token|context (?:window|length|size|limit)|\bseq|length|max_model_len|n_ctx", re.IGNORECASE)
_NO_ROOM = re.compile(r"max_(?:completion_)?tokens must be at least 1, got -\d", re.IGNORECASE)
"""How vLLM says that the prompt leaves no room for an answer."""
_ABOUT_THE_ANSWER = re.compile(r"max_?(?:new_?|output_?|completion_?)?tokens|num_predict", re.IGNORECASE)
_ABOUT_OTHER_THINGS = re.compile(
    r"deadline|\brate\b|quota|per[ -](?:minute|second|day|hour)|\btp[md]\b|schema|array|string|character|\bbytes?\b"
    r"|\b[km]i?b\b|image|pixel|stop sequence|\bnames?\b|header|timeout|latency|output|completion|budget|batch|embedding"
    r"|\bids?\b",
    re.IGNORECASE,
)
_SENTENCE_END = re.compile(r"[.;!]\s|\n|[\u3002\uff1b]")
_PROMPT_NUMBER = re.compile(
    rf"(?:{_PROMPT}){_TO_NUMBER}(?P<before>{_N})|(?P<behind>{_N}) (?:prompt |input )?(?:tokens )?"
    r"(?:in|of|from) (?:the |your )?(?:prompt|input|messages|request)",
    re.IGNORECASE,
)
_WINDOW_NUMBER = re.compile(
    rf"(?:{_EXCEEDS}|\b(?:limit|maximum|max\w*|allowed|only|up to|at most|window|n_ctx)\b){_TO_NUMBER}(?P<window>{_N})",
    re.IGNORECASE,
)


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
    if _NO_ROOM.search(sentence):
        return OverflowNumbers()
    if _ABOUT_THE_ANSWER.search(sentence):
        return None
    is_unknown = _UNKNOWN.search(sentence) and _IN_TOKENS.search(sentence) and not _ABOUT_OTHER_THINGS.search(sentence)
    if not _KNOWN.search(sentence) and not is_unknown:
        return None
    prompt = _PROMPT_NUMBER.search(sentence)
    if prompt is None:
        return OverflowNumbers()
    prompt_tokens = _tokens(prompt["before"] or prompt["behind"])
    windows = (_tokens(window["window"]) for window in _WINDOW_NUMBER.finditer(sentence))
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
