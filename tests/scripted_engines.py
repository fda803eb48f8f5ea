"""One scripted engine for each page of docs/engines, which reports what that engine reports when all is well."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.fake_upstream import FakeUpstream, answer, json_document, model_list
from tests.scripted_ollama import ScriptedOllama, a_model

ANSWER = "Hello from the engine."

_PROPS = {
    "default_generation_settings": {"n_ctx": 65_536},
    "total_slots": 1,
    "build_info": "b9000",
    "modalities": {"vision": False, "audio": False},
    "chat_template_caps": {"supports_tools": True, "supports_preserve_reasoning": True},
}
_STUDIO_MODEL = {
    "type": "llm",
    "key": "qwen/qwen3-8b",
    "size_bytes": 5_000_000_000,
    "max_context_length": 131_072,
    "loaded_instances": [{"id": "qwen/qwen3-8b", "config": {"context_length": 65_536}}],
    "capabilities": {"vision": False, "trained_for_tool_use": True},
}
_ROUTER_MODEL = {
    "id": "qwen/qwen3-coder",
    "context_length": 262_144,
    "pricing": {"prompt": "0.00000022", "completion": "0.00000095"},
    "supported_parameters": ["tools", "tool_choice", "max_tokens"],
    "architecture": {"input_modalities": ["text"]},
    "top_provider": {"context_length": 262_144, "max_completion_tokens": 65_536},
}


def _engine(documents: Mapping[str, Any]) -> FakeUpstream:
    return FakeUpstream(
        lambda _: answer(ANSWER), documents={path: json_document(value) for path, value in documents.items()}
    )


def engine_of(page: str) -> FakeUpstream:
    """Return the engine of a page, by the page's name."""
    match page:
        case "ollama":
            return ScriptedOllama({"qwen3:8b": a_model("tools", "thinking")})
        case "llama-cpp":
            listed = {"object": "list", "data": [{"id": "qwen3-8b", "object": "model", "owned_by": "llamacpp"}]}
            return _engine({"/v1/models": listed, "/props": _PROPS, "/health": {"status": "ok"}})
        case "lm-studio":
            listed = {"object": "list", "data": [{"id": "qwen/qwen3-8b", "object": "model"}]}
            return _engine({"/v1/models": listed, "/api/v1/models": {"models": [_STUDIO_MODEL]}})
        case "vllm":
            models = model_list("Qwen/Qwen3-8B", owner="vllm", max_model_len=65_536)
            return FakeUpstream(
                lambda _: answer(ANSWER),
                documents={"/v1/models": models, "/version": json_document({"version": "0.14.0"})},
            )
        case "openrouter":
            return _engine({"/v1/models": {"data": [_ROUTER_MODEL]}, "/v1/key": {"data": {"label": "key"}}})
        case "openai":
            return _engine({"/v1/models": {"object": "list", "data": [{"id": "gpt-5", "object": "model"}]}})
        case _:
            raise ValueError(page)
