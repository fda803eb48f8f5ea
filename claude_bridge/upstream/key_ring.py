"""KeyRing: several keys of one engine, or one that a command gives: which request carries which."""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

from anyio import to_thread
from msgspec import Struct

from claude_bridge.errors import AuthenticationError, BridgeError, UpstreamError

BACKOFF_S = 60.0
"""How long a key that was refused is used last, unless the refusal says how long."""

MAX_BACKOFF_S = 3_600.0
MAX_SESSIONS = 10_000
MAX_SECRETS = 32

_ABOUT_THE_KEY = frozenset({401, 402, 403, 429})


class ApiKey(Struct, frozen=True, kw_only=True):
    """Where a key is. ``name`` may be shown, such as ``env:WORK_KEY``; ``read`` raises ValueError where it fails."""

    name: str
    read: Callable[[], str]
    lifetime_s: float | None = None
    """How long a value that was read is used; None: as long as the bridge runs."""


class ChosenKey(NamedTuple):
    """A key, and its value when it was chosen."""

    key: ApiKey
    value: str


class KeyRing:
    """Gives each session a key and keeps to it, so that the provider's prompt cache is kept.

    A key that is refused is read again once, if it can change, and then gives way to the next one for a while.
    """

    def __init__(self, keys: Sequence[ApiKey]) -> None:
        self.keys = tuple(keys)
        self.secrets: deque[str] = deque(maxlen=MAX_SECRETS)
        """The values that were read last; nobody may see them."""
        self._hide: Callable[[str], None] = lambda _: None
        self._values: dict[str, tuple[str, float]] = {}
        self._rests_until: dict[str, float] = {}
        self._of_session: OrderedDict[str, ApiKey] = OrderedDict()

    def hide_by(self, hide: Callable[[str], None]) -> None:
        """Call ``hide`` with each value, those that were read before too."""
        self._hide = hide
        for secret in self.secrets:
            hide(secret)

    def read_first(self) -> str:
        """Return the value of the first key; raises ValueError where it can't be read."""
        return self._read(self.keys[0])

    def continue_from(self, other: KeyRing) -> None:
        """Let sessions keep their keys of another ring, and what was refused there rest, as far as it is here too."""
        here = {key.name: key for key in self.keys}
        self._of_session.update((name, here[key.name]) for name, key in other._of_session.items() if key.name in here)
        self._rests_until.update((name, until) for name, until in other._rests_until.items() if name in here and until)

    async def choose(self, session: str) -> ChosenKey:
        """Return the key for a session's next request.

        Raises:
            AuthenticationError: it can't be read.
        """
        key = self._chosen(session)
        self._of_session[session] = key
        self._of_session.move_to_end(session)
        if len(self._of_session) > MAX_SESSIONS:
            self._of_session.popitem(last=False)
        value, read_at = self._values.get(key.name, ("", 0.0))
        if not value or (key.lifetime_s is not None and time.monotonic() - read_at > key.lifetime_s):
            try:
                value = await to_thread.run_sync(self._read, key)
            except ValueError as error:
                raise AuthenticationError(f"The API key {error}.") from error
        return ChosenKey(key, value)

    def gives_way(self, chosen: ChosenKey, error: BridgeError) -> bool:
        """Note that a request with this key failed; return whether it may succeed with another value or key."""
        if error.status not in _ABOUT_THE_KEY or not isinstance(error, UpstreamError):
            return False
        key = chosen.key
        known, _ = self._values.get(key.name, ("", 0.0))
        if known != chosen.value:  # another request has read it again in the meantime
            return True
        if error.status == 401 and key.lifetime_s is not None and key.name not in self._rests_until:
            del self._values[key.name]
            self._rests_until[key.name] = 0.0  # so that it is read again once only
            return True
        self._rests_until[key.name] = time.monotonic() + min(error.retry_after_s or BACKOFF_S, MAX_BACKOFF_S)
        return any(not self._rests(other) for other in self.keys)

    def works(self, chosen: ChosenKey) -> None:
        """Note that a request with this key was answered."""
        self._rests_until.pop(chosen.key.name, None)

    def _read(self, key: ApiKey) -> str:
        value = key.read()
        self.secrets.append(value)
        self._hide(value)
        self._values[key.name] = (value, time.monotonic())
        return value

    def _chosen(self, session: str) -> ApiKey:
        used = self._of_session.get(session)
        start = self.keys.index(used) if used else 0
        in_turn = [*self.keys[start:], *self.keys[:start]]
        ready = [key for key in in_turn if not self._rests(key)]
        return ready[0] if ready else min(in_turn, key=lambda key: self._rests_until[key.name])

    def _rests(self, key: ApiKey) -> bool:
        return self._rests_until.get(key.name, 0.0) > time.monotonic()
