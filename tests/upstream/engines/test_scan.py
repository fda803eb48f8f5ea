"""Engines on other machines of the local network, played by other addresses of this one."""

from __future__ import annotations

import socket
from ipaddress import IPv4Address

import pytest

from claude_bridge.upstream.engines.catalog import list_everywhere, neighbours, scan
from tests.fake_upstream import FakeUpstream, model_list
from tests.scripted_ollama import ScriptedOllama, a_model

pytestmark = pytest.mark.anyio


async def test_what_listens_is_found_and_its_models_are_listed() -> None:
    async with (
        ScriptedOllama({"qwen3:8b": a_model("tools")}) as ollama,
        FakeUpstream(documents={"/v1/models": model_list("local-model")}) as studio,
    ):
        ports = {int(ollama.root_url.rpartition(":")[2]): "ollama", studio.port: "lmstudio"}
        places = await scan(["127.0.0.1", "127.0.0.250"], ports=ports)
        listings, _ = await list_everywhere(places)
    assert {place.provider for place in places} == {"ollama", "lmstudio"}
    assert {listing.provider: [model.id for model in listing.models] for listing in listings} == {
        "ollama": ["qwen3:8b"],
        "lmstudio": ["local-model"],
    }


async def test_where_nothing_listens_nothing_is_found() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, and not listening
        assert await scan(["127.0.0.1"], ports={taken.getsockname()[1]: "ollama"}, limit_s=0.5) == []


def test_only_a_private_network_is_looked_at() -> None:
    hosts = neighbours()
    assert len(hosts) in (0, 253, 254)
    assert all(IPv4Address(host).is_private for host in hosts)
