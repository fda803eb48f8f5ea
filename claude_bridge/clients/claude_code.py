"""What is Claude Code's own, beyond the Messages API: its headers, names, marks in prompts, tools with quirks, sizes.

Measured with Claude Code 2.1.330 to 2.1.332. When a new version behaves differently, this is the place to look first.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

# --- requests ---------------------------------------------------------------------------------------------------

SESSION_HEADER = "x-claude-code-session-id"
"""The header that names the session."""

SUBAGENT_HEADER = "x-claude-code-agent-id"
"""The header that names the sub-agent of a session that asks; the main conversation has none."""

MILLION_SUFFIX = "[1m]"
"""What it puts behind a model's name to ask for a window of a million tokens; no engine knows it."""

SMALL_MODEL_PATTERN = "*haiku*"
"""What it asks for small and background work, unless it was given another name."""

MODEL_PREFIX = "claude-"
"""Names that begin so are Anthropic's; its model picker shows no others."""

ALIAS_PREFIX = "claude-bridge/"
"""What the bridge puts before the names of other models, so that the model picker shows them."""

TELEMETRY_PATH = "/api/event_logging/"
"""Where it reports to its maker, below the base URL."""


class UserId(NamedTuple):
    """What ``metadata.user_id`` says; ``session`` None: it is not in its form, or names no session."""

    is_its_own: bool
    session: str | None


def read_user_id(user_id: str) -> UserId:
    """Return what a user id says: a JSON document, and in version 1 ``user_DEVICE_account_ID_session_ID``."""
    try:
        session = msgspec.json.decode(user_id, type=dict[str, Any]).get("session_id")
    except (msgspec.DecodeError, RecursionError):
        _, old_form, session = user_id.rpartition("_session_")
        if not old_form:
            return UserId(is_its_own=False, session=None)
    return UserId(is_its_own=True, session=session if isinstance(session, str) and session else None)


# --- prompts ----------------------------------------------------------------------------------------------------

BILLING_HEADER = "x-anthropic-billing-header:"
"""How its first system block begins, unless CLAUDE_CODE_ATTRIBUTION_HEADER is 0. No model needs it."""

BILLING_VOLATILE_KEY = "cch"
"""The value in that block that changes with every request."""

REMINDER_TAG = "system-reminder"
"""The tag in which it puts words of its own into the user's turns."""

NO_CONTENT = "(no content)"
"""What it writes for an assistant's empty message; a model that reads it repeats it."""

SUMMARY_MARK = "<summary>"
"""What every version wants a summary to stand in, when it compacts its conversation."""

SEARCH_PROMPT = "Perform a web search for the query: "
"""How the request begins in which its WebSearch asks for one search, as its only message."""

SUMMARY_TOKENS = 6_000
"""It asks for a summary in 1,700 tokens; the rest is for the summary."""

FEW_TURNS = 4
"""With fewer answers than these a conversation has just been compacted: doing it again would gain nothing."""

PLAN_MODE_MARKS = (("Plan mode is active", True), ("Plan mode still active", True), ("Exited Plan Mode", False))
"""How its reminders begin that speak of plan mode, and whether the session is in plan mode from there on.

They stand in a user's message, in tags, or since 2.1.332 in a system message without them."""

PLAN_TOOL = "ExitPlanMode"
"""Its call asks the user to approve a plan; a result that is no error ends plan mode."""

# --- sizes ------------------------------------------------------------------------------------------------------


class FirstPrompt(NamedTuple):
    """What it sends before the user's first text, in tokens; it differs by version and tokenizer."""

    least: int
    most: int

    @property
    def needs_window_tokens(self) -> int:
        """The smallest window in which a session gets anywhere."""
        return self.most * 6 // 5

    def __str__(self) -> str:
        return f"{self.least:,} to {self.most:,}"


FULL_PROMPT = FirstPrompt(9_400, 12_600)
LITE_PROMPT = FirstPrompt(3_700, 4_100)
"""With LITE_TOOLS alone."""

LITE_TOOLS = "Bash,Read,Edit,Write"

COMFORTABLE_TOKENS = 49_152
"""Below this window the files that it reads again after it compacted may fill the window at once."""

RESERVE_TOKENS = 13_000
"""What it keeps free beside an answer before it compacts, however small the window."""

# --- tools ------------------------------------------------------------------------------------------------------

REFUSED_WHEN_EMPTY: dict[str, tuple[str, ...]] = {
    "Read": ("pages",),
    "WebSearch": ("allowed_domains", "blocked_domains"),
}
"""Optional inputs by tool whose empty value the schema accepts, and it refuses: "Invalid pages parameter"."""

EXCLUSIVE_INPUTS: dict[str, tuple[str, str]] = {"WebSearch": ("allowed_domains", "blocked_domains")}
"""Inputs by tool of which it takes one at a time."""

UNPARSED_KEY = "__unparsedToolInput"
"""Under which it keeps the arguments of a call that were no JSON, and knows them again."""

# --- environment ------------------------------------------------------------------------------------------------

OTHER_SERVICES = ("CLAUDE_CODE_USE_BEDROCK", "CLAUDE_CODE_USE_VERTEX", "CLAUDE_CODE_USE_FOUNDRY")
"""With one of these variables set it asks that service, whatever its base URL is."""

KEY_VARIABLES = ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN")

MODEL_TIERS = ("OPUS", "SONNET", "HAIKU", "FABLE")
"""The names of its models, as in ANTHROPIC_DEFAULT_OPUS_MODEL."""
