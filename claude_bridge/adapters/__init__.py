"""One folder for each upstream kind; a new kind is a new folder and a new row in ADAPTERS."""

from __future__ import annotations

from claude_bridge.adapters.anthropic_messages import ANTHROPIC_MESSAGES
from claude_bridge.adapters.base import Adapter
from claude_bridge.adapters.ollama_chat import OLLAMA_CHAT
from claude_bridge.adapters.openai_chat import OPENAI_CHAT
from claude_bridge.adapters.openai_responses import OPENAI_RESPONSES

_ALL: tuple[Adapter, ...] = (OPENAI_CHAT, OLLAMA_CHAT, ANTHROPIC_MESSAGES, OPENAI_RESPONSES)
ADAPTERS: dict[str, Adapter] = {adapter.kind: adapter for adapter in _ALL}
"""Every adapter by its upstream kind."""
