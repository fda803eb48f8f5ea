"""PromptMemory: what the last prompts were, so that one that had to be read again can be explained.

A session of Claude Code holds several conversations: its own, those of sub-agents, and short questions in between. A
request is compared with the conversation that it goes on from, which its first message tells.
"""

from __future__ import annotations

from collections import OrderedDict

from msgspec import UNSET, Struct, UnsetType

from claude_bridge.conversion.deltas import UsageReport
from claude_bridge.conversion.prompt.fingerprint import Fingerprint, divergence, fingerprint
from claude_bridge.wire.anthropic import CacheMissReason, Diagnostics, DiagnosticsWish

MAX_SESSIONS = 64
MAX_CONVERSATIONS = 8
"""Of one session; with so many, the one that was silent for the longest is forgotten."""

MAX_ANSWERS = 512
"""How many answers a client may name as the one before."""

MIN_LOST_TOKENS = 256
MIN_LOST_SHARE = 0.1
"""Less than both of these is how chat templates and tokenizers differ at the seams, and worth no word."""

NOTHING_CHANGED = "nothing before its last messages had changed: the engine had no longer what it read"


class CacheMiss(Struct, frozen=True, kw_only=True):
    """A prompt of which the engine had to read again what an earlier one had brought, and why.

    ``turn`` counts the requests of the conversation, ``tokens`` is what the engine read (None: it does not tell), and
    ``lost_tokens`` about how much of that it had read before.
    """

    turn: int
    tokens: int | None
    lost_tokens: int
    reason: str


class _Turn(Struct):
    fingerprint: Fingerprint
    prompt_tokens: int
    number: int = 1


class PromptMemory:
    """Remembers the last prompts of each session; what it holds is bounded."""

    def __init__(self) -> None:
        self._sessions: OrderedDict[str, OrderedDict[bytes, _Turn]] = OrderedDict()
        self._answers: OrderedDict[str, _Turn] = OrderedDict()

    def watch(
        self, body: bytes, session: str, *, wish: DiagnosticsWish | None, estimate: int, has_listeners: bool
    ) -> PromptWatch:
        """Return what follows the prompt of one request to its end.

        ``session`` tells apart who may share a conversation, ``wish`` whether the client asks why its cache missed,
        ``estimate`` is the prompt's length in tokens; ``has_listeners`` says that somebody takes what is found out.
        """
        return PromptWatch(self, body, session, wish=wish, estimate=estimate, has_listeners=has_listeners)

    def judge(self, session: str, now: Fingerprint, prompt_tokens: int, cached_tokens: int | None) -> CacheMiss | None:
        """Return why a prompt was read again, if it was, and remember it; None in ``cached_tokens``: not told."""
        conversations = self._conversations(session)
        key = _goes_on_from(conversations, now)
        before = conversations.pop(key, None)
        turn = _Turn(now, prompt_tokens, before.number + 1 if before else 1)
        conversations[now.opening] = turn
        if len(conversations) > MAX_CONVERSATIONS:
            conversations.popitem(last=False)
        return _reread(before, turn, cached_tokens) if before is not None else None

    def remember(self, message_id: str, now: Fingerprint, prompt_tokens: int) -> None:
        """Keep the prompt of an answer that its client may name as the one before."""
        self._answers[message_id] = _Turn(now, prompt_tokens)
        if len(self._answers) > MAX_ANSWERS:
            self._answers.popitem(last=False)

    def diagnose(self, previous_message_id: str, now: Fingerprint) -> Diagnostics | None:
        """Return why the prompt of that answer could not be reused, or None if all of it could."""
        before = self._answers.get(previous_message_id)
        if before is None:
            return Diagnostics(CacheMissReason("previous_message_not_found"))
        found = divergence(before.fingerprint, now)
        if found is None:
            return None
        if found.section == "parameters":
            return Diagnostics(CacheMissReason("unavailable"))
        return Diagnostics(CacheMissReason(f"{found.section}_changed", _tokens_behind(before, found.kept_bytes)))

    def _conversations(self, session: str) -> OrderedDict[bytes, _Turn]:
        conversations = self._sessions.setdefault(session, OrderedDict())
        self._sessions.move_to_end(session)
        if len(self._sessions) > MAX_SESSIONS:
            self._sessions.popitem(last=False)
        return conversations


class PromptWatch:
    """One prompt, from the request to the answer's end; made by PromptMemory.watch."""

    def __init__(
        self,
        memory: PromptMemory,
        body: bytes,
        session: str,
        *,
        wish: DiagnosticsWish | None,
        estimate: int,
        has_listeners: bool,
    ) -> None:
        self.diagnostics: Diagnostics | UnsetType | None = UNSET
        """What the client is told; UNSET: it has not asked."""
        self._memory = memory
        self._body = body
        self._session = session
        self._estimate = estimate
        self._is_heard = has_listeners
        self._is_named = wish is not None
        self._now: Fingerprint | None = None
        if wish is not None:
            now, previous = self.read_prompt(), wish.previous_message_id
            self.diagnostics = memory.diagnose(previous, now) if previous and now else None

    def read_prompt(self) -> Fingerprint | None:
        """Do the work on the prompt now; safe in a thread. Where nobody called this before, ``end`` does."""
        if self._now is None and (self._is_heard or self._is_named):
            self._now = fingerprint(self._body)
        return self._now

    def end(self, message_id: str, usage: UsageReport) -> CacheMiss | None:
        """Return why the engine read the prompt again, if it did. Before the end nothing waits for this."""
        now = self.read_prompt()
        if now is None:
            return None
        prompt_tokens = usage.prompt_tokens or self._estimate
        if self._is_named:
            self._memory.remember(message_id, now, prompt_tokens)
        return self._memory.judge(self._session, now, prompt_tokens, usage.cached_tokens)


def _goes_on_from(conversations: OrderedDict[bytes, _Turn], now: Fingerprint) -> bytes:
    """Return the key of the conversation that a prompt goes on from: by its first message, else by all others."""
    if now.opening not in conversations:
        for key, turn in conversations.items():
            if turn.fingerprint.behind_opening and now.behind_opening.startswith(turn.fingerprint.behind_opening):
                return key
    return now.opening


def _reread(before: _Turn, turn: _Turn, cached_tokens: int | None) -> CacheMiss | None:
    found = divergence(before.fingerprint, turn.fingerprint)
    reusable = before.prompt_tokens - (_tokens_behind(before, found.kept_bytes) if found else 0)
    lost = before.prompt_tokens - (reusable if cached_tokens is None else cached_tokens)
    if lost < max(MIN_LOST_TOKENS, turn.prompt_tokens * MIN_LOST_SHARE):
        return None
    return CacheMiss(
        turn=turn.number,
        tokens=None if cached_tokens is None else turn.prompt_tokens - cached_tokens,
        lost_tokens=lost,
        reason=found.what if found else NOTHING_CHANGED,
    )


def _tokens_behind(turn: _Turn, kept_bytes: int) -> int:
    size = turn.fingerprint.size
    return round(turn.prompt_tokens * (size - kept_bytes) / size) if size else 0
