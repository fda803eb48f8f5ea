"""Looks for engines on the other machines of the local network, where the user asks for it."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address, IPv4Network

import anyio
from msgspec.structs import replace

from claude_bridge.providers import PROVIDERS, upstream_of
from claude_bridge.upstream.engines.engine import Engine

PORTS: Mapping[int, str] = {11434: "ollama", 1234: "lmstudio"}
"""The ports of engines that people share in a network, and their providers."""

CONNECT_LIMIT_S = 1.0
MAX_CONNECTING = 128


def neighbours() -> list[str]:
    """Return the addresses that differ from this machine's own in the last number; none outside a private network."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # chooses the way out; nothing is sent
        except OSError:
            return []
        own = IPv4Address(probe.getsockname()[0])
    if not own.is_private or own.is_loopback:
        return []
    return [str(host) for host in IPv4Network(f"{own}/24", strict=False).hosts() if host != own]


async def scan(
    hosts: Iterable[str], *, ports: Mapping[int, str] = PORTS, limit_s: float = CONNECT_LIMIT_S
) -> list[Engine]:
    """Return where something listens at these ports, each tried once for ``limit_s`` seconds; no byte is sent.

    ``ports`` says whose engine is expected at which port.
    """
    found: list[tuple[str, int]] = []
    limiter = anyio.CapacityLimiter(MAX_CONNECTING)

    async def try_to_connect(host: str, port: int) -> None:
        async with limiter:
            with anyio.move_on_after(limit_s):
                try:
                    stream = await anyio.connect_tcp(host, port)
                except OSError:
                    return
                found.append((host, port))
                await stream.aclose()

    async with anyio.create_task_group() as tasks:
        for host in hosts:
            for port in ports:
                tasks.start_soon(try_to_connect, host, port)
    return [_engine(host, port, ports[port]) for host, port in sorted(found)]


def _engine(host: str, port: int, provider: str) -> Engine:
    row = PROVIDERS[provider]
    path = "" if row.kind == "ollama-chat" else "/v1"
    upstream = upstream_of(row, base_url=f"http://{host}:{port}{path}", model="")
    return Engine(provider=row.name, upstream=replace(upstream, name=row.display_name))
