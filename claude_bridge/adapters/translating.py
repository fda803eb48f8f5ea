"""TranslatingAdapter: an upstream kind with an API of its own, put together from the functions that translate it."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from functools import cache, partial

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from claude_bridge.adapters.base import (
    ClientRequest,
    EncodedRequest,
    EngineModel,
    OutgoingRequest,
    TokenLimits,
    maker_of,
)
from claude_bridge.conversion.deltas import StreamDecoder
from claude_bridge.conversion.loss import Loss
from claude_bridge.conversion.profile import CountRoute, Profile, SchemaDialect
from claude_bridge.conversion.prompt.token_estimate import estimate_tokens
from claude_bridge.conversion.request.content import NormalizedBlock
from claude_bridge.conversion.request.history import KnownHistory
from claude_bridge.conversion.request.normalize import NormalizedRequest, normalize_request, repaired_history
from claude_bridge.conversion.request.turns import HistorySeam, RepairedHistory, Turn, system_blocks
from claude_bridge.conversion.response.context import ResponseContext
from claude_bridge.conversion.response.pipeline import ResponsePipeline
from claude_bridge.errors import BridgeError
from claude_bridge.wire.anthropic import CountTokensRequest, MessagesRequest, TextBlock, Tool, ToolResultBlock


class EncodedFrame(Struct, frozen=True):
    """A request without its conversation.

    ``body`` ends with the list of messages, which holds at most the system prompt. ``instructions`` are what the model
    is instructed in words, for the end of the last turn of the user. ``losses`` are what the API can't carry.
    """

    body: bytes
    losses: list[Loss]
    instructions: Sequence[str] = ()


class _Frame(Struct, frozen=True, kw_only=True):
    """What goes to the engine beside a conversation that changes none of its tools."""

    request: CountTokensRequest
    """What it was made of."""
    engine: EngineModel
    encoded: EncodedFrame
    losses: list[Loss]

    def fits(self, request: CountTokensRequest, engine: EngineModel) -> bool:
        """Return whether the same would be made of a request."""
        before = self.request
        if engine is not self.engine or type(request) is not type(before):
            return False
        if any(getattr(request, name) != getattr(before, name) for name in _frame_fields(type(request))):
            return False
        return system_blocks(request.system) == system_blocks(before.system)


class _TranslatedHistory(Struct, frozen=True, kw_only=True):
    """What became of the messages before a seam, as pieces of a list of messages; None: of no message."""

    profile: Profile | None = None
    """That they were translated for; kept, so that no other one can be taken for it."""
    seam: HistorySeam | None = None
    messages: tuple[bytes, ...] = ()
    losses: tuple[Loss, ...] = ()


_NOTHING_KNOWN = _TranslatedHistory()


def split_user_turn(turn: Turn, instructions: Sequence[str]) -> tuple[list[ToolResultBlock], list[NormalizedBlock]]:
    """Return a user's tool results, which go directly behind their calls, and all else with ``instructions`` behind."""
    results = [block for block in turn.blocks if type(block) is ToolResultBlock]
    rest = [block for block in turn.blocks if type(block) is not ToolResultBlock]
    return results, [*rest, *map(TextBlock, instructions)]


def with_instructions(turns: Sequence[Turn], instructions: Sequence[str]) -> Iterator[tuple[Turn, Sequence[str]]]:
    """Yield each turn with the instructions that go to its end: those of a request go to the last turn of the user.

    Anywhere else they would change what the engine has in its cache.
    """
    last_user_turn = max((at for at, turn in enumerate(turns) if turn.is_user), default=None)
    for at, turn in enumerate(turns):
        yield turn, instructions if at == last_user_turn else ()


