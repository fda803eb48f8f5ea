"""EngineReport: what an engine reports about itself and its models, in the same terms whichever engine it is.

It is read by small requests; every outcome of one is a value, and nothing is raised.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import TypeVar

import anyio
from msgspec import Struct
from msgspec.structs import replace

from claude_bridge.adapters.engine_profiles import OLLAMA, UNKNOWN, profile_with_reasoning
from claude_bridge.conversion.pricing import FREE, Prices
from claude_bridge.conversion.profile import Profile
from claude_bridge.conversion.upstream_errors.translate import quote, refusal_words
from claude_bridge.errors import UpstreamError, UpstreamTimeoutError
from claude_bridge.upstream.client import UpstreamClient
from claude_bridge.wire.lenient_json import read_or_none
from claude_bridge.wire.model_list import ReasoningAbilities
from claude_bridge.wire.urls import join_path

CAN_ONLY_CHAT = "the model can't call tools: Claude Code will be able to chat, but not to act"

FALLBACK_TRAINED_TOKENS = 8_192
"""The window of an Ollama's model that does not report what it was trained for."""

OLLAMA_OUTPUT_WINDOWS = 10
"""Ollama cuts an answer at ten times its context window."""

PROBE_TIMEOUT_S = 5.0

_Parsed = TypeVar("_Parsed")
_Result = TypeVar("_Result")


class ProbeAnswer(Struct, frozen=True, kw_only=True):
    """One answer. ``status`` None: there was none, for the reason in ``error``."""

    url: str
    status: int | None = None
    headers: Mapping[str, str] = {}
    body: bytes = b""
    error: UpstreamError | None = None

    @property
    def is_page(self) -> bool:
        """Whether it is a web page."""
        return "html" in self.headers.get("content-type", "") or b"<html" in self.body[:2000].lower()

    @property
    def location(self) -> str:
        """Where it redirects to, or an empty text."""
        return self.headers.get("location", "")

    @property
    def in_words(self) -> str:
        """What this is, as it is no answer of an engine: a sentence without its end, and without passwords."""
        if self.location:
            scheme, mark, rest = self.location.partition("://")
            host, slash, path = rest.partition("/")
            to = f"{scheme}://{host.rpartition('@')[2]}{slash}{path.partition('?')[0]}" if mark else "another path"
            return f"{self.url} redirects to {to}"
        if self.is_page:
            return f"{self.url} answers with a web page, not with JSON: this is no engine"
        if self.status == 200:
            return f"{self.url} answers with something that is no model list: this is no engine"
        if self.status is not None and self.status >= 500:
            return f"{self.url} answers {self.status}: {quote(refusal_words(self.body))}"
        return f"{self.url} answers {self.status}: this is no engine that the bridge knows"

    def parsed(self, parse: Callable[[bytes], _Parsed]) -> _Parsed | None:
        """Return what the body says; None where the status is not 200, or the body is something else."""
        return read_or_none(parse, self.body) if self.status == 200 else None


async def probe(
    client: UpstreamClient, path: str, question: bytes | None = None, *, timeout_s: float = PROBE_TIMEOUT_S
) -> ProbeAnswer:
    """GET a path, or POST a JSON question to it."""
    url = join_path(client.base_url, path)
    with anyio.move_on_after(timeout_s):
        try:
            document = await client.fetch(path, timeout_s=timeout_s, question=question)
        except UpstreamError as error:
            return ProbeAnswer(url=url, error=error)
        return ProbeAnswer(url=url, status=document.status, headers=document.headers, body=document.body)
    return ProbeAnswer(url=url, error=UpstreamTimeoutError(f"{url} did not answer within {timeout_s:g} s."))


async def side_by_side(
    calls: Iterable[Callable[[], Awaitable[_Result]]], *, at_once: float = math.inf
) -> list[_Result]:
    """Return what some calls give, made side by side, in their order."""
    results: dict[int, _Result] = {}
    limit = anyio.CapacityLimiter(at_once)

    async def run(number: int, call: Callable[[], Awaitable[_Result]]) -> None:
        async with limit:
            results[number] = await call()

    async with anyio.create_task_group() as tasks:
        for number, call in enumerate(calls):
            tasks.start_soon(run, number, call)
    return [results[number] for number in sorted(results)]


class OllamaModel(Struct, frozen=True, kw_only=True):
    """What only an Ollama reports about a model; sizes are bytes."""

    capabilities: tuple[str, ...] | None = None
    family: str | None = None
    digest: str | None = None
    modelfile_window: int | None = None
    loaded_window: int | None = None
    kv_bytes_per_token: int | None = None
    loaded_bytes: int | None = None
    gpu_bytes: int | None = None
    """How much of ``loaded_bytes`` is on a GPU."""


class OfferedModel(Struct, frozen=True, kw_only=True):
    """One model; None always means that its engine does not report it.

    ``context_window`` is what the model is loaded with where that is reported, else the most that it can take; but of
    an Ollama always the latter, because there each request sets the window.
    """

    id: str
    tools: bool | None = None
    thinking: bool | None = None
    images: bool | None = None
    context_window: int | None = None
    max_output_tokens: int | None = None
    size_bytes: int | None = None
    cost: Prices | None = None
    remote_host: str | None = None
    """Where an Ollama cloud model runs; None: on the engine itself."""
    loaded: bool | None = None
    chats: bool | None = None
    """Whether it generates text; an embedding model does not."""
    trained_window: int | None = None
    reasoning: ReasoningAbilities | None = None
    ollama: OllamaModel | None = None
    problem: str | None = None
    """Why the engine could not describe the model."""

    @property
    def window_in_use(self) -> int | None:
        """The window that requests get, if it was set where the engine was started."""
        return None if self.loaded is False else self.context_window


