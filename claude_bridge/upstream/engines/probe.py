"""Sends an engine one small request; every outcome is a value, and nothing is raised."""

from __future__ import annotations

from collections.abc import Mapping

import anyio

from claude_bridge.errors import UpstreamError, UpstreamTimeoutError
from claude_bridge.upstream.client import UpstreamClient
from claude_bridge.upstream.engines.report import ProbeAnswer
from claude_bridge.wire.urls import join_path

PROBE_TIMEOUT_S = 5.0


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


async def probe_all(client: UpstreamClient, questions: Mapping[str, bytes | None]) -> list[ProbeAnswer]:
    """Return the answers to several requests, sent side by side, in their order."""
    answers: dict[str, ProbeAnswer] = {}

    async def ask(path: str, question: bytes | None) -> None:
        answers[path] = await probe(client, path, question)

    async with anyio.create_task_group() as tasks:
        for path, question in questions.items():
            tasks.start_soon(ask, path, question)
    return [answers[path] for path in questions]
