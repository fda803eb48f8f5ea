"""BridgeProtocol: what the server and other users of a bridge need of it, whether it has one model or several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Protocol

from claude_bridge.adapters.base import ClientRequest
from claude_bridge.exchange import Answer
from claude_bridge.providers import Upstream
from claude_bridge.trace.recorder import Recorder
from claude_bridge.wire.anthropic import CountTokensRequest, MessagesRequest

if TYPE_CHECKING:
    from claude_bridge.upstream.engines.report import OfferedModel


class BridgeProtocol(Protocol):
    """What carries requests to engines: a ModelBridge to one of them, or several with a choice before them."""

    @property
    def upstream(self) -> Upstream:
        """The main upstream."""
        ...

    @property
    def small_model(self) -> str | None:
        """The name by which clients ask for the small model; None: there is none."""
        ...

    @property
    def is_passthrough(self) -> bool:
        """Whether requests go on as they came, so that they need not be understood."""
        ...

    @property
    def resting(self) -> Mapping[str, float]:
        """The models that failed a moment ago, and the seconds for which they are still tried last."""
        ...

    async def begin(
        self, request: MessagesRequest, recorder: Recorder, raw: ClientRequest | None, stack: AsyncExitStack
    ) -> Answer:
        """Send a request upstream; see ModelBridge.begin."""
        ...

    async def count_tokens(self, request: CountTokensRequest, raw: ClientRequest | None = None) -> int:
        """Return the tokens of the prompt; see ModelBridge.count_tokens."""
        ...

    async def reach(self) -> None:
        """Check that the main upstream answers; raises UpstreamError."""
        ...

    async def offered(self) -> Sequence[OfferedModel]:
        """Return the models that requests may name, beside the main one."""
        ...
