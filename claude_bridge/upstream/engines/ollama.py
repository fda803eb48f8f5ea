"""What an Ollama tells of itself: its version, its models, what they can do, and the window that they are loaded with.

An Ollama is known by /api/version: other engines answer /api/tags too.
"""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from urllib.parse import urlsplit

import anyio
import msgspec

from claude_bridge.adapters import ADAPTERS
from claude_bridge.adapters.engine_profiles import ollama_profile, profile_for
from claude_bridge.adapters.ollama_chat.errors import explain_refusal
from claude_bridge.conversion.pricing import FREE
from claude_bridge.errors import SetupError, SeveralModelsError, UpstreamBrokenError, UpstreamError
from claude_bridge.providers import Upstream
from claude_bridge.upstream.client import FetchedDocument, UpstreamClient
from claude_bridge.upstream.engines.catalog import offered_by_ollama, what_it_can
from claude_bridge.upstream.engines.ollama_window import Window, choose_window, trained_tokens
from claude_bridge.wire import ollama

PROBE_TIMEOUT_S = 5.0
MAX_CONCURRENT = 8
"""How many models are asked about side by side."""

OLDEST_VERSION = (0, 12, 10)
"""Since then a chat takes truncate, shift and tool_call_id; before, prompts are cut in silence."""

CAN_ONLY_TALK = "the model can't call tools: Claude Code will be able to talk, and to do nothing"


async def discover_ollama(upstream: Upstream, api_key: str | None, *, window_tokens: int | None) -> Upstream:
    """Return the upstream with what its Ollama tells: the model, what it can do, and the window to ask for.

    An empty ``upstream.model`` stands for the only installed model that can call tools. ``window_tokens`` is the
    user's wish (None: no wish).

    Raises:
        SetupError: it is no Ollama, or has no such model: nothing that waiting would cure.
        UpstreamError: it does not answer, or not yet.
    """
    root = root_url(upstream.base_url)
    async with UpstreamClient(root, api_key=api_key, name=upstream.name) as client:
        version = await probe_version(client)
        if version is None:
            raise SetupError(
                f"At {root} there is no Ollama.",
                "Check --base-url. For another engine: bridge serve openai --base-url …",
            )
        name = upstream.model or await _only_tool_model(client, engine=f"Ollama {version} at {root}")
        description = await _description(client, name)
        if description is None:
            raise _unknown_model(name, [model.name for model in await installed_models(client)])
        loaded = await loaded_model(client, name)
    profile = profile_for(ollama_profile(description.capabilities, description.architecture), name)
    window = choose_window(description, explicit=window_tokens, loaded=loaded.context_length if loaded else None)
    capabilities = description.capabilities or []
    if capabilities and "completion" not in capabilities:
        raise SetupError(
            f"{name!r} is no model to talk to (it can do: {', '.join(capabilities)}).", "Take another one."
        )
    return msgspec.structs.replace(
        upstream,
        name=f"Ollama {version}",
        base_url=root,
        model=name,
        adapter=ADAPTERS["ollama-chat"],
        profile=profile.with_changes({"keep_alive": upstream.profile.ollama.keep_alive}),
        window_tokens=window.tokens,
        slots=1,  # OLLAMA_NUM_PARALLEL, which it does not tell, is 1 unless somebody sets it
        prices=FREE if _runs_here(description, root) else None,
        notes=tuple(_notes(version, description, window, loaded)),
    )


def root_url(base_url: str) -> str:
    """Return the address of an Ollama without the paths of its APIs."""
    base_url = base_url.rstrip("/")
    for path in ("/chat", "/api", "/v1"):
        base_url = base_url.removesuffix(path)
    return base_url


async def probe_version(client: UpstreamClient) -> str | None:
    """Return the version of the Ollama, or None if it is another engine."""
    document = await client.fetch("/api/version", timeout_s=PROBE_TIMEOUT_S)
    if document.status != 200:
        return None
    try:
        return ollama.parse_version(document.body)
    except msgspec.DecodeError:
        return None


async def installed_models(client: UpstreamClient) -> list[ollama.InstalledModel]:
    """Return the installed models; raises UpstreamBrokenError where the answer is no list of them."""
    document = await client.fetch("/api/tags", timeout_s=PROBE_TIMEOUT_S)
    try:
        return ollama.parse_tags(_good(document, "/api/tags").body)
    except msgspec.DecodeError as error:
        raise UpstreamBrokenError(f"Ollama's list of models can't be read: {error}") from error


