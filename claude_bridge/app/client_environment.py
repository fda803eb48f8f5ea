"""What Claude Code is told of a bridge: one table of environment variables, each with its reason.

The facts were measured with Claude Code 2.1.330.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from msgspec import Struct

NO_TOKEN = "bridge"  # noqa: S105 - no secret
"""What clients send to a bridge that asks for no token: without any, Claude Code asks the user to log in."""

CLAUDE_CODE_RESERVE_TOKENS = 13_000
"""What Claude Code keeps free beside an answer before it compacts, however small the window."""

HOUR_MS = 3_600_000
TIERS = ("OPUS", "SONNET", "HAIKU", "FABLE")
OTHER_SERVICES = ("CLAUDE_CODE_USE_BEDROCK", "CLAUDE_CODE_USE_VERTEX", "CLAUDE_CODE_USE_FOUNDRY")
"""With one of these set, Claude Code asks that service, whatever its base URL is."""

_LOOPBACK = ("127.0.0.1", "localhost")


class Served(Struct, frozen=True, kw_only=True):
    """A bridge as its clients must know it. None in a limit means not known; ``slots`` is of the engine."""

    url: str
    model: str | None
    token: str = NO_TOKEN
    small_model: str | None = None
    """The model for small and background requests; None: the same."""
    window_tokens: int | None = None
    max_output_tokens: int | None = None
    slots: int | None = None
    """How many requests the engine answers at a time."""
    forwards_client_auth: bool = False
    """Whether the client's own login goes on to Anthropic, which a token of ours would hide."""
    allows_traffic: bool = False
    """Whether Claude Code may also talk to its maker: telemetry, error reports, updates."""
    outside: Mapping[str, str] = {}
    """The environment as it is: a few variables are added to, or overruled."""

    @property
    def answer_tokens(self) -> int | None:
        """How long one answer may be, of a window that has to hold the conversation too."""
        if not self.window_tokens:
            return self.max_output_tokens
        share = min(8192, max(1024, self.window_tokens // 8))
        return min(share, self.max_output_tokens or share)


class Variable(NamedTuple):
    """One row: ``value`` returns None where the variable is better not set."""

    name: str
    value: Callable[[Served], str | None]
    reason: str
    is_essential: bool = False
    """Whether even a reader who types the lines by hand needs it."""


def _told_window(served: Served) -> str | None:
    """Return the window to tell Claude Code, so that it compacts when three quarters of the true one are full.

    It compacts at the window less an answer less CLAUDE_CODE_RESERVE_TOKENS. Of 32k that would leave 15,700 tokens:
    hardly more than its first request, so that it compacted at every turn, and gave up. A large window is told as it
    is. What the engine can't take is refused all the same, and told by the bridge.
    """
    window, answer = served.window_tokens, served.answer_tokens
    if not window or not answer:
        return None
    return str(max(window, window * 3 // 4 + answer + CLAUDE_CODE_RESERVE_TOKENS))


def _answer_tokens(served: Served) -> str | None:
    return str(served.answer_tokens) if served.answer_tokens else None


def _main_model(served: Served) -> str | None:
    return served.model


def _small_model(served: Served) -> str | None:
    return served.small_model or served.model


def _is_one_slot(served: Served) -> str | None:
    return "1" if served.slots == 1 else None


def _no_proxy(served: Served) -> str | None:
    """Return the exceptions that there are and those that are missing, where there is a proxy at all."""
    if not any("proxy" in name.lower() and value for name, value in served.outside.items()):
        return None
    given = served.outside.get("NO_PROXY") or served.outside.get("no_proxy") or ""
    exempt = [part.strip() for part in given.split(",") if part.strip()]
    return ",".join([*exempt, *(host for host in _LOOPBACK if host not in exempt)])


def _token(served: Served) -> str | None:
    return None if served.forwards_client_auth and served.token == NO_TOKEN else served.token


def _no_key(served: Served) -> str | None:
    return None if served.forwards_client_auth else ""


def _no_attribution(served: Served) -> str | None:
    return None if served.forwards_client_auth else "0"


def _off_where_set(name: str) -> Callable[[Served], str | None]:
    return lambda served: "0" if served.outside.get(name) else None


def _constant(value: str) -> Callable[[Served], str | None]:
    return lambda _: value


VARIABLES: tuple[Variable, ...] = (
    Variable("ANTHROPIC_BASE_URL", lambda served: served.url, "where the bridge listens", is_essential=True),
    Variable(
        "ANTHROPIC_AUTH_TOKEN",
        _token,
        "what the bridge asks for; with any token Claude Code does not ask to log in",
        is_essential=True,
    ),
    Variable(
        "ANTHROPIC_API_KEY",
        _no_key,
        "a real key in the environment would be sent in place of the token",
        is_essential=True,
    ),
    Variable("ANTHROPIC_MODEL", _main_model, "the model for all that is not said otherwise"),
    *(
        Variable(
            f"ANTHROPIC_DEFAULT_{tier}_MODEL",
            _small_model if tier == "HAIKU" else _main_model,
            "small and background requests" if tier == "HAIKU" else f"what the name {tier.lower()} means",
        )
        for tier in TIERS
    ),
    Variable("CLAUDE_CODE_SUBAGENT_MODEL", _main_model, "sub-agents ask for a model of Anthropic's otherwise"),
    Variable(
        "CLAUDE_CODE_MAX_CONTEXT_TOKENS",
        _told_window,
        "an unknown model is taken for one of a million tokens, and never compacted in time",
        is_essential=True,
    ),
    Variable(
        "CLAUDE_CODE_MAX_OUTPUT_TOKENS",
        _answer_tokens,
        "answers of 32,000 tokens would leave a small window no room",
        is_essential=True,
    ),
    Variable("CLAUDE_CODE_ATTRIBUTION_HEADER", _no_attribution, "a header at the front of each prompt costs its cache"),
    Variable(
        "CLAUDE_CODE_TOTAL_TOKENS_REMINDER", _constant("off"), "a count after each tool result that models do not need"
    ),
    Variable(
        "CLAUDE_CODE_DISABLE_BACKGROUND_TASKS",
        _is_one_slot,
        "an engine that answers one request at a time makes sub-agents and the main conversation wait for each other",
    ),
    Variable("API_TIMEOUT_MS", _constant(str(HOUR_MS)), "reading a long prompt may take a local model many minutes"),
    Variable("CLAUDE_STREAM_IDLE_TIMEOUT_MS", _constant(str(HOUR_MS)), "the same, for the pauses in an answer"),
    Variable(
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC",
        lambda served: None if served.allows_traffic else "1",
        "telemetry, error reports and update checks go to Anthropic",
    ),
    Variable("NO_PROXY", _no_proxy, "a proxy would swallow what goes to this machine"),
    Variable("no_proxy", _no_proxy, "the same, for programs that read the small letters"),
    *(
        Variable(name, _off_where_set(name), "with it set Claude Code would ask that service, not the bridge")
        for name in OTHER_SERVICES
    ),
)
"""Every variable that is set for Claude Code, in the order in which they are printed."""


def client_environment(served: Served, *, only_essential: bool = False) -> dict[str, str]:
    """Return what Claude Code's environment must hold."""
    told = ((row.name, row.value(served)) for row in VARIABLES if row.is_essential or not only_essential)
    return {name: value for name, value in told if value is not None}


def reasons() -> dict[str, str]:
    """Return why each variable is set."""
    return {row.name: row.reason for row in VARIABLES}