class CloudAccess(Struct, frozen=True, kw_only=True):
    """Whether an Ollama can use models in its maker's cloud; ``is_signed_in`` None: not reported."""

    is_disabled: bool = False
    is_signed_in: bool | None = None


class EngineReport(Struct, frozen=True, kw_only=True):
    """What an engine reports. None, or an empty tuple, means that it does not report it."""

    answers: tuple[ProbeAnswer, ...] = ()
    """The answers to the requests that identify an engine, in their order."""
    profile: Profile | None = None
    """How this engine behaves; UNKNOWN for one that only speaks a known API. None: nothing that the bridge can use."""
    version: str | None = None
    base_url: str = ""
    """Where its API is."""
    models: tuple[OfferedModel, ...] = ()
    models_error: str | None = None
    """Why the list of models could not be read."""
    slots: int | None = None
    """How many requests it answers at a time."""
    cloud: CloudAccess | None = None

    @property
    def is_known(self) -> bool:
        """Whether it is an engine with a row of its own."""
        return self.profile is not None and self.profile.name != UNKNOWN.name

    @property
    def is_ollama(self) -> bool:
        """Whether it is an Ollama."""
        return self.engine == OLLAMA.name

    @property
    def engine(self) -> str:
        """The engine's name, such as "llama.cpp"."""
        return self.profile.name if self.profile is not None and self.is_known else "an OpenAI-compatible engine"

    @property
    def title(self) -> str:
        """The engine's name and version, as far as they are known."""
        return f"{self.engine} {self.version}" if self.version else self.engine

    @property
    def names(self) -> list[str]:
        """The names of all models."""
        return [model.id for model in self.models]

    @property
    def choices(self) -> list[OfferedModel]:
        """The models that no name may stand for: of an Ollama those that call tools, else those that chat."""
        if self.is_ollama:
            return [model for model in self.models if model.tools]
        return [model for model in self.models if model.chats is not False] or list(self.models)

    def meant(self, name: str) -> OfferedModel | None:
        """Return the model that a name means, or no name if there is one choice; None: there is no such model."""
        if not name:
            return self.choices[0] if len(self.choices) == 1 else None
        model = self.find(name)
        takes_any_name = self.profile is not None and self.profile.ignores_model_name
        return self.models[0] if model is None and takes_any_name and self.models else model

    @property
    def stranger(self) -> ProbeAnswer:
        """The answer that shows best what is there in place of an engine."""
        candidates = (
            *(answer for answer in self.answers if answer.location),
            *(answer for answer in self.answers if answer.is_page),
            *(answer for answer in self.answers if answer.status not in (None, 404)),  # a path that exists shows more
        )
        return next(iter(candidates), self.answers[0])

    def near(self, name: str) -> list[str]:
        """Return the names that are most like this one, which the engine does not list."""
        return nearest(with_tag(name) if self.is_ollama else name, self.names)

    def find(self, name: str) -> OfferedModel | None:
        """Return the model that a name means, or None if the engine does not list it."""
        return next((model for wanted in _spellings(name) for model in self.models if model.id == wanted), None)


def _spellings(name: str) -> Sequence[str]:
    """Return how engines may list a model.

    An Ollama adds ``:latest`` to a name without a tag, Gemini lists its names behind ``models/``, OpenRouter does not
    list its variants such as ``:nitro``.
    """
    spellings = [name, f"models/{name}"]
    if with_tag(name) != name:
        spellings.append(with_tag(name))
    elif "/" in name:
        spellings.append(name.partition(":")[0])
    return spellings


def nearest(name: str, names: Sequence[str]) -> list[str]:
    """Return the names that are most like this one."""
    return get_close_matches(name, names, n=3, cutoff=0.4)


def in_short(names: Sequence[str], most: int = 10) -> str:
    """Return the names in a sentence, no more than so many of them."""
    listed = ", ".join(names[:most]) or "none"
    return f"{listed} and {len(names) - most} more (bridge models lists all)" if len(names) > most else listed


def with_tag(name: str) -> str:
    """Return the model's whole name: Ollama takes one without a tag for ``:latest``."""
    return name if ":" in name.rpartition("/")[2] else f"{name}:latest"


def with_ollama_limits(model: OfferedModel) -> OfferedModel:
    """Return the model with the limits that an Ollama has where nothing is reported."""
    window = model.context_window or FALLBACK_TRAINED_TOKENS
    return replace(
        model,
        context_window=window,
        max_output_tokens=model.max_output_tokens or window * OLLAMA_OUTPUT_WINDOWS,
        cost=model.cost or FREE,
    )


def abilities_in_words(model: OfferedModel) -> str:
    """Return what the model can and can't do; missing tools have a message of their own."""
    known = {
        "calls tools": model.tools,
        "thinks": model.thinking,
        "sees images": model.images,
        "sees no images": model.images is False,
    }
    return ", ".join(words for words, holds in known.items() if holds)


def profile_as_reported(profile: Profile, model: OfferedModel) -> Profile:
    """Return the profile with what is reported about the model, which is surer than what its name suggests."""
    profile = profile_with_reasoning(profile, model.reasoning)
    if model.images is not None:
        profile = replace(profile, sees_images=model.images)
    if model.thinking is False:
        profile = profile.with_changes({"effort_levels": (), "thinking_switch": None, "budget_place": None})
    return profile


def among(ability: str, reported: Collection[str] | None) -> bool | None:
    """Return whether the ability is in a list of abilities; None: there is no list."""
    return None if reported is None else ability in reported


def positive(number: object) -> int | None:
    """Return the number as a count; None for anything that is not one."""
    if not isinstance(number, int | float) or isinstance(number, bool) or not math.isfinite(number):
        return None
    return int(number) if number > 0 else None