async def describe_models(client: UpstreamClient, names: Sequence[str]) -> dict[str, ollama.ModelDescription | None]:
    """Return what each model is, asked side by side: None where that can't be had; one that is gone is left out."""
    descriptions: dict[str, ollama.ModelDescription | None] = {}
    limit = anyio.CapacityLimiter(MAX_CONCURRENT)

    async def describe(name: str) -> None:
        async with limit:
            try:
                description = await _description(client, name)
            except UpstreamError:  # one broken model must not cost the others
                descriptions[name] = None
            else:
                if description is not None:
                    descriptions[name] = description

    async with anyio.create_task_group() as tasks:
        for name in names:
            tasks.start_soon(describe, name)
    return {name: descriptions[name] for name in names if name in descriptions}


def can_call_tools(description: ollama.ModelDescription | None) -> bool:
    """Return whether the model is known to call tools."""
    return description is not None and "tools" in (description.capabilities or ())


async def _only_tool_model(client: UpstreamClient, *, engine: str) -> str:
    names = [model.name for model in await installed_models(client)]
    described = await describe_models(client, names)
    able = [name for name, description in described.items() if can_call_tools(description)]
    if len(able) == 1:
        return able[0]
    if able:
        hint = f"These can call tools: {', '.join(able)}. Add one behind the provider."
        raise SeveralModelsError("No model was given.", hint, engine=engine, models=able)
    raise SetupError("No model that can call tools is installed.", "Try: ollama pull qwen3")


async def _description(client: UpstreamClient, name: str) -> ollama.ModelDescription | None:
    question = ollama.encode_show_request(name)
    document = await client.fetch("/api/show", timeout_s=PROBE_TIMEOUT_S, question=question)
    if document.status == 404:
        return None
    try:
        return ollama.parse_show(_good(document, "/api/show").body)
    except msgspec.DecodeError as error:
        raise UpstreamBrokenError(f"What Ollama tells of {name!r} can't be read: {error}") from error


async def loaded_model(client: UpstreamClient, name: str) -> ollama.LoadedModel | None:
    """Return what runs of a model, or None if it is not loaded."""
    document = await client.fetch("/api/ps", timeout_s=PROBE_TIMEOUT_S)
    try:
        loaded = ollama.parse_ps(document.body) if document.status == 200 else []
    except msgspec.DecodeError:
        loaded = []
    return next((model for model in loaded if with_tag(name) in (model.name, model.model)), None)


def with_tag(name: str) -> str:
    """Return the model's whole name: Ollama takes one without a tag for ``:latest``."""
    return name if ":" in name.rpartition("/")[2] else f"{name}:latest"


def _good(document: FetchedDocument, path: str) -> FetchedDocument:
    if document.status != 200:
        words = explain_refusal(document.status, document.headers, document.body, "Ollama")
        raise UpstreamBrokenError(f"{path}: {words.message}")
    return document


def _runs_here(description: ollama.ModelDescription, root: str) -> bool:
    """Return whether the model runs on the user's own machines, and not in Ollama's cloud."""
    host = urlsplit(root).hostname or ""
    return not description.remote_host and host != "ollama.com" and not host.endswith(".ollama.com")


def _unknown_model(name: str, installed: Sequence[str]) -> SetupError:
    near = get_close_matches(with_tag(name), installed, n=3, cutoff=0.5)
    other = f" Installed, and near: {', '.join(near)}." if near else ""
    return SetupError(f"Ollama has no model {name!r}.", f"Get it: ollama pull {name}{other}")


def _notes(
    version: str, model: ollama.ModelDescription, window: Window, loaded: ollama.LoadedModel | None
) -> list[str]:
    memory = f", {window.kv_cache_bytes / 2**30:.1f} GiB of KV cache" if window.kv_cache_bytes else ""
    notes = [f"context window {window.tokens:,} tokens ({window.reason}){memory}"]
    if window.tokens > trained_tokens(model):
        notes.append(f"the model was trained for {trained_tokens(model):,} tokens only")
    if abilities := what_it_can(offered_by_ollama(ollama.InstalledModel(name=""), model, None)):
        notes.append(abilities)
    if "tools" not in (model.capabilities or ()):
        notes.append(CAN_ONLY_TALK)
    if model.remote_host:
        notes.append(f"the model runs at {model.remote_host}, not on this machine")
    if loaded and loaded.size and loaded.size_vram is not None and loaded.size_vram < loaded.size:
        notes.append(f"{1 - loaded.size_vram / loaded.size:.0%} of the model is on the CPU: it will be slow")
    if version_numbers(version) < OLDEST_VERSION:
        oldest = ".".join(map(str, OLDEST_VERSION))
        notes.append(f"Ollama {version} is old: before {oldest} it cuts long prompts in silence. Update it.")
    return notes


def version_numbers(version: str) -> tuple[int, ...]:
    """Return the release's numbers; a version that is no release, as of one's own build, counts as the newest."""
    parts = version.partition("-")[0].split(".")
    return tuple(map(int, parts)) if all(part.isdigit() for part in parts) and parts != ["0", "0", "0"] else (10**6,)
