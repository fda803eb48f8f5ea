"""A scripted Ollama on a real socket, true to one that was built from source: versions, models, loading, and chats.

What it answers was compared with a real Ollama 0.33 byte by byte where that matters: lists, refusals, the lines of a
chat, and what a chat without messages does. Only what the model writes is scripted.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from msgspec import Struct

from tests.fake_upstream import FakeUpstream, Head, ReceivedRequest, Reply, Send, json_document

NDJSON = "application/x-ndjson"
AT = "2026-11-30T02:46:38.096316412Z"
DEFAULT_WINDOW_TOKENS = 4_096
"""What Ollama loads a model with on a machine without much video memory, if nothing else is said."""

QWEN3_INFO: dict[str, Any] = {
    "general.architecture": "qwen3",
    "qwen3.context_length": 40_960,
    "qwen3.block_count": 28,
    "qwen3.attention.head_count": 16,
    "qwen3.attention.head_count_kv": 8,
    "qwen3.attention.key_length": 128,
    "qwen3.attention.value_length": 128,
}

# --- models -------------------------------------------------------------------------------------------------------


def a_model(*capabilities: str, parameters: str = "", info: Mapping[str, Any] = QWEN3_INFO, **fields: Any) -> Any:
    """Return what /api/show answers for a model."""
    return {
        "capabilities": ["completion", *capabilities],
        "model_info": dict(info),
        "parameters": parameters,
        "template": "{{ .Prompt }}",
        "details": _details(str(info.get("general.architecture", "qwen3"))),
        "modified_at": AT,
        **fields,
    }


def _details(family: str) -> dict[str, Any]:
    return {
        "parent_model": "",
        "format": "gguf",
        "family": family,
        "families": [family],
        "parameter_size": "1.7B",
        "quantization_level": "Q4_K_M",
    }


def _number(model: Any, key: str) -> int | None:
    """Return a number of the model's architecture, as the scripted Ollama itself needs it."""
    info = model.get("model_info") if isinstance(model, dict) else None
    found = info.get(f"{info.get('general.architecture')}.{key}") if isinstance(info, dict) else None
    return found if isinstance(found, int) else None


def _tag(name: str, model: Any) -> dict[str, Any]:
    """Return an entry of /api/tags; unlike in /api/show the context length stands among its details."""
    known = model if isinstance(model, dict) else {}
    details = {**known.get("details", {}), "context_length": _number(model, "context_length") or 0}
    remote = {key: known[key] for key in ("remote_host", "remote_model") if known.get(key)}
    capabilities = {"capabilities": known["capabilities"]} if known.get("capabilities") else {}
    return {
        "name": name,
        "model": name,
        **remote,
        "modified_at": AT,
        "digest": "63bb",
        "details": details,
        **capabilities,
    }


def _listed(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 1_796_006_782, "owned_by": "library"}


# --- what it says -------------------------------------------------------------------------------------------------


def chat_line(message: Mapping[str, Any] | None = None, **fields: Any) -> bytes:
    """Return one line of a chat's stream."""
    spoken = {"role": "assistant", "content": "", **(message or {})}
    return json.dumps({"model": "m", "created_at": AT, "message": spoken, "done": False, **fields}).encode() + b"\n"


def chat_answer(words: str, *, prompt_tokens: int = 10, output_tokens: int = 5) -> Reply:
    """Return a whole answer in a chat."""
    last = chat_line(done=True, done_reason="stop", prompt_eval_count=prompt_tokens, eval_count=output_tokens)
    return [Head(200, {"content-type": NDJSON}), Send(chat_line({"content": words})), Send(last)]


def swallowed_call(*, prompt_tokens: int = 165, output_tokens: int = 39) -> Reply:
    """Return an answer of which the parser kept nothing: a call of a tool that was not declared."""
    last = chat_line(done=True, done_reason="stop", prompt_eval_count=prompt_tokens, eval_count=output_tokens)
    return [Head(200, {"content-type": NDJSON}), Send(last)]


def refusal_of(words: str, status: int = 400) -> Reply:
    """Return a refusal in Ollama's shape."""
    return json_document({"error": words}, status=status)


def by_llama_server(code: int, message: str, kind: str = "invalid_request_error", **numbers: int) -> str:
    """Return the words of an Ollama since 0.30 for a refusal by its llama-server: that one's whole answer, as text."""
    error = {"code": code, "message": message, "type": kind, **numbers}
    return json.dumps({"error": error}, separators=(",", ":"))


def too_long_by_llama_server(prompt_tokens: int, window_tokens: int) -> str:
    """Return how an Ollama since 0.30 refuses a prompt."""
    words = (
        f"request ({prompt_tokens} tokens) exceeds the available context size ({window_tokens} tokens), "
        "try increasing it"
    )
    numbers = {"n_prompt_tokens": prompt_tokens, "n_ctx": window_tokens}
    return by_llama_server(400, words, "exceed_context_size_error", **numbers)


