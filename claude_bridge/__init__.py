"""A bridge from Anthropic's Messages API to the engines that people run.

``open_bridge`` is the way in for programs; see docs/how-to/use-as-a-library.md.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from claude_bridge.errors import (
    BridgeError,
    ClientError,
    InvalidRequestError,
    PromptTooLongError,
    SetupError,
    UpstreamBrokenError,
    UpstreamError,
    UpstreamLoadingError,
    UpstreamOverloadedError,
    UpstreamRefusedError,
    UpstreamTimeoutError,
    UpstreamUnreachableError,
)
from claude_bridge.version import __version__

if TYPE_CHECKING:
    from claude_bridge.library import Bridge, EventStream, open_bridge
    from claude_bridge.wire.anthropic import CountTokensRequest, InputMessage, MessagesRequest
    from claude_bridge.wire.anthropic_answers import Message, StreamEvent

__all__ = [
    "Bridge",
    "BridgeError",
    "ClientError",
    "CountTokensRequest",
    "EventStream",
    "InputMessage",
    "InvalidRequestError",
    "Message",
    "MessagesRequest",
    "PromptTooLongError",
    "SetupError",
    "StreamEvent",
    "UpstreamBrokenError",
    "UpstreamError",
    "UpstreamLoadingError",
    "UpstreamOverloadedError",
    "UpstreamRefusedError",
    "UpstreamTimeoutError",
    "UpstreamUnreachableError",
    "__version__",
    "open_bridge",
]

_LOADED_WHEN_USED = ("claude_bridge.library", "claude_bridge.wire.anthropic", "claude_bridge.wire.anthropic_answers")
"""The homes of the other names: they bring an HTTP client, for which `bridge --version` need not wait."""


def __getattr__(name: str) -> object:
    if name in __all__:
        for home in map(import_module, _LOADED_WHEN_USED):
            if hasattr(home, name):
                return getattr(home, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
