"""A web in which every host is scripted: for what is asked of engines and services that can't be on this machine."""

from __future__ import annotations

import json as jsonlib
import re
from collections.abc import AsyncIterator, Mapping
from functools import partial
from typing import Any

import pytest
from anyio import connect_tcp
from anyio.abc import ByteStream
from msgspec import Struct

from claude_bridge.upstream import transport
from claude_bridge.upstream.network import NoConnectionError
from claude_bridge.upstream.proxies import Proxy
from claude_bridge.wire.urls import Url
from tests.fake_upstream import FakeUpstream, ReceivedRequest, Reply, document, refusal


class _Rule(Struct, kw_only=True):
    url: str | re.Pattern[str] | None
    headers: Mapping[str, str]
    reply: Reply
    is_optional: bool
    is_reusable: bool
    is_used: bool = False

    def fits(self, url: str, request: ReceivedRequest) -> bool:
        if self.is_used and not self.is_reusable:
            return False
        if any(request.headers.get(name) != value for name, value in self.headers.items()):
            return False
        return self.url is None or (self.url == url if isinstance(self.url, str) else bool(self.url.match(url)))


class ScriptedWeb:
    """Answers what is asked of any host, each rule once; a question that no rule answers fails the test."""

    def __init__(self) -> None:
        self.requests: list[str] = []
        """The URLs that were asked for."""
        self.refuses = False
        """Whether nobody listens anywhere."""
        self._schemes: dict[str, str] = {}
        self._rules: list[_Rule] = []
        self._unanswered: list[str] = []

    def add(
        self,
        *,
        url: str | re.Pattern[str] | None = None,
        status: int = 200,
        json: Any = None,
        text: str = "",
        html: str = "",
        content: bytes = b"",
        headers: Mapping[str, str] | None = None,
        match_headers: Mapping[str, str] | None = None,
        is_optional: bool = False,
        is_reusable: bool = False,
    ) -> None:
        """Answer the next request to this URL (None: to any) in this way."""
        body = jsonlib.dumps(json).encode() if json is not None else (html or text).encode() or content
        kind = "application/json" if json is not None else "text/html" if html else "text/plain"
        reply = document(body, status=status, content_type=kind, headers=headers)
        self._rules.append(
            _Rule(url=url, headers=match_headers or {}, reply=reply, is_optional=is_optional, is_reusable=is_reusable)
        )

    async def open_stream(self, url: Url, _proxy: Proxy | None, *, port: int) -> ByteStream:
        """Connect to the fake, whichever host is meant."""
        if self.refuses:
            raise NoConnectionError("refused the connection.")
        self._schemes[url.authority] = url.scheme
        return await connect_tcp("127.0.0.1", port)

    def reply_to(self, request: ReceivedRequest) -> Reply:
        """Return what the first rule that fits answers."""
        authority = request.headers["host"]
        url = f"{self._schemes[authority]}://{authority}{request.path}"
        self.requests.append(url)
        rule = next((rule for rule in self._rules if rule.fits(url, request)), None)
        if rule is None:
            self._unanswered.append(url)
            return refusal(500, "no rule for this")
        rule.is_used = True
        return rule.reply

    def check(self) -> None:
        """Assert that all was asked for, and nothing else."""
        assert not self._unanswered, "nothing was scripted for these"
        assert not [rule for rule in self._rules if not (rule.is_used or rule.is_optional)], "nobody asked for these"


@pytest.fixture
async def web(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ScriptedWeb]:
    """Lead all connections to one fake upstream; check in the end that all was asked for."""
    scripted = ScriptedWeb()
    async with FakeUpstream(scripted.reply_to, answers_get=True) as upstream:
        monkeypatch.setattr(transport, "open_stream", partial(scripted.open_stream, port=upstream.port))
        yield scripted
    scripted.check()