class TranslatingAdapter(Struct, frozen=True, kw_only=True):
    """See Adapter for what the methods do; each kind is a row of the functions below."""

    kind: str
    reach_path: str
    path: str
    """Where requests are sent, relative to the base URL."""
    encode: Callable[[NormalizedRequest, str, Profile, TokenLimits], EncodedFrame]
    """Returns the body of a request, but for the conversation."""
    encode_turns: Callable[[Sequence[Turn], Profile, Sequence[str]], tuple[Sequence[Struct], list[Loss]]] | None
    """Returns the messages for some turns, and what of them the API can't carry.

    What a turn becomes depends on the turn, the profile and the turns since the last one of the user. The last
    argument are instructions to the model, for the end of the last turn of the user. None: ``encode`` encodes all,
    since what a turn becomes depends on more.
    """
    decoder: Callable[[str], StreamDecoder]
    """Makes the decoder of one response; takes what names the engine in error texts."""
    explain: Callable[[int, Mapping[str, str], bytes, str], BridgeError]
    """Returns the error that a status, headers and a body mean; the text names the engine as in ``decoder``."""
    tool_dialect: SchemaDialect | None = None
    """The only dialect of tools' schemas that the API has a form for; None: that is for each engine to say."""
    output_limit_field: Callable[[Profile], str | None] = lambda _: None
    """Returns the field of a body that holds the limit of the answer."""
    digest: Callable[[bytes], str] = lambda _: ""
    """Returns EncodedRequest.prompt_digest, of a body."""
    keeps_unused_tools: bool = False
    """Whether tools are declared even where no call is wanted: without them the prompt would begin otherwise."""
    is_passthrough: bool = False

    def prepare(self, request: CountTokensRequest, raw: ClientRequest | None, engine: EngineModel) -> EncodedRequest:
        """Return the translated request; what was translated before of its history is not translated again."""
        history, maker, known = self._known(request, raw, engine)
        frame: _Frame | None = history.frames.get(maker) if history is not None else None
        conversation = repaired_history(request, engine.profile, engine.refused_reasoning, seam=known.seam)
        if not conversation.is_taken_up:
            known = _NOTHING_KNOWN
        inline_tools: tuple[Tool, ...] = ()
        if frame is None or conversation.tool_changes or not frame.fits(request, engine):
            frame, inline_tools = self._frame(request, engine, conversation)
            if history is not None and not conversation.tool_changes:
                history.frames[maker] = frame
        turns, closed = conversation.turns, conversation.closed_turns
        losses = [*conversation.losses, *frame.losses]
        messages = b""
        if self.encode_turns is not None:
            if history is not None and conversation.seam is not None:
                kept, lost = self.encode_turns(turns[:closed], engine.profile, ())
                encoded = _encode_messages(kept)
                known = _TranslatedHistory(
                    profile=engine.profile,
                    seam=conversation.seam,
                    messages=(*known.messages, encoded),
                    losses=(*known.losses, *lost),
                )
                history.keep(maker, conversation.seam.needs, known, len(encoded))
                turns = turns[closed:]
            rest, lost = self.encode_turns(turns, engine.profile, frame.encoded.instructions)
            messages = _encode_messages(rest)
            losses += (*known.losses, *lost)
        body = _with_messages(frame.encoded.body, [*known.messages, messages])
        facts = conversation.facts
        return EncodedRequest(
            outgoing=OutgoingRequest(method="POST", path=self.path, body=body),
            facts=facts,
            estimated_tokens=estimate_tokens(body, holds_images=facts.holds_images),
            losses=tuple(losses),
            max_tokens=_max_tokens(request, engine.limits),
            output_limit_field=self.output_limit_field(engine.profile)
            if engine.profile.chat.answer_needs_room
            else None,
            prompt_digest=partial(self.digest, body),
            inline_tools=inline_tools,
        )

    def new_bytes(self, request: CountTokensRequest, raw: ClientRequest | None, engine: EngineModel) -> int:
        """Return how many bytes of a request have to be read."""
        history, _, known = self._known(request, raw, engine)
        return history.new_bytes if history is not None and known.seam is not None else len(raw.body) if raw else 0

    def _known(
        self, request: CountTokensRequest, raw: ClientRequest | None, engine: EngineModel
    ) -> tuple[KnownHistory | None, Hashable, _TranslatedHistory]:
        """Return what is known of a request's messages, and what of them was translated for this engine, by its key."""
        # Where an engine gets tools in the midst of a conversation, what a turn becomes depends on those before it.
        is_by_turns = self.encode_turns is not None and not engine.profile.keeps_tool_list
        history = raw.history_of(request) if raw is not None and is_by_turns else None
        maker = (self.kind, id(engine.profile), engine.refused_reasoning)
        return history, maker, (history and history.latest(maker)) or _NOTHING_KNOWN

    def _frame(
        self, request: CountTokensRequest, engine: EngineModel, conversation: RepairedHistory
    ) -> tuple[_Frame, tuple[Tool, ...]]:
        """Return the frame of a request, and the tools that its messages declare."""
        normalized = normalize_request(
            request,
            engine.profile,
            tool_dialect=self.tool_dialect,
            simpler_schemas=engine.simpler_schemas,
            keeps_unused_tools=self.keeps_unused_tools,
            history=conversation,
        )
        encoded = self.encode(normalized, engine.model, engine.profile, engine.limits)
        frame = _Frame(
            request=replace(request, messages=[]),
            engine=engine,
            encoded=encoded,
            losses=[*normalized.losses, *encoded.losses],
        )
        return frame, normalized.inline_tools

    def response(self, request: MessagesRequest, engine: EngineModel, context: ResponseContext) -> ResponsePipeline:
        """Return the pipeline from the engine's bytes to stream events."""
        maker = maker_of(engine.profile, engine.model)
        return ResponsePipeline(
            request, self.decoder(engine.where), engine.profile, context, maker=maker, upstream=engine.where
        )

    def explain_error(self, status: int, headers: Mapping[str, str], body: bytes, engine: EngineModel) -> BridgeError:
        """Return the error that a response with another status than 2xx means."""
        return self.explain(status, headers, body, engine.where)

    def count_routes(self, profile: Profile) -> tuple[CountRoute, ...]:
        """Return the routes of the engine's own tokenizer."""
        return profile.count_routes

    def key_headers(self, api_key: str | None, profile: Profile) -> dict[str, str]:
        """Return the key as a bearer token, or in the header that the service has for it."""
        if not api_key:
            return {}
        if profile.key_header == "api-key" and not api_key.startswith(_TOKEN):
            return {"api-key": api_key}
        return {"authorization": f"Bearer {api_key}"}


_TOKEN = "eyJ"  # noqa: S105 - how every JSON web token begins; Azure takes those of Entra as bearer tokens only


def _max_tokens(request: CountTokensRequest, limits: TokenLimits) -> int | None:
    if not isinstance(request, MessagesRequest):
        return None
    return min(request.max_tokens, limits.max_output_tokens or request.max_tokens)


@cache
def _frame_fields(kind: type[CountTokensRequest]) -> tuple[str, ...]:
    return tuple(name for name in kind.__struct_fields__ if name not in ("messages", "system"))


def _encode_messages(messages: Sequence[Struct]) -> bytes:
    """Return messages with commas between them, as they stand in a request's body."""
    return msgspec.json.encode(messages)[1:-1]


def _with_messages(body: bytes, messages: Sequence[bytes]) -> bytes:
    """Return a body with more messages at the end of its list, which is its last field."""
    parts: list[bytes] = [body[:-2]]
    for piece in filter(None, messages):
        parts += (b"" if parts[-1].endswith(b"[") else b",", piece)
    return b"".join((*parts, body[-2:]))