def too_long_by_own_runner(prompt_tokens: int, window_tokens: int) -> str:
    """Return how an Ollama before 0.30 refuses a prompt."""
    return "the input length exceeds the context length"


def runner_died(*old_lines: str) -> str:
    """Return what is said of a runner that died, with the lines that it had logged as errors before."""
    return f"an error was encountered while running the model: {chr(10).join(old_lines) or 'unexpected EOF'}"


def call_line(name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return a message that calls a tool, whole in one line as Ollama does it."""
    return {
        "tool_calls": [{"id": "call_00000000", "function": {"index": 0, "name": name, "arguments": dict(arguments)}}]
    }


# --- chats that count ---------------------------------------------------------------------------------------------

Speak = Callable[[Any], Sequence[Mapping[str, Any]]]
"""From the body of a chat to the messages of its answer, one for each line of the stream."""


Refuse = Callable[[int, int], str]
"""From the tokens of a prompt and of the window to the words of a refusal."""

RenderedBy = Literal["Ollama", "llama-server"]
"""Who applies the chat template: by that tool calls have a line of their own, or come in the last one."""


class CountingChat(Struct, frozen=True, kw_only=True):
    """A chat that reports its tokens and times truthfully, and refuses a prompt that does not fit, if asked to.

    ``refuse`` None stands for an Ollama before 0.12.4, which knows neither ``truncate`` nor ``shift``: it cuts the
    prompt to half the window.
    """

    speak: Speak
    refuse: Refuse | None
    bytes_per_token: float
    rendered_by: RenderedBy

    def reply(self, body: Any, window_tokens: int, load_ms: float) -> Reply:
        """Return the answer of a model that is loaded with this window."""
        prompt_tokens = prompt_length(body, self.bytes_per_token)
        if prompt_tokens > window_tokens:
            if self.refuse is not None and (body.get("truncate"), body.get("shift")) == (False, False):
                return refusal_of(self.refuse(prompt_tokens, window_tokens))
            prompt_tokens = window_tokens // 2
        spoken, reason = list(self.speak(body)), "stop"
        room = min(window_tokens - prompt_tokens, body.get("options", {}).get("num_predict", window_tokens))
        if self._length(spoken) > room:
            spoken, reason = [_cut(spoken[0], int(room * self.bytes_per_token))], "length"
        last: Mapping[str, Any] = {}
        if self.rendered_by == "llama-server" and spoken and "tool_calls" in spoken[-1]:
            last = _with_long_ids(spoken.pop())
        output_tokens = min(room, self._length([*spoken, last] if last else spoken))
        counts = {
            "total_duration": int((load_ms + 50) * 1_000_000),
            "load_duration": int(load_ms * 1_000_000),
            "prompt_eval_count": prompt_tokens,
            "prompt_eval_duration": prompt_tokens * 1_000_000,
            "eval_count": output_tokens,
            "eval_duration": output_tokens * 10_000_000,
        }
        end = chat_line(last, done=True, done_reason=reason, **counts)
        return [Head(200, {"content-type": NDJSON}), *(Send(chat_line(part)) for part in spoken), Send(end)]

    def _length(self, spoken: Sequence[Mapping[str, Any]]) -> int:
        return round(sum(len(json.dumps(part)) for part in spoken) / self.bytes_per_token)


def chat_that_counts(
    speak: Speak,
    *,
    refuse: Refuse | None = too_long_by_llama_server,
    bytes_per_token: float = 3.8,
    rendered_by: RenderedBy = "Ollama",
) -> CountingChat:
    """Return a chat that counts; see CountingChat."""
    return CountingChat(speak=speak, refuse=refuse, bytes_per_token=bytes_per_token, rendered_by=rendered_by)


def _cut(message: Mapping[str, Any], chars: int) -> dict[str, Any]:
    """Return what is left of a message at the limit of an answer: of a tool call nothing."""
    return {name: output_text[:chars] for name, output_text in message.items() if isinstance(output_text, str)}


def _with_long_ids(message: Mapping[str, Any]) -> dict[str, Any]:
    """Return the message with tool ids as llama-server makes them."""
    return {**message, "tool_calls": [{**call, "id": "Zx9" + 29 * "a"} for call in message["tool_calls"]]}


def prompt_length(body: Any, bytes_per_token: float = 3.8) -> int:
    """Return the tokens of what a chat gives the model to read."""
    read = {name: body[name] for name in ("messages", "tools") if name in body}
    return round(len(json.dumps(read, ensure_ascii=False, separators=(",", ":")).encode()) / bytes_per_token)


# --- the server ---------------------------------------------------------------------------------------------------


class ScriptedOllama(FakeUpstream):
    """An Ollama with these models; ``chat`` answers /api/chat. Names without a tag mean ``:latest``, as there.

    ``loaded`` are entries of /api/ps, of models that run before anybody asks.
    """

    def __init__(
        self,
        models: Mapping[str, Any],
        *,
        chat: Callable[[ReceivedRequest], Reply] | CountingChat | None = None,
        version: str = "0.32.15",
        loaded: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        self._models = dict(models)
        self._chat = chat or (lambda _: chat_answer("Hello"))
        self._running = {str(entry["name"]): {"model": entry["name"], **entry} for entry in loaded}
        self._runners: dict[str, tuple[Any, ...]] = {}
        tags = [_tag(name, model) for name, model in models.items()]
        super().__init__(
            self._answer,
            documents={
                "/": [Head(200, {"content-type": "text/plain"}), Send(b"Ollama is running")],
                "/api/version": json_document({"version": version}),
                "/api/tags": json_document({"models": tags}),
                "/v1/models": json_document({"object": "list", "data": [_listed(name) for name in models] or None}),
                "/api/status": json_document({"cloud": {"disabled": False, "source": "none"}}),
            },
        )

    @property
    def root_url(self) -> str:
        """The address without a path."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def chats(self) -> list[ReceivedRequest]:
        """All requests to /api/chat that have messages."""
        return [request for request in self.requests if request.path == "/api/chat" and request.json.get("messages")]

    def load(self, name: str, window_tokens: int) -> None:
        """Load a model, as another client's request does."""
        size = {"size": 1_400_000_000, "size_vram": 0}  # on a CPU alone
        details = {"digest": "63bb", "details": _details("qwen3"), "expires_at": AT}
        self._running[name] = {"name": name, "model": name, **size, **details, "context_length": window_tokens}

    def _reply_to(self, request: ReceivedRequest) -> Reply:
        if (request.method, request.path) == ("GET", "/api/ps"):
            self.probes.append(request)
            return json_document({"models": list(self._running.values())})
        return super()._reply_to(request)

    def _answer(self, request: ReceivedRequest) -> Reply:
        if request.path == "/api/me":
            return json_document({"error": "unauthorized", "signin_url": "https://ollama.com/connect"}, status=401)
        requested = str(request.json.get("model"))
        name = requested if requested in self._models else _whole_name(requested)
        known = self._models.get(name)
        if request.path == "/api/show":
            return (
                refusal_of(f"model '{_whole_name(requested)}' not found", 404)
                if known is None
                else json_document(known)
            )
        if known is None:
            return refusal_of(f"model '{requested}' not found", 404)
        return self._answer_chat(request, name, known if isinstance(known, dict) else {})

    def _answer_chat(self, request: ReceivedRequest, name: str, model: Mapping[str, Any]) -> Reply:
        body = request.json
        if not body.get("messages") and body.get("keep_alive") == 0:
            self._running.pop(name, None)
            self._runners.pop(name, None)
            return _without_counts("unload")
        refused = _refused_by_capabilities(body, model)
        if refused is not None:
            return refused
        window_tokens, load_ms = self._loaded(body, name, model)
        if not body.get("messages"):
            return _without_counts("load")
        if isinstance(self._chat, CountingChat):
            return self._chat.reply(body, window_tokens, load_ms)
        return self._chat(request)

    def _loaded(self, body: Any, name: str, model: Mapping[str, Any]) -> tuple[int, float]:
        """Load the model as a request wants it; return its window, and how long that took in milliseconds."""
        parameters = dict(line.split(maxsplit=1) for line in str(model.get("parameters") or "").splitlines() if line)
        wanted = body.get("options", {}).get("num_ctx") or parameters.get("num_ctx") or DEFAULT_WINDOW_TOKENS
        window_tokens = min(int(wanted), _number(model, "context_length") or int(wanted))
        runner = (window_tokens, body.get("shift"))
        load_ms = 5 if self._runners.get(name) == runner else 900
        self._runners[name] = runner
        self.load(name, window_tokens)
        return window_tokens, load_ms


def _whole_name(name: str) -> str:
    return name if ":" in name else f"{name}:latest"


def _without_counts(reason: str) -> Reply:
    """Return the answer to a chat without messages: it loads or unloads the model, and counts nothing."""
    message = {"role": "assistant", "content": ""}
    return json_document({"model": "m", "created_at": AT, "message": message, "done": True, "done_reason": reason})


def _refused_by_capabilities(body: Any, model: Mapping[str, Any]) -> Reply | None:
    """Return the refusal of what the model can't do; None where the model does not say what it can."""
    capabilities = model.get("capabilities")
    if not capabilities:
        return None
    name = body["model"]
    if "completion" not in capabilities:
        return refusal_of(f'"{name}" does not support chat')
    if body.get("think") and "thinking" not in capabilities:
        return refusal_of(f'"{name}" does not support thinking')
    if body.get("tools") and "tools" not in capabilities:
        return refusal_of(f"registry.ollama.ai/library/{_whole_name(name)} does not support tools")
    if any(message.get("images") for message in body.get("messages") or ()) and "vision" not in capabilities:
        words = "Multimodal data provided, but model does not support multimodal requests."
        return refusal_of(by_llama_server(400, words))
    return None
