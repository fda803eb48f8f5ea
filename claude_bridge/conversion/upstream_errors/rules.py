"""What the errors of engines mean, row by row: how each is worded, what the client gets, and what to do about it."""

from __future__ import annotations

import re
from collections.abc import Iterable

from msgspec import Struct

REFUSED_STATUS = 424
"""Failed Dependency: an engine refused what it was sent, and would refuse it again.

Claude Code 2.1.330 sends a request that got 400 or 422 up to six times, with one feature less each time; 403 it calls
a failed login, 404 a wrong model, 413 too many images, and to 5xx it adds that it is temporary. After 424 it shows the
words as they are and stops, and so do the SDKs. Anthropic's documentation gives invalid_request_error for other 4xx.
"""

LOADING_STATUS, OVERLOADED_STATUS = 503, 529

IN_ANSWER = 0
"""In place of an HTTP status: the error came inside an answer, without a status."""


class Refusal(Struct, frozen=True, kw_only=True):
    """One error of engines: how it is worded, what the client gets, and the next step for the user.

    ``at`` are the HTTP statuses with which the words mean this, IN_ANSWER among them; None: any. ``advice`` may hold
    {model}, where ``words`` has a group of that name. ``should_retry`` None leaves it to the client.
    """

    words: re.Pattern[str]
    at: frozenset[int] | None = None
    status: int = REFUSED_STATUS
    error_type: str = "invalid_request_error"
    should_retry: bool | None = False
    advice: str = ""
    is_engine_failure: bool = False
    """Whether the engine broke down, whatever else stands in its words: old lines of its log may come along."""
    may_succeed_elsewhere: bool = False
    """Whether another model or account may serve the request, so that a fallback gets its turn."""


MAX_CHARS = 4_000
"""How much of an engine's words is looked at: some repeat the whole request behind them."""


def find_refusal(rows: Iterable[Refusal], status: int | None, words: str) -> tuple[Refusal, str] | None:
    """Return the first row that fits, with its advice; ``status`` None: the error came inside an answer."""
    words = words[:MAX_CHARS]
    for row in rows:
        if (row.at is None or (status or IN_ANSWER) in row.at) and (match := row.words.search(words)):
            return row, row.advice.format_map(match.groupdict())
    return None


def is_engine_failure(rows: Iterable[Refusal], status: int | None, words: str) -> bool:
    """Return whether the engine broke down, so that its words are no answer to the request."""
    return find_refusal((row for row in rows if row.is_engine_failure), status, words) is not None


def _words(*wordings: str) -> re.Pattern[str]:
    return re.compile("|".join(wordings), re.IGNORECASE)


_BROKEN = frozenset({IN_ANSWER, 498, 500, 501, 502, 503, 504, 529})

