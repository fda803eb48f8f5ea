"""How Claude Code is pointed at a bridge: one table of environment variables, each with its reason.

The facts were measured with Claude Code 2.1.330 to 2.1.332.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from msgspec import Struct

from claude_bridge.clients.claude_code import MODEL_PREFIX, MODEL_TIERS, OTHER_SERVICES, RESERVE_TOKENS
from claude_bridge.wire.admin_api import Readiness

NO_TOKEN = "bridge"  # noqa: S105 - no secret
"""What clients send to a bridge that needs no token: without one, Claude Code asks the user to log in."""

MILLION = 1_000_000
HOUR_MS = 3_600_000

_LOOPBACK = ("127.0.0.1", "localhost")


class Served(Struct, frozen=True, kw_only=True):
    """What the environment of a bridge's client is made from."""

    url: str
    bridge: Readiness
    """What the bridge reports about itself; a token of ours would replace a forwarded client login."""
    token: str = NO_TOKEN
    allows_traffic: bool = False
    """Whether Claude Code may also talk to Anthropic: telemetry, error reports, updates."""
    outside: Mapping[str, str] = {}
    """The environment as it is; a few variables in it are extended or overridden."""

    @property
    def answer_tokens(self) -> int | None:
        """How long one answer may be, in a window that also has to hold the conversation."""
        window, most = self.bridge.window_tokens, self.bridge.max_output_tokens
        if not window:
            return most
        share = min(8192, max(1024, window // 8))
        return min(share, most or share)


class Variable(NamedTuple):
    """One row: ``value`` returns None where the variable is not set."""

    name: str
    value: Callable[[Served], str | None]
    reason: str


def _claimed_window(served: Served) -> str | None:
    """Return a window with which Claude Code compacts when three quarters of the true one are full.

    It compacts at the window less an answer less RESERVE_TOKENS. Of 32k that would leave 15,700 tokens,
    hardly more than its first request: it would compact at every turn, and give up. A large window is given as it is.
    The bridge refuses what does not fit the true window in any case.
    """
    window, answer = served.bridge.window_tokens, served.answer_tokens
    if not window or not answer:
        return None
    return str(max(window, window * 3 // 4 + answer + RESERVE_TOKENS))


def _no_proxy(served: Served) -> str | None:
    """Return the exceptions that are set, and those that are missing; None if there is no proxy."""
    if not any("proxy" in name.lower() and value for name, value in served.outside.items()):
        return None
    given = served.outside.get("NO_PROXY") or served.outside.get("no_proxy") or ""
    exempt = [part.strip() for part in given.split(",") if part.strip()]
    return ",".join([*exempt, *(host for host in _LOOPBACK if host not in exempt)])


def _has_no_million(served: Served) -> str | None:
    is_ours = served.bridge.model and not served.bridge.model.startswith(MODEL_PREFIX)
    return "1" if is_ours and (served.bridge.window_tokens or 0) < MILLION else None


def _other_service(name: str) -> Variable:
    reason = "if it is set, Claude Code uses that service instead of the bridge"
    return Variable(name, lambda served: "0" if served.outside.get(name) else None, reason)


def _tier(tier: str) -> tuple[Variable, Variable, Variable]:
    """Return the model of a tier, and how /model shows it: without a name of its own, all tiers would look alike."""
    name = tier.lower()
    use = "small and background requests" if tier == "HAIKU" else "the main model"

    def model(served: Served) -> str | None:
        return (tier == "HAIKU" and served.bridge.small_model) or served.bridge.model

    return (
        Variable(f"ANTHROPIC_DEFAULT_{tier}_MODEL", model, f"what the name {name} means: {use}"),
        Variable(
            f"ANTHROPIC_DEFAULT_{tier}_MODEL_NAME",
            lambda served: f"{model(served)} ({name})" if model(served) else None,
            f"how /model shows {name}",
        ),
        Variable(
            f"ANTHROPIC_DEFAULT_{tier}_MODEL_DESCRIPTION",
            lambda served: f"What Claude Code calls {name}: {use}" if model(served) else None,
            "the same",
        ),
    )


VARIABLES: tuple[Variable, ...] = (
    Variable("ANTHROPIC_BASE_URL", lambda served: served.url, "where the bridge listens"),
    Variable(
        "ANTHROPIC_AUTH_TOKEN",
        lambda served: None if served.bridge.forwards_client_auth and served.token == NO_TOKEN else served.token,
        "the bridge's token; without any Claude Code asks you to log in",
    ),
    Variable(
        "ANTHROPIC_API_KEY",
        lambda served: None if served.bridge.forwards_client_auth else "",
        "a real key in the environment would be sent instead of the token",
    ),
    Variable("ANTHROPIC_MODEL", lambda served: served.bridge.model, "the model of every request that names no other"),
    Variable(
        "ANTHROPIC_DEFAULT_MODEL",
        lambda served: served.bridge.model,
        "what Default means in /model; otherwise opus with a window of 1M",
    ),
    *(variable for tier in MODEL_TIERS for variable in _tier(tier)),
    Variable(
        "CLAUDE_CODE_SUBAGENT_MODEL",
        lambda served: served.bridge.model,
        "otherwise sub-agents use a model of Anthropic's",
    ),
    Variable(
        "CLAUDE_CODE_ENABLE_GATEWAY_MODEL_DISCOVERY",
        lambda served: "1" if served.bridge.model else None,
        "/model shows the models that the bridge offers",
    ),
    Variable(
        "CLAUDE_CODE_DISABLE_1M_CONTEXT", _has_no_million, "otherwise a model of unknown window is given 1M tokens"
    ),
    Variable(
        "CLAUDE_CODE_MAX_CONTEXT_TOKENS",
        _claimed_window,
        "otherwise an unknown model is given 1M tokens, and never compacted in time",
    ),
    Variable(
        "CLAUDE_CODE_MAX_OUTPUT_TOKENS",
        lambda served: str(served.answer_tokens) if served.answer_tokens else None,
        "the default of 32,000 tokens would leave no room in a small window",
    ),
    Variable(
        "CLAUDE_CODE_ATTRIBUTION_HEADER",
        lambda served: None if served.bridge.forwards_client_auth else "0",
        "a header at the start of each prompt would break its cache",
    ),
    Variable(
        "CLAUDE_CODE_TOTAL_TOKENS_REMINDER",
        lambda _: "off",
        "a token count after each tool result is of no use to models",
    ),
    Variable(
        "CLAUDE_CODE_DISABLE_BACKGROUND_TASKS",
        lambda served: "1" if served.bridge.slots == 1 else None,
        "with an engine of one slot, sub-agents and the main conversation would wait for each other",
    ),
    Variable("API_TIMEOUT_MS", lambda _: str(HOUR_MS), "a local model may take many minutes to read a long prompt"),
    Variable("CLAUDE_STREAM_IDLE_TIMEOUT_MS", lambda _: str(HOUR_MS), "the same, for the pauses in an answer"),
    Variable(
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC",
        lambda served: None if served.allows_traffic else "1",
        "telemetry, error reports and update checks go to Anthropic",
    ),
    Variable("NO_PROXY", _no_proxy, "a proxy would intercept requests to this machine"),
    Variable("no_proxy", _no_proxy, "the same, for programs that read the name in lower case"),
    *map(_other_service, OTHER_SERVICES),
)
"""Every variable that is set for Claude Code, in the order in which they are printed."""


def client_environment(served: Served) -> dict[str, str]:
    """Return the variables for Claude Code's environment."""
    values = ((row.name, row.value(served)) for row in VARIABLES)
    return {name: value for name, value in values if value is not None}


def reasons() -> dict[str, str]:
    """Return why each variable is set."""
    return {row.name: row.reason for row in VARIABLES}
