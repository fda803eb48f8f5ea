"""One folder per upstream kind; ADAPTERS and RELAYS are the registry: a new kind is a new folder and a new row."""

from __future__ import annotations

from claude_bridge.adapters.anthropic_messages import ANTHROPIC_MESSAGES
from claude_bridge.adapters.base import Adapter, Relay
from claude_bridge.adapters.ollama_chat import OLLAMA_CHAT
from claude_bridge.adapters.openai_chat import OPENAI_CHAT

ADAPTERS: dict[str, Adapter] = {adapter.kind: adapter for adapter in (OPENAI_CHAT, OLLAMA_CHAT)}
RELAYS: dict[str, Relay] = {relay.kind: relay for relay in (ANTHROPIC_MESSAGES,)}

KINDS: dict[str, Adapter | Relay] = {**ADAPTERS, **RELAYS}
"""Every upstream kind by its name."""
