"""What an adapter is: pure code that translates to another API, or a relay that passes Anthropic's own on.

Either way an answer is an ``Answer``: an engine's bytes in, what the client gets out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, runtime_checkable

from msgspec import UNSET, Struct, UnsetType, field
from msgspec.structs import replace

from claude_bridge.conversion.deltas import Delta, UsageReport
from claude_bridge.conversion.loss import Loss, Repair
from claude_bridge.conversion.profile import Profile
from claude_bridge.conversion.request.normalize import NormalizedRequest
from claude_bridge.errors import BridgeError
from claude_bridge.wire.anthropic import CountTokensRequest, Diagnostics, MessagesRequest, ResponseItem


class ClientRequest(Struct, frozen=True, kw_only=True):
    """A client's request as it came. Header names are lower case; ``query`` is what stands behind the path."""

    body: bytes
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)

    def without_credentials(self) -> ClientRequest:
        """Return the request without what the client proves itself with."""
        headers = {name: value for name, value in self.headers.items() if name not in ("authorization", "x-api-key")}
        return replace(self, headers=headers)


class OutgoingRequest(Struct, frozen=True, kw_only=True):
    """What to send upstream. ``path`` is relative to the base URL; the key is added on the way out.

    ``headers`` take the place of the client's usual ones of the same name, which is in lower case.
    """

    method: str
    path: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


class TokenLimits(Struct, frozen=True, kw_only=True):
    """What a model can take and give, in tokens; None means not known."""

    max_output_tokens: int | None = None
    window_tokens: int | None = None
    available_output_tokens: int | None = None
    """What of the window is left for the answer to this prompt, where the engine refuses a longer one."""


class AnswerTerms(Struct, frozen=True, kw_only=True):
    """What the bridge gives to an answer that is to come: ids, and what is known of the prompt beforehand.

    ``prompt_tokens`` is an estimate; ``window_tokens`` the engine's context window (None: not known).
    """

    message_id: str
    request_id: str
    prompt_tokens: int
    window_tokens: int | None
    new_tool_id: Callable[[], str]
    diagnostics: Diagnostics | UnsetType | None = UNSET
    """What the client is told of its prompt cache; UNSET: it has not asked."""


class Answer(Protocol):
    """One answer on its way: an engine's bytes in, what the client gets out.

    ``start`` comes first, ``close`` last, ``feed`` and ``keep_alive`` in any order between them. After an error
    nothing more is said.
    """

    @property
    def message_id(self) -> str:
        """The id that the client knows the answer by."""
        ...

    @property
    def emits_before_upstream(self) -> bool:
        """Whether the client may be told something before the engine has said anything, and errors are made here."""
        ...

    @property
    def begun(self) -> bool:
        """Whether the engine has said anything of its answer."""
        ...

    @property
    def done(self) -> bool:
        """Whether the client has all it asked for; what follows need not be waited for."""
        ...

    @property
    def finished(self) -> bool:
        """Whether the engine said why it stopped; only usage may follow, and silence means that none does."""
        ...

    @property
    def error(self) -> BridgeError | None:
        """What ended the answer too early, if anything did."""
        ...

    @property
    def usage(self) -> UsageReport:
        """What the engine has reported so far."""
        ...

    @property
    def repairs(self) -> Sequence[Repair]:
        """The tool calls that were mended so far."""
        ...

    @property
    def mends(self) -> Sequence[str]:
        """What of the engine's own stream was put right so far, in words."""
        ...

    def kept_headers(self, headers: Mapping[str, str]) -> dict[str, str]:
        """Return the headers of an engine's answer that are for the client."""
        ...

    def start(self) -> Sequence[ResponseItem]:
        """Return what opens the answer."""
        ...

    def feed(self, data: bytes) -> Sequence[ResponseItem]:
        """Return what ``data`` completes; raises UpstreamBrokenError for what is beyond all limits."""
        ...

    def keep_alive(self) -> Sequence[ResponseItem]:
        """Return pieces that carry nothing but life."""
        ...

    def fail(self, error: BridgeError) -> Sequence[ResponseItem]:
        """Return what was held back, and what tells of the error."""
        ...

    def close(self) -> Sequence[ResponseItem]:
        """Return the end, once nothing more comes; an answer that was not whole ends in an error."""
        ...


class StreamDecoder(Protocol):
    """Turns the bytes of one upstream answer into deltas, wherever the reads happen to end.

    Raises UpstreamBrokenError only for what is beyond all limits; anything else that makes no sense is a Failure.
    """

    done: bool
    """Whether the engine said its last word; what follows need not be waited for."""

    @property
    def finished(self) -> bool:
        """Whether the engine said why it stopped; only usage may follow, and silence means that none does."""
        ...

    def feed(self, data: bytes) -> list[Delta]:
        """Return the deltas that ``data`` completes."""
        ...

    def close(self) -> list[Delta]:
        """Return the deltas that were waiting for more."""
        ...


class Adapter(Protocol):
    """The pure code for one upstream kind that is not Anthropic's."""

    kind: str
    reach_path: str
    """What can be asked, by GET, of any engine of this kind at no cost."""

    def encode(self, request: NormalizedRequest, model: str, profile: Profile, limits: TokenLimits) -> OutgoingRequest:
        """Return what to send.

        Adds to ``request.losses`` what this kind can't carry.
        """
        ...

    def decoder(self, upstream: str) -> StreamDecoder:
        """Return a decoder for one answer; ``upstream`` names the engine in error texts."""
        ...

    def explain_refusal(self, status: int, headers: Mapping[str, str], body: bytes, upstream: str) -> BridgeError:
        """Return the error for an answer that is no 2xx."""
        ...


@runtime_checkable
class Relay(Protocol):
    """The pure code for engines that speak Anthropic's API themselves: requests are edited, answers mended."""

    kind: str
    reach_path: str

    def edit(
        self, given: ClientRequest, request: CountTokensRequest, model: str, profile: Profile
    ) -> tuple[OutgoingRequest, list[Loss]]:
        """Return what to send, and what of it the engine can't take; an empty ``model`` keeps the client's own."""
        ...

    def answer(self, request: MessagesRequest, profile: Profile, terms: AnswerTerms, upstream: str) -> Answer:
        """Return what passes one answer on, mended; ``upstream`` names the engine in error texts."""
        ...

    def explain_refusal(
        self, status: int, headers: Mapping[str, str], body: bytes, upstream: str, profile: Profile
    ) -> BridgeError:
        """Return the error for an answer that is no 2xx."""
        ...
