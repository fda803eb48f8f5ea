"""What an Ollama reports: its models, what they can do, how they are loaded; and the context window to ask it for.

Left to itself Ollama takes 4,096 tokens on most machines and cuts longer prompts in silence.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from urllib.parse import urlsplit

from msgspec import Struct
from msgspec.structs import replace

from claude_bridge.adapters.ollama_chat.errors import explain_refusal
from claude_bridge.conversion.pricing import FREE
from claude_bridge.upstream.client import UpstreamClient
from claude_bridge.upstream.engines.openai_compatible import without_api_path
from claude_bridge.upstream.engines.report import (
    FALLBACK_TRAINED_TOKENS,
    OLLAMA_OUTPUT_WINDOWS,
    CloudAccess,
    EngineReport,
    OfferedModel,
    OllamaModel,
    ProbeAnswer,
    among,
    positive,
    probe,
    side_by_side,
    with_tag,
)
from claude_bridge.wire import ollama

MAX_CONCURRENT = 8
"""How many models are described side by side."""

OLDEST_VERSION = (0, 12, 10)
"""Since then a chat takes truncate, shift and tool_call_id; before, prompts are cut in silence."""

DEFAULT_WINDOW_TOKENS = 32_768
"""Comfortable for Claude Code, and the KV cache of most models still fits beside them."""

ENOUGH_TOKENS = 16_384
"""Claude Code's first request takes about 13,000: a loaded model with less would be of no use to it."""

VERSION_PATH = "/api/version"
_TAGS_PATH, _SHOW_PATH, _PS_PATH = "/api/tags", "/api/show", "/api/ps"
_STATUS_PATH, _ME_PATH = "/api/status", "/api/me"

_KV_BYTES_PER_VALUE = 2
"""Ollama keeps keys and values as 16-bit floats unless it is configured otherwise."""


# --- addresses, names, versions -----------------------------------------------------------------------------------


def root_url(base_url: str) -> str:
    """Return the address of an Ollama without the paths of its APIs."""
    return without_api_path(base_url, ("/chat", "/api", "/v1"))


def version_numbers(version: str) -> tuple[int, ...]:
    """Return the release's numbers; a version that is no release, as of one's own build, counts as the newest."""
    parts = version.partition("-")[0].split(".")
    return tuple(map(int, parts)) if all(part.isdigit() for part in parts) and parts != ["0", "0", "0"] else (10**6,)


def runs_locally(model: OfferedModel, root: str) -> bool:
    """Return whether the model runs on the user's own machines, and not in Ollama's cloud."""
    host = urlsplit(root).hostname or ""
    return not model.remote_host and host != "ollama.com" and not host.endswith(".ollama.com")


# --- what it reports ----------------------------------------------------------------------------------------------


async def read_ollama(client: UpstreamClient, report: EngineReport, name: str, *, every_model: bool) -> EngineReport:
    """Return the report with the models of an Ollama.

    Only ``name`` is described, unless ``every_model`` is set or another model may have to be proposed: there is
    no such model, it calls no tools, or none is named.
    """
    tags, ps = await side_by_side([partial(probe, client, _TAGS_PATH), partial(probe, client, _PS_PATH)])
    reported = tags.parsed(ollama.parse_tags)
    running = ps.parsed(ollama.parse_ps)
    installed = {model.name: model for model in reported or ()}
    shown: dict[str, ProbeAnswer] = {}
    is_useful = False
    if name:
        name = name if name in installed or with_tag(name) not in installed else with_tag(name)
        shown[name] = await probe(client, _SHOW_PATH, ollama.encode_show_request(name))
        description = shown[name].parsed(ollama.parse_show)
        is_useful = description is not None and "tools" in (description.capabilities or ())
        installed.setdefault(name, ollama.InstalledModel(name))  # a cloud model need not be listed
    if every_model or not is_useful:
        others = [other for other in installed if other not in shown]
        shows = [partial(probe, client, _SHOW_PATH, ollama.encode_show_request(other)) for other in others]
        shown |= dict(zip(others, await side_by_side(shows, at_once=MAX_CONCURRENT), strict=True))
    models = tuple(
        _offered(model, shown.get(model.name), running)
        for model in installed.values()
        if model.name not in shown or shown[model.name].status != 404  # there is none, or it was removed meanwhile
    )
    named = [model for model in models if (model.id == name if name else model.tools)]
    asks_cloud = not every_model and len(named) == 1 and _is_cloud(named[0])
    return replace(
        report,
        models=models,
        models_error=None if reported is not None else _problem(tags),
        slots=1,  # OLLAMA_NUM_PARALLEL, which it does not report, is 1 unless somebody sets it
        cloud=await _cloud_access(client, shown[named[0].id]) if asks_cloud else None,
    )


async def loaded_window(client: UpstreamClient, name: str) -> int | None:
    """Return the window that a model is loaded with, or None if that is not reported."""
    running = (await probe(client, _PS_PATH)).parsed(ollama.parse_ps)
    loaded = next((one for one in running or () if with_tag(name) in (one.name, one.model)), None)
    return positive(loaded.context_length) if loaded else None


