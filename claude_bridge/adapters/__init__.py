"""One file per upstream kind; ADAPTERS is the registry: a new kind is a new file and a new row."""

from __future__ import annotations

from claude_bridge.adapters.base import Adapter
from claude_bridge.adapters.openai_chat import OPENAI_CHAT

ADAPTERS: dict[str, Adapter] = {OPENAI_CHAT.kind: OPENAI_CHAT}
