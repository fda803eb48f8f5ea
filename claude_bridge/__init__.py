"""A bridge from Anthropic's Messages API to the engines that people run.

``open_bridge`` is the way in for programs; see docs/how-to/use-as-a-library.md.
"""

from __future__ import annotations

from claude_bridge.version import __version__

TYPE_CHECKING = False
if TYPE_CHECKING:
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

_HOMES = (
    "claude_bridge.errors",
    "claude_bridge.library",
    "claude_bridge.wire.anthropic",
    "claude_bridge.wire.anthropic_answers",
)
"""Where the other names are, from light to heavy. They load when one is used, so that a command starts at once."""


def __getattr__(name: str) -> object:
    if name in __all__:
        from importlib import import_module

        for home in map(import_module, _HOMES):
            if hasattr(home, name):
                return getattr(home, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
