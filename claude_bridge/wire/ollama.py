"""Ollama's own API: /api/chat, /api/tags, /api/show, /api/ps, /api/version, as its Go types spell them.

What we send is exact. What we read is lenient, as in ``openai``: every field may be missing, null or of another type.
Durations are nanoseconds, sizes bytes.

``gc=False``: no value here can hold itself, so that the garbage collector need not look at a long history's.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from claude_bridge.wire.lenient_json import parser_of
from claude_bridge.wire.openai import ToolDeclaration

# --- what we send -------------------------------------------------------------------------------------------


class Function(Struct, frozen=True, gc=False):
    """A called function; ``arguments`` is a JSON object, not its text."""

    name: str
    arguments: Raw


class ToolCall(Struct, frozen=True, gc=False, kw_only=True):
    """A tool call of an assistant message."""

    id: str
    function: Function


class ChatMessage(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """One message. ``images`` are bare base64, and stand right behind the role: the token estimate finds them there."""

    role: Literal["system", "user", "assistant", "tool"]
    images: list[str] | UnsetType = UNSET
    content: str
    thinking: str | UnsetType = UNSET
    tool_calls: list[ToolCall] | UnsetType = UNSET
    tool_name: str | UnsetType = UNSET
    tool_call_id: str | UnsetType = UNSET


class Options(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """How the model is loaded and samples. Another ``num_ctx`` than the loaded one makes Ollama load it again."""

    num_ctx: int | UnsetType = UNSET
    num_predict: int | UnsetType = UNSET
    temperature: float | UnsetType = UNSET
    top_p: float | UnsetType = UNSET
    top_k: int | UnsetType = UNSET


class ChatRequest(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """POST /api/chat. ``messages`` comes last: the field order is part of our bytes.

    ``truncate`` and ``shift`` false make a prompt that is too long an error; by default Ollama cuts it in silence.
    """

    model: str
    stream: Literal[True]
    truncate: Literal[False]
    shift: Literal[False]
    keep_alive: str | UnsetType = UNSET
    think: bool | str | UnsetType = UNSET
    format: Raw | UnsetType = UNSET
    options: Options | UnsetType = UNSET
    tools: list[ToolDeclaration] | UnsetType = UNSET
    messages: list[ChatMessage]


def encode_show_request(model: str) -> bytes:
    """Return the body of POST /api/show: a request for a model's description."""
    return msgspec.json.encode({"model": model})


# --- what we read: chat -------------------------------------------------------------------------------------


class CalledFunction(Struct, frozen=True, gc=False):
    """A called function; ``arguments`` is an object, and its text in some versions of some models' parsers."""

    name: str | None = None
    arguments: Raw = Raw(b"")


class CalledTool(Struct, frozen=True, gc=False):
    """A tool call; it always comes whole. The id is there since 0.12.10."""

    id: str | None = None
    function: CalledFunction | None = None


class AnswerMessage(Struct, frozen=True, gc=False):
    """What a line adds to the answer."""

    content: str | None = None
    thinking: str | None = None
    tool_calls: list[CalledTool] | None = None


class ChatChunk(Struct, frozen=True, gc=False):
    """One line of a stream, or a whole response; ``error`` in place of an answer ends it.

    ``done_reason`` is stop, length, load or unload; counts and durations come with the last line.
    ``prompt_eval_count`` is the whole prompt, cached part included, since 0.30.0.
    """

    message: AnswerMessage | None = None
    done: bool | None = None
    done_reason: str | None = None
    prompt_eval_count: int | None = None
    prompt_eval_duration: float | None = None
    eval_count: int | None = None
    eval_duration: float | None = None
    load_duration: float | None = None
    error: Any = None


# --- what we read: models -----------------------------------------------------------------------------------


class InstalledModel(Struct, frozen=True, gc=False):
    """One entry of GET /api/tags. ``remote_host`` marks a cloud model; capabilities are there since 0.9.1."""

    name: str
    model: str | None = None
    size: int | None = None
    digest: str | None = None
    capabilities: list[str] | None = None
    remote_host: str | None = None


class InstalledModels(Struct, frozen=True, gc=False):
    """GET /api/tags."""

    models: list[InstalledModel]


class ModelDescription(Struct, frozen=True, gc=False):
    """POST /api/show. ``parameters`` is text, a line for each; ``model_info`` the GGUF's metadata by its own keys."""

    capabilities: list[str] | None = None
    model_info: dict[str, Any] | None = None
    parameters: str | None = None
    remote_host: str | None = None

    @property
    def architecture(self) -> str | None:
        """The GGUF's architecture, such as "qwen3"; None if it is not reported."""
        named = (self.model_info or {}).get("general.architecture")
        return named if isinstance(named, str) else None

    def architecture_number(self, key: str) -> int | None:
        """Return a number of the architecture, such as "context_length" or "block_count"; None: not reported."""
        value = (self.model_info or {}).get(f"{self.architecture}.{key}")
        return int(value) if isinstance(value, int | float) and not isinstance(value, bool) else None

    def parameter(self, name: str) -> str | None:
        """Return a parameter of the Modelfile as it is written there, such as "8192" for num_ctx; None: not set."""
        lines = (line.split(maxsplit=1) for line in (self.parameters or "").splitlines())
        values = [words[1].strip() for words in lines if len(words) == 2 and words[0] == name]
        return values[-1] if values else None


class LoadedModel(Struct, frozen=True, gc=False):
    """One entry of GET /api/ps. ``context_length`` is what the model was loaded with (since 0.10.0)."""

    name: str
    model: str | None = None
    size: int | None = None
    size_vram: int | None = None
    context_length: int | None = None


class LoadedModels(Struct, frozen=True, gc=False):
    """GET /api/ps."""

    models: list[LoadedModel]


class Version(Struct, frozen=True, gc=False):
    """GET /api/version: only Ollama answers it."""

    version: str


class CloudStatus(Struct, frozen=True, gc=False):
    """Whether models in Ollama's cloud are switched off."""

    disabled: bool | None = None


class Status(Struct, frozen=True, gc=False):
    """GET /api/status (since 0.16.2)."""

    cloud: CloudStatus


parse_chat_chunk = parser_of(ChatChunk)
"""Return the typed line or response; raises msgspec.DecodeError where it is no JSON object."""

parse_show = parser_of(ModelDescription)
"""Return what a model is; raises msgspec.DecodeError where it is no JSON object."""


def parse_tags(data: bytes) -> list[InstalledModel]:
    """Return the installed models that have a name; raises msgspec.DecodeError where it is no such list."""
    return parser_of(InstalledModels)(data).models


def parse_ps(data: bytes) -> list[LoadedModel]:
    """Return the loaded models that have a name; raises msgspec.DecodeError where it is no such list."""
    return parser_of(LoadedModels)(data).models


def parse_version(data: bytes) -> str:
    """Return the version, such as "0.32.15"; raises msgspec.DecodeError where it is none."""
    return parser_of(Version)(data).version


def parse_status(data: bytes) -> bool:
    """Return whether cloud models are switched off; raises msgspec.DecodeError where it is no status."""
    return parser_of(Status)(data).cloud.disabled is True
