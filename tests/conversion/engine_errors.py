# ruff: noqa: E501 - what engines say is not cut
"""What engines say when they refuse, word for word, and what the client must be told: one row for each.

Sources are the engines' own code, their documentation, and the threads of those who met them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

TOO_LONG = "prompt is too long"
"""The words that make Claude Code compact."""


class Row(Struct, frozen=True):
    """One refusal: who says it, the HTTP status and body; then our status, type, a part of the message, and retrying.

    ``should_retry`` and ``retry_after_s`` are what the headers of the same name tell the client; None: no header.
    """

    engine: str
    what: str
    status: int
    body: Any
    reported: int
    error_type: str
    words: str
    should_retry: bool | None = False
    retry_after_s: float | None = None
    headers: Mapping[str, str] = {}


def openai_error(message: str, code: object = None, type: str = "invalid_request_error", **more: object) -> Any:  # noqa: A002 - OpenAI's own word
    return {"error": {"message": message, "type": type, "param": None, "code": code} | more}


def _gemini(code: int, status: str, message: str, **more: object) -> Any:
    return [{"error": {"code": code, "message": message, "status": status, **more}}]


REFUSED, AUTH, BILLING = (424, "invalid_request_error"), (401, "authentication_error"), (402, "billing_error")
DENIED, UNKNOWN, RATE = (403, "permission_error"), (404, "not_found_error"), (429, "rate_limit_error")
BROKEN, BUSY, LOADING = (502, "api_error"), (529, "overloaded_error"), (503, "overloaded_error")
LONG = (400, "invalid_request_error")

ROWS = (
    # --- OpenAI -----------------------------------------------------------------------------------------------
    Row(
        "OpenAI", "wrong key", 401,
        openai_error("Incorrect API key provided: sk-abc***wxyz. You can find your API key at …", "invalid_api_key"),
        *AUTH, "Incorrect API key provided: [key removed]",
    ),
    Row(
        "OpenAI", "nothing left to spend", 429,
        openai_error(
            "You exceeded your current quota, please check your plan and billing details.",
            "insufficient_quota", "insufficient_quota",
        ),
        *BILLING, "nothing left to spend",
    ),
    Row(
        "OpenAI", "too many tokens a minute", 429,
        openai_error(
            "Rate limit reached for gpt-5 in organization org-x on tokens per min (TPM): Limit 30000, Used 29000, "
            "Requested 2000. Please try again in 6m0s.", "rate_limit_exceeded", "tokens",
        ),
        *RATE, "Rate limit reached", None, 360.0,
    ),
    Row(
        "OpenAI", "a header says when", 429,
        openai_error("Rate limit reached. Please try again in 320ms.", "rate_limit_exceeded", "requests"),
        *RATE, "Rate limit reached", None, 7.0, {"retry-after": "7"},
    ),
    Row(
        "OpenAI", "one request is more than a minute's tokens", 429,
        openai_error(
            "Request too large for gpt-5 in organization org-x on tokens per min (TPM): Limit 30000, Requested 41000. "
            "The input or output tokens must be reduced in order to run successfully.", "rate_limit_exceeded", "tokens",
        ),
        *LONG, f"{TOO_LONG}: 41000 tokens > 30000 maximum", None,
    ),
    Row(
        "OpenAI", "unknown model", 404,
        openai_error("The model `gpt-9` does not exist or you do not have access to it.", "model_not_found"),
        *UNKNOWN, "gpt-9",
    ),
    Row(
        "OpenAI", "country", 403,
        openai_error("Country, region, or territory not supported", "unsupported_country_region_territory"),
        *DENIED, "Country",
    ),
    Row(
        "OpenAI", "long prompt", 400,
        openai_error(
            "This model's maximum context length is 128000 tokens. However, your messages resulted in 140000 tokens. "
            "Please reduce the length of the messages.", "context_length_exceeded",
        ),
        *LONG, f"{TOO_LONG}: 140000 tokens > 128000 maximum", None,
    ),
    Row(
        "OpenAI", "long prompt, newer words", 400,
        openai_error(
            "Input tokens exceed the configured limit of 272000 tokens. Your messages resulted in 300000 tokens. "
            "Please reduce the length of the messages.", "context_length_exceeded",
        ),
        *LONG, f"{TOO_LONG}: 300000 tokens > 272000 maximum", None,
    ),
    Row(
        "OpenAI", "limit on the answer", 400,
        openai_error(
            "max_tokens is too large: 32000. This model supports at most 16384 completion tokens, whereas you provided "
            "32000.", "invalid_value", param="max_tokens",
        ),
        *REFUSED, "--max-tokens",
    ),
    Row(
        "OpenAI", "a field that the bridge chose", 400,
        openai_error(
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' "
            "instead.", "unsupported_parameter", param="max_tokens",
        ),
        *REFUSED, "Use 'max_completion_tokens' instead.",
    ),
    Row(
        "OpenAI", "a field that the client chose", 400,
        openai_error(
            "Unsupported value: 'temperature' does not support 0.5 with this model.", "unsupported_value",
            param="temperature",
        ),
        400, "invalid_request_error", "'temperature' does not support 0.5", None,
    ),
    Row(
        "OpenAI", "trouble", 500,
        openai_error("The server had an error while processing your request. Sorry about that!", type="server_error"),
        *BROKEN, "had an error", None,
    ),
    Row(
        "OpenAI", "overloaded", 503,
        openai_error("The engine is currently overloaded, please try again later", type="server_error"),
        *BUSY, "overloaded", None, 2.0,
    ),
    # --- OpenRouter -------------------------------------------------------------------------------------------
    Row("OpenRouter", "no key", 401, {"error": {"message": "No auth credentials found", "code": 401}}, *AUTH, "No auth"),
    Row(
        "OpenRouter", "no credits", 402,
        {"error": {"message": "Insufficient credits. Add more using https://openrouter.ai/settings/credits", "code": 402}},
        *BILLING, "Insufficient credits",
    ),
    Row(
        "OpenRouter", "not enough credits for so long an answer", 402,
        {"error": {"message": "This request requires more credits, or fewer max_tokens. You requested up to 32000 "
                              "tokens, but can only afford 1234.", "code": 402}},
        *BILLING, "can only afford 1234",
    ),
    Row(
        "OpenRouter", "flagged", 403,
        {"error": {"message": "openai/gpt-5 requires moderation on OpenAI. Your input was flagged for \"violence\"",
                   "code": 403, "metadata": {"reasons": ["violence"], "flagged_input": "…"}}},
        *DENIED, "flagged",
    ),
    Row(
        "OpenRouter", "unknown model", 400,
        {"error": {"message": "foo/bar is not a valid model ID", "code": 400}}, *UNKNOWN, "foo/bar",
    ),
    Row(
        "OpenRouter", "nobody serves the model", 404,
        {"error": {"message": "No endpoints found for foo/bar.", "code": 404}}, *UNKNOWN, "foo/bar",
    ),
    Row(
        "OpenRouter", "nobody serves the model with tools", 404,
        {"error": {"message": "No endpoints found that support tool use. To learn more about provider routing, visit: …",
                   "code": 404}},
        *REFUSED, "Choose another model",
    ),
    Row(
        "OpenRouter", "privacy settings", 404,
        {"error": {"message": "No endpoints found matching your data policy (Free model publication).", "code": 404}},
        *REFUSED, "privacy settings",
    ),
    Row(
        "OpenRouter", "the free requests of a day", 429,
        {"error": {"message": "Rate limit exceeded: free-models-per-day. Add 10 credits to unlock 1000 free model requests "
                              "per day", "code": 429}},
        *RATE, "free-models-per-day", False,
    ),
    Row(
        "OpenRouter", "the provider's limit", 429,
        {"error": {"message": "Provider returned error", "code": 429,
                   "metadata": {"raw": "qwen/qwen3:free is temporarily rate-limited upstream. Please retry shortly.",
                                "provider_name": "Chutes"}}},
        *RATE, "temporarily rate-limited upstream", None,
    ),
    Row(
        "OpenRouter", "a provider broke", 502,
        {"error": {"message": "Provider returned error", "code": 502, "metadata": {"raw": "upstream connect error"}}},
        *BROKEN, "upstream connect error", None,
    ),
    Row(
        "OpenRouter", "no provider", 503,
        {"error": {"message": "There is no available model provider that meets your routing requirements", "code": 503}},
        *BUSY, "no available model provider", None, 2.0,
    ),
    Row("OpenRouter", "timed out", 408, {"error": {"message": "Your request timed out", "code": 408}}, 504,
        "timeout_error", "timed out", None),
    Row(
        "OpenRouter", "long prompt", 400,
        {"error": {"message": "This endpoint's maximum context length is 131072 tokens. However, you requested about "
                              "163072 tokens (120000 of text input, 11072 of tool input, 32000 in the output).",
                   "code": 400}},
        *LONG, f"{TOO_LONG}: 131073 tokens > 131072 maximum", None,
    ),
    # --- Groq -------------------------------------------------------------------------------------------------
    Row(
        "Groq", "one request is more than a minute's tokens", 413,
        openai_error(
            "Request too large for model `openai/gpt-oss-120b` in organization `org_x` service tier `on_demand` on "
            "tokens per minute (TPM): Limit 8000, Requested 19160, please reduce your message size and try again.",
            "rate_limit_exceeded", "tokens",
        ),
        *LONG, f"{TOO_LONG}: 19160 tokens > 8000 maximum", None,
    ),
    Row(
        "Groq", "too many tokens a minute", 429,
        openai_error(
            "Rate limit reached for model `llama-3.3-70b-versatile` in organization `org_x` on tokens per minute "
            "(TPM): Limit 12000, Used 11900, Requested 3000. Please try again in 14.5s. Need more tokens?",
            "rate_limit_exceeded", "tokens",
        ),
        *RATE, "Rate limit reached", None, 14.5,
    ),
    Row(
        "Groq", "the model's call makes no sense", 400,
        openai_error(
            "Failed to call a function. Please adjust your prompt. See 'failed_generation' for more details.",
            "tool_use_failed", failed_generation="<function=Bash{…",
        ),
        *BROKEN, "could not read the model's own tool call", None,
    ),
    Row(
        "Groq", "a model of yesterday", 400,
        openai_error("The model `mixtral-8x7b-32768` has been decommissioned …", "model_decommissioned"),
        *UNKNOWN, "decommissioned",
    ),
    Row(
        "Groq", "long prompt", 400,
        openai_error("Please reduce the length of the messages or completion.", "context_length_exceeded"),
        *LONG, TOO_LONG, None,
    ),
    Row("Groq", "flex tier", 498, openai_error("Flex tier capacity exceeded", "capacity_exceeded"), *BUSY, "Flex", None, 2.0),
    Row(
        "Groq", "restricted", 400,
        openai_error("Organization has been restricted. Please reach out to support.", "organization_restricted"),
        *DENIED, "restricted",
    ),
    # --- gateways and services that speak OpenAI's API ------------------------------------------------------------
    Row(
        "NVIDIA", "out of order for some minutes", 400,
        {"status": 400, "title": "Bad Request", "detail": "Function id '87ea': DEGRADED function cannot be invoked"},
        *BUSY, "use another one until it is back", None, 2.0,
    ),
    Row(
        "Cerebras", "too many tokens a minute", 429,
        {
            "message": "Tokens per minute limit exceeded - too many tokens processed.",
            "type": "too_many_tokens_error", "param": "quota", "code": "token_quota_exceeded",
        },
        *RATE, "Tokens per minute limit exceeded", None,
    ),
    Row(
        "GitHub Models", "long prompt", 413,
        openai_error("Request body too large for gpt-4o-mini model. Max size: 8000 tokens.", "tokens_limit_reached"),
        *LONG, TOO_LONG, None,
    ),
    Row(
        "GitHub Models", "the day's requests are used up", 429,
        openai_error(
            "Rate limit of 50 per 86400s exceeded for UserByModelByDay. Please wait 41234 seconds before retrying.",
            "RateLimitReached",
        ),
        *RATE, "The plan's limit is used up",
    ),
    Row(
        "Copilot", "a model of the other API", 400,
        openai_error('model "gpt-5.5" is not accessible via the /chat/completions endpoint', "unsupported_api_for_model"),
        *REFUSED, "--api openai-responses",
    ),
    Row(
        "OpenAI", "a model of the other API", 404,
        openai_error("This model is only supported in v1/responses and not in v1/chat/completions."),
        *REFUSED, "--api openai-responses",
    ),
    Row(
        "MiniMax", "nothing left to spend", 400,
        {"id": "", "choices": None, "base_resp": {"status_code": 1008, "status_msg": "insufficient balance"}},
        *BILLING, "answered 400: insufficient balance. The account",
    ),
    Row(
        "Z.AI", "unknown model", 400,
        {"error": {"code": "1211", "message": "Unknown Model, please check the model code."}, "request_id": "x"},
        *UNKNOWN, "Unknown Model",
    ),
    # --- Gemini, OpenAI route -----------------------------------------------------------------------------------
    Row(
        "Gemini", "wrong key", 400,
        _gemini(400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key.",
                details=[{"reason": "API_KEY_INVALID"}]),
        *AUTH, "API key not valid",
    ),
    Row(
        "Gemini", "too many tokens a minute", 429,
        _gemini(429, "RESOURCE_EXHAUSTED", "You exceeded your current quota, please check your plan and billing "
                "details. \n* Quota exceeded for metric: …_free_tier_input_token_count, limit: 250000\n"
                "Please retry in 22.03s."),
        *RATE, "You exceeded your current quota", None, 22.03,
    ),
    Row(
        "Gemini", "a field says when", 429,
        _gemini(429, "RESOURCE_EXHAUSTED", "You exceeded your current quota.", details=[
            {"@type": "type.googleapis.com/google.rpc.Help"},
            {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "39s"},
        ]),
        *RATE, "You exceeded your current quota", None, 39.0,
    ),
    Row(
        "Gemini", "unknown model", 404,
        _gemini(404, "NOT_FOUND", "models/foo is not found for API version v1main"), *UNKNOWN, "models/foo",
    ),
    Row(
        "Gemini", "overloaded", 503,
        _gemini(503, "UNAVAILABLE", "The model is overloaded. Please try again later."), *BUSY, "overloaded", None, 2.0,
    ),
    Row(
        "Gemini", "country", 400,
        _gemini(400, "FAILED_PRECONDITION", "User location is not supported for the API use."), *DENIED, "location",
    ),
    Row(
        "Gemini", "long prompt", 400,
        _gemini(400, "INVALID_ARGUMENT", "The input token count (1200000) exceeds the maximum number of tokens allowed "
                "(1048576)."),
        *LONG, f"{TOO_LONG}: 1200000 tokens > 1048576 maximum", None,
    ),
    Row("Gemini", "trouble", 500, _gemini(500, "INTERNAL", "An internal error has occurred."), *BROKEN, "internal", None),
    # --- DeepSeek -----------------------------------------------------------------------------------------------
    Row(
        "DeepSeek", "wrong key", 401,
        openai_error("Authentication Fails, Your api key: ****abcd is invalid", "invalid_request_error",
                     "authentication_error"),
        *AUTH, "Authentication Fails",
    ),
    Row("DeepSeek", "no balance", 402, openai_error("Insufficient Balance", "invalid_request_error"), *BILLING, "Balance"),
    Row("DeepSeek", "unknown model", 400, openai_error("Model Not Exist", "invalid_request_error"), *UNKNOWN, "Not Exist"),
    Row(
        "DeepSeek", "limit on the answer", 400,
        openai_error("Invalid max_tokens value, the valid range of max_tokens is [1, 8192]", "invalid_request_error"),
        *REFUSED, "--max-tokens",
    ),
    Row(
        "DeepSeek", "too busy", 503,
        openai_error("Service is too busy. We advise users to temporarily switch to alternative LLM API service "
                     "providers.", "service_unavailable_error"),
        *BUSY, "too busy", None, 2.0,
    ),
    Row(
        "DeepSeek", "no JSON that it knows", 422,
        b"Failed to deserialize the JSON body into the target type: messages[3]: unknown variant `image_url`",
        *REFUSED, "unknown variant `image_url`",
    ),
    # --- Mistral ------------------------------------------------------------------------------------------------
    Row("Mistral", "wrong key", 401, {"detail": "Unauthorized"}, *AUTH, "Unauthorized"),
    Row(
        "Mistral", "unknown model", 400,
        {"object": "error", "message": "Invalid model: foo", "type": "invalid_model", "param": None, "code": "1500"},
        *UNKNOWN, "Invalid model: foo",
    ),
    Row(
        "Mistral", "long prompt", 400,
        {"object": "error", "message": "Prompt contains 40687 tokens and 0 draft tokens, too large for model with 32768 "
                                       "maximum context length", "type": "invalid_request_invalid_args", "code": "3051"},
        *LONG, f"{TOO_LONG}: 40687 tokens > 32768 maximum", None,
    ),
    Row(
        "Mistral", "order of roles", 400,
        {"object": "error", "message": "Expected last role User or Tool (or Assistant with prefix True) for serving but "
                                       "got assistant", "type": "invalid_request_message_order", "code": "3230"},
        *REFUSED, "Expected last role",
    ),
    Row(
        "Mistral", "an unknown field", 422,
        {"object": "error", "message": {"detail": [{"type": "extra_forbidden", "loc": ["body", "top_k"]}]},
         "type": "invalid_request_error"},
        *REFUSED, "extra_forbidden",
    ),
    Row("Mistral", "too many requests", 429, {"message": "Requests rate limit exceeded"}, *RATE, "rate limit", None),
    Row(
        "Mistral", "capacity", 429,
        {"object": "error", "message": "Service tier capacity exceeded for this model.",
         "type": "service_tier_capacity_exceeded", "code": "3505"},
        *RATE, "capacity exceeded", None,
    ),
    # --- Together, Fireworks, xAI -------------------------------------------------------------------------------
    Row(
        "Together", "wrong key", 401,
        openai_error("Invalid API key provided. You can find your API key at …", "invalid_api_key"), *AUTH, "Invalid API",
    ),
    Row(
        "Together", "unknown model", 404,
        openai_error("Unable to access model foo. Please visit …", "model_not_available"), *UNKNOWN, "foo",
    ),
    Row(
        "Together", "long prompt", 422,
        openai_error("Input validation error: `inputs` tokens + `max_new_tokens` must be <= 8193. Given: 9000 `inputs` "
                     "tokens and 32000 `max_new_tokens`"),
        *LONG, f"{TOO_LONG}: 9000 tokens > 8193 maximum", None,
    ),
    Row(
        "Together", "not ready", 503,
        openai_error("The server is overloaded or not ready yet", type="service_unavailable"), *BUSY, "not ready", None, 2.0,
    ),
    Row(
        "Fireworks", "long prompt", 400,
        {"error": {"object": "error", "type": "invalid_request_error", "code": "invalid_request_error",
                   "message": "The prompt is too long: 203557, model maximum context length: 196607"}},
        *LONG, f"{TOO_LONG}: 203557 tokens > 196607 maximum", None,
    ),
    Row(
        "Fireworks", "not paid", 412,
        {"error": {"message": "Account x is suspended, possibly due to reaching the monthly spending limit or failure "
                              "to pay past invoices.", "code": "PRECONDITION_FAILED"}},
        *BILLING, "suspended",
    ),
    Row(
        "Fireworks", "unknown model", 404,
        {"error": {"message": "Model not found, inaccessible, and/or not deployed", "code": "NOT_FOUND"}},
        *UNKNOWN, "not deployed",
    ),
    Row(
        "Fireworks", "wakes up", 503,
        {"error": {"message": "The deployment is scaling up from zero, please retry", "code": "DEPLOYMENT_SCALING_UP"}},
        *LOADING, "still loading", None, 2.0,
    ),
    Row(
        "xAI", "wrong key", 400,
        {"code": "Client specified an invalid argument", "error": "Incorrect API key provided: xa***bc."},
        *AUTH, "Incorrect API key",
    ),
    Row(
        "xAI", "no credits", 403,
        {"code": "permission-denied", "error": "Your newly created team doesn't have any credits or licenses yet. You "
                                               "can purchase those on https://console.x.ai/team/x."},
        *BILLING, "doesn't have any credits",
    ),
    Row(
        "xAI", "spent", 429,
        {"code": "Some resource has been exhausted", "error": "Your team x has either used all available credits or "
                                                              "reached its monthly spending limit."},
        *BILLING, "nothing left to spend",
    ),
    Row(
        "xAI", "unknown model", 404,
        {"code": "Some requested entity was not found", "error": "The model grok-9 does not exist or your team x does "
                                                                 "not have access to it."},
        *UNKNOWN, "grok-9",
    ),
    Row(
        "xAI", "long prompt", 400,
        {"code": "Client specified an invalid argument",
         "error": "This model's maximum prompt length is 131072 but the request contains 150000 tokens."},
        *LONG, f"{TOO_LONG}: 150000 tokens > 131072 maximum", None,
    ),
    # --- llama.cpp ----------------------------------------------------------------------------------------------
    Row(
        "llama.cpp", "the model's call makes no sense", 500,
        {"error": {
            "code": 500, "type": "server_error",
            "message": "The model produced output that does not match the expected peg-native format",
        }},
        *BROKEN, "could not read the model's own tool call", None,
    ),
    Row(
        "llama.cpp", "loading", 503,
        {"error": {"message": "Loading model", "type": "unavailable_error", "code": 503}},
        *LOADING, "still loading", None, 2.0,
    ),
    Row(
        "llama.cpp", "long prompt", 400,
        {"error": {"code": 400, "message": "request (9031 tokens) exceeds the available context size (8192 tokens), try "
                                           "increasing it", "type": "exceed_context_size_error",
                   "n_prompt_tokens": 9031, "n_ctx": 8192}},
        *LONG, f"{TOO_LONG}: 9031 tokens > 8192 maximum", None,
    ),
    Row(
        "llama.cpp", "long prompt, older words", 400,
        {"error": {"code": 400, "message": "the request exceeds the available context size. try increasing the context "
                                           "size or enable context shift", "type": "invalid_request_error"}},
        *LONG, TOO_LONG, None,
    ),
    Row(
        "llama.cpp", "wrong key", 401,
        {"error": {"code": 401, "message": "Invalid API Key", "type": "authentication_error"}}, *AUTH, "Invalid API Key",
    ),
    Row(
        "llama.cpp", "grammar", 400,
        {"error": {"code": 400, "message": "Failed to initialize samplers: failed to parse grammar",
                   "type": "invalid_request_error"}},
        *REFUSED, "more than the engine's grammar can take",
    ),
    Row(
        "llama.cpp", "no --jinja", 500,
        {"error": {"code": 500, "message": "tools param requires --jinja flag", "type": "server_error"}},
        *REFUSED, "Start llama.cpp's server with --jinja",
    ),
    Row(
        "llama.cpp", "strict template", 500,
        {"error": {"code": 500, "message": "Jinja Exception: System message must be at the beginning.",
                   "type": "server_error"}},
        *REFUSED, "chat template",
    ),
    Row(
        "llama.cpp", "no eyes", 500,
        {"error": {"code": 500, "message": "image input is not supported - hint: if this is unexpected, you may need to "
                                           "provide the mmproj", "type": "server_error"}},
        *REFUSED, "can't see images",
    ),
    Row(
        "llama.cpp", "the model's call makes no sense", 500,
        {"error": {"code": 500, "message": "Failed to parse input at pos 12: <tool_call>", "type": "server_error"}},
        *BROKEN, "could not read the model's own tool call", None,
    ),
    Row(
        "llama.cpp", "all slots taken", 503,
        {"error": {"code": 503, "message": "no slot available", "type": "unavailable_error"}},
        *BUSY, "no slot", None, 2.0,
    ),
    Row(
        "llama.cpp", "trouble", 500,
        {"error": {"code": 500, "message": "Compute error.", "type": "server_error"}}, *BROKEN, "Compute error", None,
    ),
    # --- vLLM, SGLang, Text Generation Inference ------------------------------------------------------------------
    Row(
        "vLLM", "unknown model", 404,
        {"error": {"message": "The model `x` does not exist.", "type": "NotFoundError", "param": "model", "code": 404}},
        *UNKNOWN, "`x`",
    ),
    Row("vLLM", "wrong key", 401, {"error": "Unauthorized"}, *AUTH, "Unauthorized"),
    Row(
        "vLLM", "long prompt", 400,
        {"error": {"message": "This model's maximum context length is 8192 tokens. However, your request has 9000 input "
                              "tokens. Please reduce the length of the input messages. (parameter=input_tokens, "
                              "value=9000)", "type": "BadRequestError", "param": "input_tokens", "code": 400}},
        *LONG, f"{TOO_LONG}: 9000 tokens > 8192 maximum", None,
    ),
    Row(
        "vLLM", "prompt and answer together", 400,
        {"error": {"message": "This model's maximum context length is 32768 tokens. However, you requested 8000 output "
                              "tokens and your prompt contains at least 24769 input tokens, for a total of at least "
                              "32769 tokens.", "type": "BadRequestError", "code": 400}},
        *LONG, f"{TOO_LONG}: 32769 tokens > 32768 maximum", None,
    ),
    Row(
        "vLLM", "only the answer is too long", 400,
        {"error": {"message": "'max_tokens' or 'max_completion_tokens' is too large: 32000. This model's maximum context "
                              "length is 32768 tokens and your request has 900 input tokens (32000 > 32768 - 900).",
                   "type": "BadRequestError", "code": 400}},
        *REFUSED, "--max-tokens",
    ),
    Row(
        "vLLM", "no tool parser", 400,
        {"error": {"message": "\"auto\" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set",
                   "type": "BadRequestError", "code": 400}},
        *REFUSED, "Start vLLM with",
    ),
    Row(
        "vLLM", "no eyes", 400,
        {"error": {"message": "At most 0 image(s) may be provided in one prompt.", "type": "BadRequestError", "code": 400}},
        *REFUSED, "can't see images",
    ),
    Row(
        "vLLM", "roles", 400,
        {"error": {"message": "Conversation roles must alternate user/assistant/user/assistant/...",
                   "type": "BadRequestError", "code": 400}},
        *REFUSED, "chat template",
    ),
    Row(
        "vLLM", "dead", 500,
        {"error": {"message": "EngineCore encountered an issue. See stack trace (above) for the root cause.",
                   "type": "InternalServerError", "code": 500}},
        *BROKEN, "has died",
    ),
    Row(
        "SGLang", "long prompt", 400,
        {"object": "error", "message": "The input (9000 tokens) is longer than the model's context length (8192 tokens).",
         "type": "BadRequestError", "code": 400},
        *LONG, f"{TOO_LONG}: 9000 tokens > 8192 maximum", None,
    ),
    Row(
        "SGLang", "prompt and answer together", 400,
        {"object": "error", "message": "Requested token count exceeds the model's maximum context length of 8192 tokens. "
                                       "You requested a total of 9000 tokens: 8000 tokens from the input messages and "
                                       "1000 tokens for the completion.", "type": "BadRequestError", "code": 400},
        *LONG, f"{TOO_LONG}: 8193 tokens > 8192 maximum", None,
    ),
    Row(
        "SGLang", "queue", 503,
        {"object": "error", "message": "The request queue is full.", "type": "ServiceUnavailable", "code": 503},
        *BUSY, "queue is full", None, 2.0,
    ),
    Row("TGI", "busy", 429, {"error": "Model is overloaded", "error_type": "overloaded"}, *RATE, "overloaded", None),
    Row(
        "TGI", "generation failed", 424,
        {"error": "Request failed during generation: Server error: transport error", "error_type": "generation"},
        *BROKEN, "transport error", None,
    ),
    Row(
        "TGI", "out of memory", 424,
        {"error": "Request failed during generation: Server error: CUDA out of memory.", "error_type": "generation"},
        *BROKEN, "memory did not suffice",
    ),
    Row(
        "TGI", "template", 422,
        {"error": "Template error: template not found", "error_type": "template_error"}, *REFUSED, "Template error",
    ),
    # --- LM Studio ------------------------------------------------------------------------------------------------
    Row(
        "LM Studio", "long prompt", 400,
        {"error": "Trying to keep the first 9031 tokens when context the overflows. However, the model is loaded with "
                  "context length of only 4096 tokens, which is not enough."},
        *LONG, f"{TOO_LONG}: 9031 tokens > 4096 maximum", None,
    ),
    Row(
        "LM Studio", "long prompt, other words", 400,
        {"error": "The number of tokens to keep from the initial prompt is greater than the context length. Try to load "
                  "the model with a larger context length, or provide a shorter input"},
        *LONG, TOO_LONG, None,
    ),
    Row(
        "LM Studio", "long prompt, its llama.cpp", 400,
        {"error": "Cannot truncate prompt with n_keep (9031) >= n_ctx (4096)"},
        *LONG, f"{TOO_LONG}: 9031 tokens > 4096 maximum", None,
    ),
    Row(
        "LM Studio", "no model", 404,
        openai_error("No models loaded. Please load a model in the developer page or use the `lms load` command.",
                     "model_not_found"),
        *REFUSED, "with: lms load",
    ),
    Row(
        "LM Studio", "memory", 400,
        {"error": "Failed to load model \"x\". Error: Model loading was stopped due to insufficient system resources."},
        *BROKEN, "memory did not suffice",
    ),
    Row(
        "LM Studio", "template", 400,
        {"error": "Error rendering prompt with jinja template: \"No user query found in messages.\""},
        *REFUSED, "chat template",
    ),
    Row(
        "LM Studio", "the model crashed", 400,
        {"error": "The model has crashed without additional information. (Exit code: 18446744072635812000)"},
        *BROKEN, "most often the memory did not suffice", None,
    ),
    Row("LM Studio", "the model was unloaded", 400, {"error": "Model unloaded."}, *BROKEN, "Model unloaded", None),
    Row("LM Studio", "its process died", 400, {"error": "Channel Error"}, *BROKEN, "Channel Error", None),
    Row(
        "LM Studio", "a broken file", 400,
        {"error": {"message": "Failed to load model \"x\". Error: tensor data is not within the file bounds"}},
        *BROKEN, "can't load the model",
    ),
    # --- Ollama ---------------------------------------------------------------------------------------------------
    Row(
        "Ollama", "its runner died, and an old refusal stands in its log", 500,
        {"error": "an error was encountered while running the model: error: task id = 252, error: request (9010 tokens) "
                  "exceeds the available context size (8192 tokens), try increasing it"},
        *BROKEN, "error was encountered", None,
    ),
    Row(
        "Ollama", "its runner stopped, and an old refusal stands in its log", 500,
        {"error": "model runner has unexpectedly stopped, this may be due to resource limitations or an internal error, "
                  "check ollama server logs for details: error: request (9010 tokens) exceeds the available context size "
                  "(8192 tokens), try increasing it"},
        *BROKEN, "unexpectedly stopped", None,
    ),
    Row(
        "Ollama", "long prompt, and an old line of the log", 400,
        {"error": "{\"error\":{\"code\":400,\"message\":\"request (9010 tokens) exceeds the available context size (8192 "
                  "tokens), try increasing it\",\"type\":\"exceed_context_size_error\",\"n_prompt_tokens\":9010,"
                  "\"n_ctx\":8192}}\ncudaMalloc failed: out of memory"},
        *LONG, f"{TOO_LONG}: 9010 tokens > 8192 maximum", None,
    ),
    Row(
        "Ollama", "the cloud's weekly limit", 429,
        {"error": "you've reached your weekly usage limit, please upgrade to continue: https://ollama.com/upgrade"},
        *RATE, "weekly usage limit", False,
    ),
    Row(
        "Ollama", "the cloud's hourly limit", 429,
        {"error": "you've reached your hourly usage limit, please upgrade to continue: https://ollama.com/upgrade"},
        *RATE, "until it resets", False,
    ),
    # --- what stands between ----------------------------------------------------------------------------------------
    Row("nginx", "bad gateway", 502, b"<html><head><title>502 Bad Gateway</title></head></html>", *BROKEN, "Bad Gateway", None),
    Row("nginx", "body too large", 413, b"<html><h1>413 Request Entity Too Large</h1></html>", 413, "request_too_large",
        "Too Large"),
    Row("Cloudflare", "timeout", 524, b"error code: 524", *BROKEN, "error code: 524", None),
    Row(
        "a gateway", "a date", 429, b"", *RATE, "no explanation", None, 40.0,
        {"retry-after": "Wed, 21 Oct 2026 07:28:40 GMT", "date": "Wed, 21 Oct 2026 07:28:00 GMT"},
    ),
    Row("a gateway", "milliseconds", 429, b"", *RATE, "no explanation", None, 1.5, {"retry-after-ms": "1500"}),
    Row("a gateway", "it wants no retry", 500, b"no", *BROKEN, "no", False, None, {"x-should-retry": "false"}),
    Row("a gateway", "it wants a retry", 409, b"locked", *REFUSED, "locked", True, None, {"x-should-retry": "true"}),
    Row("another engine", "a new status", 418, b"I'm a teapot", *REFUSED, "teapot"),
    Row("another engine", "a new status of its own trouble", 599, b"?", *BROKEN, "?", None),
)  # fmt: skip
