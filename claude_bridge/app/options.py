"""What a caller may say of the bridge that it wants. Light to import: the command line reads its fields for --help."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Options:
    """The engine, its model, and how requests are routed and treated. None leaves it to the configuration."""

    provider: str = ""
    """Empty: the default model of the configuration."""
    model: str = ""
    """Empty: the only model that the engine has, or the one that the user chooses."""
    base_url: str | None = None
    api_key: str | None = None
    ca_file: Path | None = None
    context_window: int | None = None
    max_tokens: int | None = None
    max_concurrent: int | None = None
    memo: bool | None = None
    """Whether what earlier requests were made into is used again."""
    think: Literal["auto", "on", "off"] | None = None
    small_model: str | None = None
    plan_model: str | None = None
    fallback: list[str] | None = None
    route: list[str] | None = None
    vision_model: str | None = None
    web_search: str | None = None
    api: str | None = None
    model_file: Path | None = None
    check: bool = True
    """Whether the engine is examined before it is used."""
    page: bool | None = None
    """Whether a browser can look at the bridge."""
    debug: bool = False
    trace: Path | None = None
    config_file: Path | None = None
    """Another configuration file than the usual one."""


@dataclass(frozen=True, kw_only=True)
class ServerOptions:
    """Where the bridge listens, and for whom. None leaves it to the configuration."""

    host: str | None = None
    port: int | None = None
    auth_token: str | None = None
    max_memory: int | None = None
    """In MB, for the bodies of all requests."""
