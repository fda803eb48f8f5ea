"""What the answers say of the engine and the model: which it is, what it can do, and how long its windows are."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from claude_bridge.doctor.answers import Answer, EngineAnswers
from claude_bridge.upstream.engines.detect import MODELS_PATH
from claude_bridge.upstream.engines.ollama import with_tag
from claude_bridge.wire import ollama
from claude_bridge.wire.lenient_json import parse_any
from claude_bridge.wire.openai import ListedModel, parse_models

_Parsed = TypeVar("_Parsed")


class Kind(StrEnum):
    """Which engine it is."""

    OLLAMA = "Ollama"
    LLAMA_CPP = "llama.cpp"
    LM_STUDIO = "LM Studio"
    VLLM = "vLLM"
    OTHER = "an OpenAI-compatible engine"


class Facts(Struct, frozen=True, kw_only=True):
    """What is known of the engine; None, and nothing in a list, where it does not tell."""

    kind: Kind | None = None
    """None: nothing that we could talk to."""
    version: str | None = None
    base_url: str | None = None
    """Where its API was found."""
    model: str = ""
    """The one that is meant: as given, or the only one."""
    names: tuple[str, ...] = ()
    listed: ListedModel | None = None
    description: ollama.ModelDescription | None = None
    loaded: ollama.LoadedModel | None = None
    capabilities: tuple[str, ...] | None = None
    """In Ollama's words, whichever engine it is."""
    trained_tokens: int | None = None
    window_tokens: int | None = None
    """Of an engine whose window is set where it is started."""
    wished_tokens: int | None = None
    """The window that is configured."""


def read_facts(answers: EngineAnswers, model: str) -> Facts:
    """Return what the answers say of the engine, and of ``model`` or the only one that it has."""
    version = _ollama_version(answers.version)
    if version is not None:
        return _ollama_facts(answers, version, model)
    for answer in answers.models:
        listed = _listed_models(answer)
        if listed is not None:
            base_url = answer.url.removesuffix(MODELS_PATH)
            return _other_facts(answers, base_url, listed, model)
    return Facts(model=model)


def _ollama_facts(answers: EngineAnswers, version: str, model: str) -> Facts:
    body = answers.tags.good_body if answers.tags else None
    names = tuple(one.name for one in _parsed(ollama.parse_tags, body) or ())
    if not model and len(answers.able) == 1:
        model = answers.able[0]
    description = _parsed(ollama.parse_show, answers.show.good_body if answers.show else None)
    running = _parsed(ollama.parse_ps, answers.ps.good_body if answers.ps else None) or []
    told = description.capabilities if description else None
    return Facts(
        kind=Kind.OLLAMA,
        version=version,
        base_url=answers.root,
        model=model,
        names=names,
        description=description,
        loaded=next((one for one in running if with_tag(model) in (one.name, one.model)), None),
        capabilities=tuple(told) if told is not None else None,
    )


def _other_facts(answers: EngineAnswers, base_url: str, listed: list[ListedModel], model: str) -> Facts:
    names = tuple(one.id for one in listed)
    props, studio = _object(answers.props), _object(answers.studio_models).get("data")
    owners = {one.owned_by for one in listed}
    if not model and len(names) == 1:
        model = names[0]
    facts = Facts(
        kind=Kind.OTHER,
        base_url=base_url,
        model=model,
        names=names,
        listed=next((one for one in listed if one.id == model), None),
    )
    if "llamacpp" in owners or isinstance(props.get("default_generation_settings"), dict):
        only = facts.listed or (listed[0] if listed else None)  # it takes any name for the one model that it runs
        return _llama_cpp_facts(msgspec.structs.replace(facts, listed=only), props)
    if isinstance(studio, list) and any(isinstance(one, dict) and "state" in one for one in studio):
        return _lm_studio_facts(facts, next((one for one in studio if _id_of(one) == model), {}))
    window = next((one for one in (_window_told(facts.listed) if facts.listed else ()) if one), None)
    if "vllm" in owners:
        version = _object(answers.engine_version).get("version")
        return msgspec.structs.replace(
            facts, kind=Kind.VLLM, version=version if isinstance(version, str) else None, window_tokens=window
        )
    return msgspec.structs.replace(facts, window_tokens=window)


def _llama_cpp_facts(facts: Facts, props: dict[str, Any]) -> Facts:
    settings, template, modalities = (
        given if isinstance(given, dict) else {}
        for given in (props.get(key) for key in ("default_generation_settings", "chat_template_caps", "modalities"))
    )
    capabilities = None
    if template:
        can = {"tools": template.get("supports_tools"), "vision": modalities.get("vision")}
        capabilities = ("completion", *(name for name, able in can.items() if able))
    meta = (facts.listed.meta if facts.listed else None) or {}
    version = props.get("build_info")
    return msgspec.structs.replace(
        facts,
        kind=Kind.LLAMA_CPP,
        version=version if isinstance(version, str) else None,
        capabilities=capabilities,
        trained_tokens=_count(meta.get("n_ctx_train")),
        window_tokens=_count(settings.get("n_ctx")) or _count(meta.get("n_ctx")),
    )


def _lm_studio_facts(facts: Facts, row: dict[str, Any]) -> Facts:
    capabilities: tuple[str, ...] | None = None
    if row.get("type") == "embeddings":
        capabilities = ("embedding",)
    elif isinstance(row.get("capabilities"), list):
        can = {"tools": "tool_use" in row["capabilities"], "vision": row.get("type") == "vlm"}
        capabilities = ("completion", *(name for name, able in can.items() if able))
    return msgspec.structs.replace(
        facts,
        kind=Kind.LM_STUDIO,
        capabilities=capabilities,
        trained_tokens=_count(row.get("max_context_length")),
        window_tokens=_count(row.get("loaded_context_length")),
    )


def _window_told(model: ListedModel) -> tuple[int | None, ...]:
    return (_count((model.meta or {}).get("n_ctx")), _count(model.max_model_len), _count(model.context_length))


def _count(told: object) -> int | None:
    return told if isinstance(told, int) and not isinstance(told, bool) and told > 0 else None


def _id_of(row: object) -> object:
    return row.get("id") if isinstance(row, dict) else None


def _ollama_version(answer: Answer) -> str | None:
    return _parsed(ollama.parse_version, answer.good_body)


def _listed_models(answer: Answer) -> list[ListedModel] | None:
    return _parsed(parse_models, answer.good_body)


def _object(answer: Answer | None) -> dict[str, Any]:
    document = _parsed(parse_any, answer.good_body if answer else None)
    return document if isinstance(document, dict) else {}


def _parsed(parse: Callable[[bytes], _Parsed], body: bytes | None) -> _Parsed | None:
    try:
        return None if body is None else parse(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
