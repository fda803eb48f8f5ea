"""PromptMemory: what the last prompts were, so that one that had to be read again can be explained.

A session of Claude Code holds several conversations: its own, those of sub-agents, and short questions in between. A
request is compared with the conversation that it goes on from. Nearly always it begins with the bytes of the one
before, and then there is nothing to look at; else fingerprints show what changed.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from itertools import chain

from msgspec import UNSET, Struct, UnsetType

from claude_bridge.conversion.deltas import UsageReport
from claude_bridge.conversion.prompt.fingerprint import Divergence, Fingerprint, divergence, fingerprint
from claude_bridge.wire.anthropic import DiagnosticsRequest
from claude_bridge.wire.anthropic_answers import CacheMissReason, Diagnostics

MAX_SESSIONS = 64
MAX_CONVERSATIONS = 8
"""Of one session; with so many, the one that was silent for the longest is forgotten."""

MAX_ANSWERS = 512
"""How many answers a client may name as the one before."""

MAX_KEPT_BYTES = 8 * 1024 * 1024
"""How many bytes of prompts are kept; of others only their fingerprints are."""

MAX_KEPT_PROMPT_BYTES = 4 * 1024 * 1024

_END = b"]}"
"""What closes the list of messages: the next prompt of a conversation continues before it."""

MIN_LOST_TOKENS = 256
MIN_LOST_SHARE = 0.1
"""Less than both of these is how chat templates and tokenizers differ at the seams, and worth no word."""

NOTHING_CHANGED = "nothing before its last messages had changed: the engine had no longer what it read"


class CacheMiss(Struct, frozen=True, kw_only=True):
    """A prompt of which the engine had to read again what an earlier one had brought, and why.

    ``turn`` counts the requests of the conversation, ``tokens`` is what the engine read (None: not reported), and
    ``lost_tokens`` about how much of that it had read before.
    """

    turn: int
    tokens: int | None
    lost_tokens: int
    reason: str


class _Prompt:
    """A prompt by its bytes, or by its fingerprint once that is needed or the bytes take too much."""

    def __init__(self, body: bytes) -> None:
        self.body: bytes | None = body
        """None: only the fingerprint is kept."""
        self._fingerprint: Fingerprint | None = None

    def keep_fingerprint(self) -> None:
        """Keep nothing but the fingerprint."""
        self.fingerprint()
        self.body = None

    def goes_on_from(self, earlier: _Prompt) -> bool:
        """Return whether it begins with the bytes of an earlier one, and so with all of this one's content."""
        if self.body is None or earlier.body is None or not earlier.body.endswith(_END):
            return False
        return self.body.startswith(memoryview(earlier.body)[: -len(_END)])

    def fingerprint(self) -> Fingerprint | None:
        """Return the fingerprint; None: the body is no request."""
        if self._fingerprint is None and self.body is not None:
            self._fingerprint = fingerprint(self.body)
        return self._fingerprint


class _Turn(Struct, eq=False):
    prompt: _Prompt
    prompt_tokens: int
    number: int = 1


class PromptMemory:
    """Remembers the last prompts of each session; what it holds is bounded."""

    def __init__(self) -> None:
        self._sessions: OrderedDict[str, list[_Turn]] = OrderedDict()
        """The last turn of each conversation, the newest last."""
        self._kept: OrderedDict[_Prompt, int] = OrderedDict()
        """The prompts whose bytes are kept, and how many these are."""
        self._kept_bytes = 0
        self._answers: OrderedDict[str, tuple[Fingerprint, int]] = OrderedDict()
        """Of each answer that its client may name: the fingerprint of its prompt, and how long that was."""

    def explain_cache_miss(
        self, session: str, now: _Prompt, prompt_tokens: int, cached_tokens: int | None
    ) -> CacheMiss | None:
        """Return why a prompt was read again, if it was, and remember it; None in ``cached_tokens``: not known."""
        conversations = self._conversations(session)
        before = _gone_on_from(conversations, now)
        found: Divergence | None = None
        if before is None and conversations:
            before, found = _compare(conversations, now)
        turn = _Turn(now, prompt_tokens, before.number + 1 if before else 1)
        conversations[:] = [*(one for one in conversations if one is not before), turn][-MAX_CONVERSATIONS:]
        self._keep(now, in_place_of=before)
        return _cache_miss(before, turn, found, cached_tokens) if before is not None else None

    def must_compare(self, session: str, now: _Prompt) -> bool:
        """Return whether a prompt continues none of those that are known in its session."""
        return _gone_on_from(self._sessions.get(session, ()), now) is None

    def _keep(self, prompt: _Prompt, *, in_place_of: _Turn | None) -> None:
        if in_place_of is not None:
            self._kept_bytes -= self._kept.pop(in_place_of.prompt, 0)
        if prompt.body is not None and len(prompt.body) > MAX_KEPT_PROMPT_BYTES:
            prompt.keep_fingerprint()
        if prompt.body is not None:
            self._kept[prompt] = len(prompt.body)
            self._kept_bytes += len(prompt.body)
        while self._kept_bytes > MAX_KEPT_BYTES:
            oldest, size_bytes = self._kept.popitem(last=False)
            oldest.keep_fingerprint()
            self._kept_bytes -= size_bytes

    def remember(self, message_id: str, now: Fingerprint, prompt_tokens: int) -> None:
        """Keep the prompt of an answer that its client may name as the one before."""
        self._answers[message_id] = now, prompt_tokens
        if len(self._answers) > MAX_ANSWERS:
            self._answers.popitem(last=False)

    def diagnose(self, previous_message_id: str, now: Fingerprint) -> Diagnostics | None:
        """Return why the prompt of that answer could not be reused, or None if all of it could."""
        if previous_message_id not in self._answers:
            return Diagnostics(CacheMissReason("previous_message_not_found"))
        before, prompt_tokens = self._answers[previous_message_id]
        found = divergence(before, now)
        if found is None:
            return None
        if found.section == "parameters":
            return Diagnostics(CacheMissReason("unavailable"))
        return Diagnostics(CacheMissReason(f"{found.section}_changed", _tokens_behind(before, found, prompt_tokens)))

    def _conversations(self, session: str) -> list[_Turn]:
        conversations = self._sessions.setdefault(session, [])
        self._sessions.move_to_end(session)
        if len(self._sessions) > MAX_SESSIONS:
            self._sessions.popitem(last=False)
        return conversations


