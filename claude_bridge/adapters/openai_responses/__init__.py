"""OpenAI's Responses API: ``request`` encodes a request, ``stream`` decodes its response."""

from __future__ import annotations

from claude_bridge.adapters.openai_responses.request import digest_of_input, encode_request
from claude_bridge.adapters.openai_responses.stream import ResponsesStreamDecoder
from claude_bridge.adapters.translating import TranslatingAdapter
from claude_bridge.conversion.upstream_errors.translate import explain_refusal

OPENAI_RESPONSES = TranslatingAdapter(
    kind="openai-responses",
    reach_path="/models",
    path="/responses",
    encode=encode_request,
    encode_turns=None,
    decoder=ResponsesStreamDecoder,
    explain=explain_refusal,
    output_limit_field=lambda _: "max_output_tokens",
    digest=digest_of_input,
    keeps_unused_tools=True,
)
