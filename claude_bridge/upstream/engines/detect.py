"""Identifies an engine and reads what it reports: the one place that does so.

An Ollama is known by /api/version, since other engines answer /api/tags too; llama.cpp, vLLM and SGLang by the owner
that they name for their models, old versions of llama.cpp by /props; LM Studio by its own API.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import urlsplit

from msgspec.structs import replace

from claude_bridge.adapters.engine_profiles import (
    BY_OWNER,
    LLAMA_CPP,
    LM_STUDIO,
    OLLAMA,
    UNKNOWN,
    VLLM,
    engine_by_owner,
)
from claude_bridge.conversion.profile import Profile
from claude_bridge.providers import Upstream
from claude_bridge.upstream.client import UpstreamClient, client_for
from claude_bridge.upstream.engines.llama_cpp import PROPS_PATH, is_llama_cpp, read_llama_cpp
from claude_bridge.upstream.engines.lm_studio import read_lm_studio
from claude_bridge.upstream.engines.ollama import VERSION_PATH, read_ollama, root_url
from claude_bridge.upstream.engines.openai_compatible import (
    MODELS_PATH,
    base_url_candidates,
    describes_abilities,
    offered_by_any,
    usual_prices,
)
from claude_bridge.upstream.engines.report import EngineReport, ProbeAnswer, probe
from claude_bridge.wire.model_list import ListedModel, parse_listed_models, parse_props
from claude_bridge.wire.ollama import parse_version

_ENGINES = (UNKNOWN, *BY_OWNER.values())
"""Rows that the owner of a listed model can change; a service may list what other engines own."""

_VLLM_VERSION_PATH = "/version"


async def inspect_engine(
    upstream: Upstream, api_key: str | None, *, every_model: bool = False, may_be_ollama: bool = True
) -> EngineReport:
    """Return what the engine at the upstream's address reports; trouble is part of the report, and not raised.

    All models are described with ``every_model``, else the upstream's. An engine that speaks OpenAI's
    API is checked for being an Ollama if it ``may_be_ollama``.
    """
    candidates = base_url_candidates(upstream.base_url)
    async with client_for(replace(upstream, base_url=root_url(candidates[0])), api_key) as client:
        answers: list[ProbeAnswer] = []
        is_passthrough = upstream.adapter.is_passthrough and not upstream.profile.messages.is_anthropic
        asks_version_first = upstream.adapter.kind == "ollama-chat" or is_passthrough
        if asks_version_first:
            answers.append(await probe(client, VERSION_PATH))
            if version := answers[0].parsed(parse_version):
                return await _ollama(client, version, upstream, answers, every_model=every_model)
            if answers[0].error is not None:
                return EngineReport(answers=tuple(answers))
        found = await _find_models(client, candidates)
        answers += found.answers
        listed = found.listed
        assumed = UNKNOWN if upstream.adapter.kind == "ollama-chat" else upstream.profile
        profile = _profile_by_owner(assumed, listed or ())
        is_open = profile is UNKNOWN and answers[-1].error is None and not describes_abilities(listed or ())
        if is_open and may_be_ollama and not asks_version_first:
            answer = await probe(client, VERSION_PATH)
            if version := answer.parsed(parse_version):
                return await _ollama(client, version, upstream, answers, every_model=every_model)
        if listed is None:
            return EngineReport(answers=tuple(answers))
        cost = usual_prices(upstream.name if profile is UNKNOWN else profile.name, found.base_url)
        report = EngineReport(
            answers=tuple(answers),
            profile=profile,
            base_url=found.base_url,
            models=tuple(offered_by_any(model, cost) for model in listed),
        )
        return await _with_own_api(client, report, listed, is_open=is_open)


class _FoundModels(NamedTuple):
    """The answers on the way to a list of models, where it was, and the list; None: there is none."""

    answers: list[ProbeAnswer]
    base_url: str
    listed: list[ListedModel] | None


async def _find_models(client: UpstreamClient, candidates: Sequence[str]) -> _FoundModels:
    answers: list[ProbeAnswer] = []
    for base_url in candidates:
        path = urlsplit(base_url).path.removeprefix(urlsplit(client.base_url).path)
        answer = await probe(client, path + MODELS_PATH)
        answers.append(answer)
        listed = answer.parsed(parse_listed_models)
        if listed is not None:
            return _FoundModels(answers, base_url, listed)
        if answer.status is None or answer.status in (401, 403, 429) or answer.status >= 500:
            break  # another path would not be answered better
    return _FoundModels(answers, candidates[0], None)


def _profile_by_owner(profile: Profile, listed: Sequence[ListedModel]) -> Profile:
    found = engine_by_owner(model.owned_by for model in listed)
    return found if found is not None and profile in _ENGINES else profile


async def _ollama(
    client: UpstreamClient, version: str, upstream: Upstream, answers: Sequence[ProbeAnswer], *, every_model: bool
) -> EngineReport:
    report = EngineReport(answers=tuple(answers), profile=OLLAMA, version=version, base_url=client.base_url)
    return await read_ollama(client, report, upstream.model, every_model=every_model)


async def _with_own_api(
    client: UpstreamClient, report: EngineReport, listed: Sequence[ListedModel], *, is_open: bool
) -> EngineReport:
    """Return the report with what the engine's own API adds; an engine that ``is_open`` may turn out to be any."""
    if is_open or report.profile is LM_STUDIO:
        studio = await read_lm_studio(client, usual_prices(LM_STUDIO.name, report.base_url))
        if studio is not None:
            described = {model.id for model in studio}
            others = [model for model in report.models if model.id not in described]
            return replace(report, profile=LM_STUDIO, models=(*studio, *others))
    if is_open and is_llama_cpp((await probe(client, PROPS_PATH)).parsed(parse_props)):
        report = replace(report, profile=LLAMA_CPP)
    if report.profile is LLAMA_CPP:
        return await read_llama_cpp(client, report, listed)
    if report.profile is VLLM:
        version = (await probe(client, _VLLM_VERSION_PATH)).parsed(parse_version)
        return replace(report, version=version)
    return report
