"""One file per upstream kind; ADAPTERS is the registry: a new kind is a new file and a new row."""

from __future__ import annotations

from claude_bridge.adapters.base import Adapter
from claude_bridge.adapters.ollama_chat import OLLAMA_CHAT
from claude_bridge.adapters.openai_chat import OPENAI_CHAT

ADAPTERS: dict[str, Adapter] = {adapter.kind: adapter for adapter in (OPENAI_CHAT, OLLAMA_CHAT)}