class PromptWatch:
    """One prompt, from the request to the answer's end."""

    def __init__(
        self,
        memory: PromptMemory,
        body: bytes,
        session: str,
        *,
        diagnostics_request: DiagnosticsRequest | None,
        estimate: int,
        has_listeners: bool,
    ) -> None:
        """``session`` separates clients that may share a conversation, ``estimate`` is the prompt's length in tokens.

        ``diagnostics_request`` None: the client does not ask why its cache missed; ``has_listeners`` False: nobody
        reads the explanation either.
        """
        self.diagnostics: Diagnostics | UnsetType | None = UNSET
        """What the answer reports of the cache; UNSET: the client did not ask."""
        self.size_bytes = len(body)
        self._memory = memory
        self._prompt = _Prompt(body)
        self._session = session
        self._estimate = estimate
        self._has_listeners = has_listeners
        self._is_named = diagnostics_request is not None
        if diagnostics_request is not None:
            now, previous = self._prompt.fingerprint(), diagnostics_request.previous_message_id
            self.diagnostics = memory.diagnose(previous, now) if previous and now else None

    @property
    def must_read(self) -> bool:
        """Whether ``end`` will have to read the prompt: it continues no known one."""
        return self._has_listeners and self._memory.must_compare(self._session, self._prompt)

    def read_prompt(self) -> None:
        """Do the work on a long prompt now; safe in a thread. Where nobody calls this, ``end`` does what is needed."""
        self._prompt.fingerprint()

    def end(self, message_id: str, usage: UsageReport) -> CacheMiss | None:
        """Return why the engine read the prompt again, if it did."""
        prompt_tokens = usage.prompt_tokens or self._estimate
        now = self._prompt.fingerprint() if self._is_named else None
        if now is not None:
            self._memory.remember(message_id, now, prompt_tokens)
        elif not self._has_listeners:
            return None
        return self._memory.explain_cache_miss(self._session, self._prompt, prompt_tokens, usage.cached_tokens)


def _gone_on_from(conversations: Sequence[_Turn], now: _Prompt) -> _Turn | None:
    return next((turn for turn in reversed(conversations) if now.goes_on_from(turn.prompt)), None)


def _compare(conversations: list[_Turn], now: _Prompt) -> tuple[_Turn | None, Divergence | None]:
    """Return the turn that a prompt continues, by its first message, else by all others, and what changed since."""
    printed = now.fingerprint()
    if printed is None:
        return None, None
    turns = [(turn, earlier) for turn in conversations if (earlier := turn.prompt.fingerprint()) is not None]
    same_opening = (pair for pair in turns if pair[1].opening == printed.opening)
    same_rest = (
        (turn, earlier)
        for turn, earlier in turns
        if earlier.behind_opening and printed.behind_opening.startswith(earlier.behind_opening)
    )
    turn, earlier = next(chain(same_opening, same_rest), (None, None))
    return turn, divergence(earlier, printed) if earlier is not None else None


def _cache_miss(before: _Turn, turn: _Turn, found: Divergence | None, cached_tokens: int | None) -> CacheMiss | None:
    """Return what the engine read again since the turn before, if that is worth a word; ``found`` is what changed."""
    earlier = before.prompt.fingerprint() if found else None
    behind = _tokens_behind(earlier, found, before.prompt_tokens) if earlier and found else 0
    lost = behind if cached_tokens is None else before.prompt_tokens - cached_tokens
    if lost < max(MIN_LOST_TOKENS, turn.prompt_tokens * MIN_LOST_SHARE):
        return None
    return CacheMiss(
        turn=turn.number,
        tokens=None if cached_tokens is None else turn.prompt_tokens - cached_tokens,
        lost_tokens=lost,
        reason=found.what if found else NOTHING_CHANGED,
    )


def _tokens_behind(before: Fingerprint, found: Divergence, prompt_tokens: int) -> int:
    """Return about how many tokens of an earlier prompt stand behind what changed in it."""
    return round(prompt_tokens * (before.size - found.kept_bytes) / before.size) if before.size else 0