REFUSALS = (
    # --- whose bill, whose key --------------------------------------------------------------------------------
    Refusal(
        # OpenAI (429), xAI (403, 429), DeepSeek and OpenRouter (402), Fireworks (412): no waiting helps. Gemini's
        # "exceeded your current quota" is a limit of tokens a minute, and has no such code.
        words=_words(
            r"insufficient_quota",
            r"insufficient (?:balance|credits|funds)",
            r"used all available credits",
            r"doesn't have any credits",
            r"requires more credits",
            r"reach(?:ed|ing) (?:its|the|your) monthly spending limit",
            r"credit limit exceeded",
        ),
        status=402,
        error_type="billing_error",
        may_succeed_elsewhere=True,
        advice="The account at the provider has nothing left to spend.",
    ),
    Refusal(
        # Ollama's cloud, and subscriptions elsewhere: waiting some seconds does not help.
        words=_words(
            r"(?:hourly|daily|weekly|monthly|session) (?:[a-z]{1,20} ){0,2}(?:limit|quota|allowance|cap)\b",
            r"usage (?:limit|quota|cap)\b",
            r"\bper-day\b",
        ),
        at=frozenset({402, 403, 429}),
        status=429,
        error_type="rate_limit_error",
        may_succeed_elsewhere=True,
        advice="The plan's limit is used up: use another model until it resets, or a larger plan.",
    ),
    Refusal(
        # Gemini and xAI answer 400 to a wrong key.
        words=_words(r"API[ _]key not valid", r"API key expired", r"Incorrect API key", r"invalid[ _]api[ _]key"),
        at=frozenset({400, 403}),
        status=401,
        error_type="authentication_error",
    ),
    Refusal(
        words=_words(
            r"location is not supported",
            r"unsupported_country",
            r"country, region, or territory not supported",
            r"organization_restricted",
        ),
        at=frozenset({400, 403}),
        status=403,
        error_type="permission_error",
        may_succeed_elsewhere=True,
    ),
    # --- which model ------------------------------------------------------------------------------------------
    Refusal(
        # OpenRouter: the model is there, but nobody serves these options. As 404 the client would call it unknown.
        words=_words(r"no endpoints found that support", r"no endpoints found matching", r"no allowed providers"),
        may_succeed_elsewhere=True,
        advice="Choose another model, or other providers and privacy settings at OpenRouter.",
    ),
    Refusal(
        words=_words(r"no models? loaded", r"please load a model"),
        at=frozenset({400, 404}),
        advice="Load a model in LM Studio, or with: lms load",
    ),
    Refusal(
        words=_words(
            r"model_not_found",
            r"model_decommissioned",
            r"model_not_available",
            r"is not a valid model id",
            r"model not exist",
            r"invalid_model\b",
            r"no endpoints found for",
            r"model not found",
            r"the model [`'\"].{1,200}[`'\"] does not exist",
        ),
        at=frozenset({IN_ANSWER, 400, 404, 410, 422}),
        status=404,
        error_type="not_found_error",
        may_succeed_elsewhere=True,
    ),
    # --- what broke down --------------------------------------------------------------------------------------
    Refusal(
        # LM Studio reports it with 400 and the exit code of the process, Ollama with old lines of its runner's log.
        words=_words(
            r"model (?:has |was )?(?:crashed|unloaded)",
            r"(?:engine|runner|worker|server|model) process (?:has |was )?(?:crashed|died|exited|terminated|killed)",
            r"(?:runner|llama-server) (?:process )?(?:has )?(?:unexpectedly stopped|no longer running|terminated)",
            r"error was encountered while running the model",
            r"^\W{0,3}channel error\W{0,3}$",
        ),
        status=502,
        error_type="api_error",
        should_retry=None,
        is_engine_failure=True,
        advice="The engine's log says why; most often the memory did not suffice.",
    ),
    # --- what passes by itself --------------------------------------------------------------------------------
    Refusal(
        words=_words(r"loading model", r"model is (?:still )?loading", r"is currently loading", r"scaling[ _]up"),
        at=_BROKEN | {425, 429},
        status=LOADING_STATUS,
        error_type="overloaded_error",
        should_retry=None,
    ),
    Refusal(
        words=_words(
            r"overloaded",
            r"over capacity",
            r"capacity exceeded",
            r"too busy",
            r"queue is full",
            r"no (?:available )?slots?(?: available)?\b",
            r"maximum pending requests",
            r"resource_exhausted",
            r"slow_down",  # OpenAI
        ),
        at=_BROKEN,
        status=OVERLOADED_STATUS,
        error_type="overloaded_error",
        should_retry=None,
    ),
    Refusal(
        # What the model wrote made no sense to the engine; it may write something else the next time.
        words=_words(r"tool_use_failed", r"failed to parse input at pos", r"failed to parse tool call"),
        status=502,
        error_type="api_error",
        should_retry=None,
        advice="The engine could not read the model's own tool call.",
    ),
    # --- OpenAI's codes inside an answer, where no status says it ---------------------------------------------
    Refusal(
        words=_words(r"rate_limit_exceeded", r"rate limit (?:reached|exceeded)", r"too_many_requests"),
        at=frozenset({IN_ANSWER}),
        status=429,
        error_type="rate_limit_error",
        should_retry=None,
    ),
    Refusal(
        # openai/types/responses/response_error.py, Azure's content_filter
        words=_words(
            r"\b(?:invalid_prompt|bio_policy|cyber_policy|misalignment_policy_violation|content_policy_violation)\b",
            r"\bimage_content_policy_violation\b",
            r"\bcontent_filter\b",
        ),
        at=frozenset({IN_ANSWER, 400}),
        advice="The provider's policy does not allow this prompt.",
    ),
    Refusal(
        words=_words(
            r"\binvalid_(?:base64_)?image\w*",
            r"\binvalid_base64_image\b",
            r"\bimage_(?:too_large|too_small|parse_error|file_too_large|file_not_found)\b",
            r"\b(?:unsupported_image_media_type|failed_to_download_image|empty_image_file)\b",
        ),
        at=frozenset({IN_ANSWER, 400}),
        advice="The provider can't use an image of the conversation.",
    ),
    Refusal(
        words=_words(r"\bdata_residency_mismatch\b", r"\bpermission_denied\b"),
        at=frozenset({IN_ANSWER, 400}),
        status=403,
        error_type="permission_error",
        may_succeed_elsewhere=True,
    ),
    Refusal(
        words=_words(r"\(?\b(?:invalid_encrypted_content|unsupported_value|unsupported_parameter)\b"),
        at=frozenset({IN_ANSWER}),
    ),
    Refusal(words=_words(r"\(invalid_request_error\)"), at=frozenset({IN_ANSWER})),
    # --- how the engine was started ---------------------------------------------------------------------------
    Refusal(
        words=_words(r"--enable-auto-tool-choice", r"--tool-call-parser"),
        advice="Start vLLM with --enable-auto-tool-choice and the --tool-call-parser of the model.",
    ),
    Refusal(words=_words(r"requires? --jinja", r"with `?--jinja"), advice="Start llama.cpp's server with --jinja."),
    Refusal(
        words=_words(
            r"image input is not supported",
            r"is not a multimodal model",
            r"at most 0 image",
            r"does not support image",
            r"support image input",
            r"does not support vision",
        ),
        advice="The model can't see images: leave them out, or choose one that can.",
    ),
    Refusal(
        words=_words(
            # llama.cpp, LM Studio
            r"failed to (?:parse|initialize) (?:grammar|samplers)",
            r"error parsing grammar",
            r"JSON schema (?:error at|conversion failed)",
            r"json[-_]schema[-_]to[-_]grammar",
            # vLLM and SGLang with xgrammar, guidance or outlines
            r"schema contains features not supported by",
            r"(?:compile|convert|build) (?:the |json )?(?:grammar|schema)",
            r"grammar (?:error|compilation)",
            r"(?:invalid|unsupported) (?:json )?(?:schema|grammar)",
            r"grammar .{0,80}(?:invalid|too complex)",
        ),
        advice="A schema is more than the engine's grammar can take.",
    ),
    Refusal(
        words=_words(r"system message must be at the beginning", r"roles must alternate", r"raise_exception", r"jinja"),
        advice="The model's chat template does not take this conversation: update the engine, or give it another one.",
    ),
    Refusal(
        words=_words(
            r"max(?:_completion|_new)?_tokens['\"`]?(?: or '\w+')? (?:is too large|value)",
            r"invalid max_tokens",
            r"max_tokens.{0,60}(?:less than or equal|at most|exceeds)",
        ),
        advice="Give the bridge the model's limit: --max-tokens N",
    ),
    Refusal(
        # vLLM answers nothing any more until it is started again.
        words=_words(r"EngineCore encountered", r"EngineDeadError", r"engine (?:loop |process )?(?:is dead|has died)"),
        status=502,
        error_type="api_error",
        advice="The engine has died: its log says why. Start it again.",
    ),
    Refusal(
        words=_words(r"out of memory", r"cuda error", r"insufficient system resources", r"requires more system memory"),
        status=502,
        error_type="api_error",
        advice="The engine's memory did not suffice: take a smaller window or a smaller model.",
    ),
    Refusal(
        words=_words(
            r"failed to load (?:the )?model", r"error loading model", r"model loading (?:was )?(?:aborted|failed)"
        ),
        status=502,
        error_type="api_error",
        advice="The engine can't load the model: its log says why. Use a smaller model or window.",
    ),
)
"""Every engine's own words that mean something else than their status, or for which there is advice; first fit wins."""