def offered_by_ollama(
    installed: ollama.InstalledModel,
    description: ollama.ModelDescription | None,
    running: Sequence[ollama.LoadedModel] | None,
) -> OfferedModel:
    """Return a model as an Ollama reports it; ``description`` None: it does not; ``running`` None: not reported."""
    described = description or ollama.ModelDescription()
    capabilities = installed.capabilities if described.capabilities is None else described.capabilities
    trained = described.architecture_number("context_length")
    window = trained or (FALLBACK_TRAINED_TOKENS if description is not None else None)
    remote_host = described.remote_host or installed.remote_host
    names = (installed.name, with_tag(installed.name))
    loaded = next((one for one in running or () if one.name in names or one.model in names), None)
    modelfile = described.parameter("num_ctx") or ""
    return OfferedModel(
        id=installed.name,
        tools=among("tools", capabilities),
        thinking=among("thinking", capabilities),
        images=among("vision", capabilities),
        context_window=window,
        max_output_tokens=window * OLLAMA_OUTPUT_WINDOWS if window else None,
        size_bytes=None if remote_host else positive(installed.size),  # a cloud model's file is a stub
        cost=FREE,
        remote_host=remote_host or None,
        loaded=None if running is None else loaded is not None,
        chats=among("completion", capabilities) if capabilities else None,
        trained_window=trained,
        ollama=OllamaModel(
            capabilities=None if capabilities is None else tuple(capabilities),
            family=described.architecture,
            digest=installed.digest,
            modelfile_window=int(modelfile) if modelfile.isdecimal() and int(modelfile) > 0 else None,
            loaded_window=positive(loaded.context_length) if loaded else None,
            kv_bytes_per_token=_kv_bytes_per_token(described),
            loaded_bytes=positive(loaded.size) if loaded else None,
            gpu_bytes=loaded.size_vram if loaded else None,
        ),
    )


def _offered(
    installed: ollama.InstalledModel, shown: ProbeAnswer | None, running: Sequence[ollama.LoadedModel] | None
) -> OfferedModel:
    description = shown.parsed(ollama.parse_show) if shown is not None else None
    problem = _problem(shown) if shown is not None and description is None else None
    return replace(offered_by_ollama(installed, description, running), problem=problem)


def _problem(answer: ProbeAnswer) -> str:
    if answer.error is not None:
        return answer.error.message
    path = urlsplit(answer.url).path
    if answer.status == 200:
        return f"{path} answers with something unexpected"
    explained = explain_refusal(answer.status or 0, answer.headers, answer.body, path)
    return explained.message


def _is_cloud(model: OfferedModel) -> bool:
    return model.remote_host is not None or model.id.endswith((":cloud", "-cloud"))


async def _cloud_access(client: UpstreamClient, shown: ProbeAnswer) -> CloudAccess:
    status, me = await side_by_side([partial(probe, client, _STATUS_PATH), partial(probe, client, _ME_PATH, b"{}")])
    cloud = status.parsed(ollama.parse_status)
    if 401 in (shown.status, me.status):
        is_signed_in: bool | None = False
    else:
        is_signed_in = True if me.status == 200 else None
    return CloudAccess(is_disabled=cloud is True, is_signed_in=is_signed_in)


def _kv_bytes_per_token(model: ollama.ModelDescription) -> int | None:
    """Return the memory that keys and values take for each token of the window; None: the shape is not reported.

    Counted as full attention in every layer; models with sliding windows take less.
    """
    layers = model.architecture_number("block_count")
    heads = model.architecture_number("attention.head_count")
    kv_heads = model.architecture_number("attention.head_count_kv") or heads
    width = model.architecture_number("embedding_length")
    head_size = width // heads if width and heads else None
    key_size = model.architecture_number("attention.key_length") or head_size
    value_size = model.architecture_number("attention.value_length") or head_size
    if not (layers and kv_heads and key_size and value_size):
        return None
    return layers * kv_heads * (key_size + value_size) * _KV_BYTES_PER_VALUE


# --- the window to ask for ----------------------------------------------------------------------------------------


class Window(Struct, frozen=True, kw_only=True):
    """A window in tokens, where it comes from, and its KV cache in bytes (None: not known)."""

    tokens: int
    reason: str
    kv_cache_bytes: int | None


def choose_window(model: OfferedModel, *, explicit: int | None) -> Window:
    """Return the window to ask for at every request; changing it would make Ollama load the model again.

    ``explicit`` is the user's; then comes that of the running model, then the Modelfile's, then what the model was
    trained for, but no more than DEFAULT_WINDOW_TOKENS. Ollama never gives more than the model was trained for.
    """
    known = model.ollama or OllamaModel()
    trained = model.trained_window or FALLBACK_TRAINED_TOKENS
    loaded = known.loaded_window
    if explicit is not None:
        tokens, reason = explicit, "as you set it"
    elif loaded is not None and loaded >= min(ENOUGH_TOKENS, trained):
        tokens, reason = loaded, "as the model is loaded"
    elif known.modelfile_window is not None:
        tokens, reason = known.modelfile_window, "as its Modelfile says"
    elif trained <= DEFAULT_WINDOW_TOKENS:
        tokens, reason = trained, "what the model was trained for"
    else:
        tokens, reason = DEFAULT_WINDOW_TOKENS, f"of {trained:,} that the model was trained for"
    if model.trained_window is not None and tokens > trained:
        tokens, reason = trained, f"what the model was trained for: Ollama does not load it with {tokens:,}"
    kv_bytes = known.kv_bytes_per_token
    return Window(tokens=tokens, reason=reason, kv_cache_bytes=kv_bytes * tokens if kv_bytes else None)
