"""How engines say that a prompt is too long for them: each wording, with the numbers in it."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from msgspec import Struct

from claude_bridge.errors import PromptTooLongError

MAX_CHARS = 4_000
"""How much of an engine's words is looked at: some repeat the whole request behind them."""

_N = r"\d[\d,_]{0,14}(?:\.\d{3}(?!\d))?[kK]?\b"
_GAP = r".{0,300}?"
_TO_NUMBER = r"\D{0,40}?"

# Groups: prompt tokens and window, where they are given.
_WORDINGS = [
    # llama.cpp: "request (9031 tokens) exceeds the available context size (8192 tokens), try increasing it"
    rf"request \((?P<prompt>{_N}) tokens\) exceeds the available context size \((?P<window>{_N}) tokens\)",
    # OpenAI, vLLM, DeepSeek: "maximum context length is 8192 tokens. However, you requested 9000 tokens (8500 in the
    # messages, 500 in the completion)"
    rf"maximum context length is (?P<window>{_N}) tokens?{_GAP}\((?P<prompt>{_N}) in the messages",
    # OpenRouter: "maximum context length is 8192 tokens. However, you requested about 9000 tokens (8000 of text input,
    # 500 of tool input, 500 in the output)"
    (
        rf"maximum context length is (?P<window>{_N}) tokens?{_GAP}\((?P<prompt>{_N}) of text input"
        rf"(?:, (?P<more>{_N}) of tool input)?"
    ),
    # vLLM since 0.11: "… However, you requested 500 output tokens and your prompt contains at least 8000 input tokens"
    rf"maximum context length is (?P<window>{_N}) tokens?{_GAP}prompt contains (?:at least )?(?P<prompt>{_N})",
    # SGLang: "… You requested a total of 9000 tokens: 8000 tokens from the input messages and 1000 tokens for the …"
    rf"maximum context length of (?P<window>{_N}) tokens?{_GAP}(?P<prompt>{_N}) tokens from the input messages",
    # OpenAI, vLLM, OpenRouter: "maximum context length is 8192 tokens. However, you requested about 9000 tokens"
    rf"maximum context length is (?P<window>{_N}) tokens?{_GAP}(?P<prompt>{_N}) (?:input )?tokens",
    # OpenAI: "Input tokens exceed the configured limit of 272000 tokens. Your messages resulted in 300000 tokens."
    rf"exceed the configured limit of (?P<window>{_N}) tokens{_GAP}resulted in (?P<prompt>{_N}) tokens",
    # OpenAI with 429, Groq with 413: more than a minute's tokens in one request, which no waiting makes smaller
    rf"request too large for {_GAP}limit (?P<window>{_N}), requested (?P<prompt>{_N})",
    # vLLM: "The decoder prompt (length 9000) is longer than the maximum model length of 8192"
    rf"prompt \(length (?P<prompt>{_N})\) is longer than the maximum model length of (?P<window>{_N})",
    # SGLang, Together: "The input (9000 tokens) is longer than the model's context length (8192 tokens)."
    rf"input \((?P<prompt>{_N}) tokens\) is longer than the model's context length \((?P<window>{_N}) tokens\)",
    # SGLang: "Input length 131393 exceeds the maximum allowed input length of 131040 tokens."
    rf"input length (?P<prompt>{_N}) exceeds the maximum allowed (?:input )?length \(?(?:of )?(?P<window>{_N})",
    # Gemini: "The input token count (9000) exceeds the maximum number of tokens allowed (8192)"
    rf"input token count \(?(?P<prompt>{_N})\)? exceeds the maximum number of tokens allowed \(?(?P<window>{_N})",
    # Mistral: "Prompt contains 40000 tokens and 0 draft tokens, too large for model with 32768 maximum context length"
    rf"prompt contains (?P<prompt>{_N}) tokens{_GAP}too large for model with (?P<window>{_N})",
    # Fireworks: "The prompt is too long: 203557, model maximum context length: 196607"
    rf"prompt is too long: (?P<prompt>{_N}), model maximum context length: (?P<window>{_N})",
    # Docker's model runner: "Prompt has 9,000 tokens, but the configured context size is 8,192 tokens"
    rf"prompt has (?P<prompt>{_N}) tokens, but the configured context size is (?P<window>{_N})",
    # LM Studio: "Trying to keep the first 9000 tokens when context the overflows. However, the model is loaded with
    # context length of only 4096 tokens"
    rf"keep the first (?P<prompt>{_N}) tokens{_GAP}context length of only (?P<window>{_N}) tokens",
    # LM Studio, older llama.cpp: "Cannot truncate prompt with n_keep (9000) >= n_ctx (4096)"
    rf"n_keep \((?P<prompt>{_N})\) >= n_ctx \((?P<window>{_N})\)",
    # xAI: "This model's maximum prompt length is 131072 but the request contains 150000 tokens."
    rf"maximum prompt length is (?P<window>{_N}) but the request contains (?P<prompt>{_N}) tokens",
    # Text Generation Inference: "`inputs` tokens + `max_new_tokens` must be <= 4096. Given: 5000 `inputs` tokens and …"
    rf"`max_new_tokens` must be <= (?P<window>{_N})\. Given: (?P<prompt>{_N}) `inputs` tokens",
    rf"`inputs` must have less than (?P<window>{_N}) tokens\. Given: (?P<prompt>{_N})",
    # Moonshot: "Your request exceeded model token limit: 131072 (requested: 200000)"
    rf"exceeded model token limit: (?P<window>{_N}) \(requested: (?P<prompt>{_N})\)",
    # Anthropic
    rf"prompt is too long: (?P<prompt>{_N}) tokens > (?P<window>{_N})",
    # Anthropic: "input length and `max_tokens` exceed context limit: 188240 + 21333 > 200000"; others spell it out
    (
        rf"(?P<prompt>{_N}){_TO_NUMBER}\+{_TO_NUMBER}{_N}{_TO_NUMBER}"
        rf"(?:>|exceed|(?:greater|larger|more) than){_TO_NUMBER}(?P<window>{_N})"
    ),
]


@cache
def _numbered() -> list[re.Pattern[str]]:
    """Return the wordings as patterns: compiled at the first refusal, as that takes 4 ms of each start."""
    return [re.compile(wording, re.IGNORECASE | re.DOTALL) for wording in _WORDINGS]


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
