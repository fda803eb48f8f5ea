"""Looks at this machine for ``bridge doctor``: environment, the bridge's port, Claude Code and its settings files."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import anyio

from claude_bridge.app.claude_code import settings_paths
from claude_bridge.doctor.finding import Finding
from claude_bridge.doctor.machine import (
    SettingsFile,
    check_client,
    check_port,
    check_proxy,
    check_settings,
)
from claude_bridge.errors import UpstreamError
from claude_bridge.server.port_owner import describe_port_owner
from claude_bridge.upstream.client import UpstreamClient

LOOK_TIMEOUT_S = 5.0


async def inspect_machine(port: int, *, engine_host: str) -> list[Finding]:
    """Return the findings about this machine. Settings are read, never written."""
    return [
        check_proxy(os.environ, engine_host=engine_host),
        await _examine_port(port),
        await _examine_client(),
        *check_settings(os.environ, list(_settings_files()), bridge_url=f"http://127.0.0.1:{port}"),
    ]


async def _examine_port(port: int) -> Finding:
    try:
        listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=port)
    except OSError:
        pass
    else:
        await listener.aclose()
        return check_port(port, is_free=True)
    is_bridge = False
    with anyio.move_on_after(LOOK_TIMEOUT_S):
        try:
            async with UpstreamClient(f"http://127.0.0.1:{port}", api_key=None, name="It") as client:
                document = await client.fetch("/", timeout_s=LOOK_TIMEOUT_S)
            is_bridge = document.body.startswith(b"claude-bridge is running")
        except UpstreamError:
            pass
    return check_port(port, is_free=False, is_bridge=is_bridge, owner=describe_port_owner(port))


async def _examine_client() -> Finding:
    program = shutil.which("claude")
    if program is None:
        return check_client(None, is_found=False)
    version = None
    with anyio.move_on_after(LOOK_TIMEOUT_S):
        try:
            done = await anyio.run_process([program, "--version"], check=False)
            if done.returncode == 0:
                version = done.stdout.decode("utf-8", "replace").strip().partition("\n")[0] or None
        except OSError:
            pass
    return check_client(version, is_found=True)


def _settings_files() -> Iterator[SettingsFile]:
    for path in settings_paths():
        try:
            document = json.loads(path.read_text("utf-8"))
        except OSError:
            continue
        except ValueError:
            yield SettingsFile(_short(path), None)
        else:
            env = document.get("env") if isinstance(document, dict) else None
            variables = env if isinstance(env, dict) else {}
            yield SettingsFile(_short(path), {str(name): str(value) for name, value in variables.items()})


def _short(path: Path) -> str:
    """Return the path as a person writes it."""
    if path.is_relative_to(Path.cwd()):
        return str(path.relative_to(Path.cwd()))
    return f"~/{path.relative_to(Path.home())}" if path.is_relative_to(Path.home()) else str(path)
