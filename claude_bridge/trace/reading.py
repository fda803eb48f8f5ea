"""How fast an engine reads prompts, as far as earlier ones have shown."""

from __future__ import annotations

_ENOUGH_TOKENS = 200
"""A shorter prompt tells little of how fast an engine reads."""


def reading_speed(
    before: float | None, *, prompt_tokens: int | None, cached_tokens: int | None, prompt_s: float | None
) -> float | None:
    """Return the tokens per second at which an engine reads what is not cached; ``before`` where nothing new is known.

    ``prompt_s`` is how long it read. None in a figure means not known.
    """
    read_tokens = (prompt_tokens or 0) - (cached_tokens or 0)
    if not prompt_s or read_tokens < _ENOUGH_TOKENS:
        return before
    speed = read_tokens / prompt_s
    # An engine that counts what was cached, and does not tell it apart, looks quicker than it is: Ollama.
    return min(speed, before) if cached_tokens is None and before is not None else speed
