"""Asks an engine everything that the checks need, side by side; trouble becomes a value, and nothing is raised."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

import anyio
import msgspec

from claude_bridge.doctor.answers import Answer, EngineAnswers, Trouble, trouble_of
from claude_bridge.doctor.facts import Kind, read_facts
from claude_bridge.errors import UpstreamError
from claude_bridge.upstream.client import UpstreamClient
from claude_bridge.upstream.engines.detect import MODELS_PATH, base_url_candidates
from claude_bridge.upstream.engines.ollama import can_call_tools, describe_models, root_url
from claude_bridge.wire import ollama
from claude_bridge.wire.addresses import reaches_this_machine

ASK_TIMEOUT_S = 5.0
ELSEWHERE_TIMEOUT_S = 1.0
MAX_DESCRIBED = 50
"""Of how many installed models is asked whether they can call tools."""

USUAL_ROOTS = ("http://127.0.0.1:11434", "http://127.0.0.1:8080", "http://127.0.0.1:1234", "http://127.0.0.1:8000")
"""Where Ollama, llama.cpp, LM Studio and vLLM listen unless told otherwise."""

_NOTHING = b"{}"


async def gather_answers(
    base_url: str, *, model: str, api_key: str | None, usual_roots: Sequence[str] = USUAL_ROOTS
) -> EngineAnswers:
    """Return what the engine at ``base_url`` answers; an empty ``model`` means the only one that there is."""
    candidates = base_url_candidates(base_url)
    root = root_url(candidates[0])
    # As the user gave it, and with /v1 or without where that was not meant.
    paths = list(dict.fromkeys([*(url.removeprefix(root) for url in candidates), "/v1", ""]))
    async with UpstreamClient(root, api_key=api_key, name="The engine") as client:
        got = await _ask_all(client, ["/api/version", *(path + MODELS_PATH for path in paths)])
        answers = EngineAnswers(
            root=root,
            version=got["/api/version"],
            models=tuple(got[path + MODELS_PATH] for path in paths),
        )
        if all(answer.status is None for answer in (answers.version, *answers.models)):
            return await _with_elsewhere(answers, usual_roots)
        if read_facts(answers, "").kind is Kind.OLLAMA:
            return await _with_ollama(client, answers, model)
        got = await _ask_all(client, ["/props", "/version", "/api/v0/models"])
    answers = msgspec.structs.replace(
        answers, props=got["/props"], engine_version=got["/version"], studio_models=got["/api/v0/models"]
    )
    if read_facts(answers, "").kind is None:
        return await _with_elsewhere(answers, usual_roots)
    return answers


async def _with_ollama(client: UpstreamClient, answers: EngineAnswers, model: str) -> EngineAnswers:
    got = await _ask_all(client, ["/api/tags", "/api/ps", "/api/status"], {"/api/me": _NOTHING})
    answers = msgspec.structs.replace(
        answers, tags=got["/api/tags"], ps=got["/api/ps"], status=got["/api/status"], me=got["/api/me"]
    )
    if model:
        answers = await _with_show(client, answers, model)
        facts = read_facts(answers, model)
        if facts.description is not None and "tools" in (facts.description.capabilities or ()):
            return answers
    able = await _able_models(client, read_facts(answers, model).names)
    answers = msgspec.structs.replace(answers, able=able)
    return await _with_show(client, answers, able[0]) if not model and len(able) == 1 else answers


async def _with_show(client: UpstreamClient, answers: EngineAnswers, model: str) -> EngineAnswers:
    got = await _ask_all(client, [], {"/api/show": ollama.encode_show_request(model)})
    return msgspec.structs.replace(answers, show=got["/api/show"])


async def _able_models(client: UpstreamClient, names: Sequence[str]) -> tuple[str, ...]:
    described: Mapping[str, ollama.ModelDescription | None] = {}
    with anyio.move_on_after(ASK_TIMEOUT_S):
        described = await describe_models(client, names[:MAX_DESCRIBED])
    return tuple(name for name, description in described.items() if can_call_tools(description))


async def _with_elsewhere(answers: EngineAnswers, usual_roots: Sequence[str]) -> EngineAnswers:
    """Look at the usual places of this machine, if the engine is said to be here."""
    if not reaches_this_machine(urlsplit(answers.root).hostname or ""):
        return answers
    found: dict[str, str] = {}

    async def look(root: str) -> None:
        async with UpstreamClient(root, api_key=None, name="The engine") as client:
            got = await _ask_all(client, ["/api/version", "/v1/models"], timeout_s=ELSEWHERE_TIMEOUT_S)
        there = EngineAnswers(root=root, version=got["/api/version"], models=(got["/v1/models"],))
        facts = read_facts(there, "")
        if facts.kind is not None:
            found[root] = f"{facts.kind} at {root if facts.kind is Kind.OLLAMA else root + '/v1'}"

    async with anyio.create_task_group() as tasks:
        for root in usual_roots:
            if urlsplit(root).port != urlsplit(answers.root).port:
                tasks.start_soon(look, root)
    return msgspec.structs.replace(answers, elsewhere=tuple(found[root] for root in usual_roots if root in found))


async def _ask_all(
    client: UpstreamClient,
    paths: Sequence[str],
    questions: Mapping[str, bytes] | None = None,
    *,
    timeout_s: float = ASK_TIMEOUT_S,
) -> dict[str, Answer]:
    """GET the paths and POST the questions, all at once."""
    answers: dict[str, Answer] = {}

    async def ask(path: str, question: bytes | None) -> None:
        answers[path] = await _ask(client, path, question, timeout_s)

    async with anyio.create_task_group() as tasks:
        for path in paths:
            tasks.start_soon(ask, path, None)
        for path, question in (questions or {}).items():
            tasks.start_soon(ask, path, question)
    return answers


async def _ask(client: UpstreamClient, path: str, question: bytes | None, timeout_s: float) -> Answer:
    url = client.base_url + path
    with anyio.move_on_after(timeout_s):
        try:
            document = await client.fetch(path, timeout_s=timeout_s, question=question)
        except UpstreamError as error:
            return Answer(url=url, trouble=trouble_of(error), words=error.message)
        return Answer(
            url=url,
            status=document.status,
            content_type=document.headers.get("content-type", ""),
            location=document.headers.get("location", ""),
            body=document.body,
        )
    return Answer(url=url, trouble=Trouble.TIMEOUT, words=f"{url} did not answer within {timeout_s:.0f} s.")
