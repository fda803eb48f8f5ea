"""A model that sees describes images for one that does not: once for each image."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio
from msgspec import Struct

from claude_bridge.errors import BridgeError
from claude_bridge.wire.anthropic import ImageBlock, InputMessage, MessagesRequest, TextBlock, Thinking
from claude_bridge.wire.anthropic_answers import Message

PROMPT = (
    "Describe this image for someone who cannot see it: first what kind of image it is and what it shows, then every "
    "text in it, word for word. Say nothing else."
)
MAX_TOKENS = 1_000
MAX_CONCURRENT = 2
"""How many images are described side by side; a model on the user's own machine answers them one by one anyway."""

Ask = Callable[[MessagesRequest], Awaitable[Message]]


class Description(Struct, frozen=True, kw_only=True):
    """How a model describes an image; ``text`` None: it gave no description, and ``trouble`` says why."""

    model: str
    text: str | None
    trouble: str = ""
    took_s: float


class Describer:
    """Asks a model that sees."""

    def __init__(self, model: str, ask: Ask) -> None:
        """``ask`` carries a request to the model; it raises BridgeError."""
        self.model = model
        self._ask = ask
        self._at_once = anyio.CapacityLimiter(MAX_CONCURRENT)

    async def describe(self, image: ImageBlock) -> Description:
        """Return what the model says of the image; never raises for what an engine does."""
        async with self._at_once:
            started_at = anyio.current_time()
            text, trouble = await self._answer(image)
            return Description(model=self.model, text=text, trouble=trouble, took_s=anyio.current_time() - started_at)

    async def _answer(self, image: ImageBlock) -> tuple[str | None, str]:
        request = MessagesRequest(
            model=self.model,
            max_tokens=MAX_TOKENS,
            temperature=0.0,
            thinking=Thinking("disabled"),
            messages=[InputMessage("user", [image, TextBlock(PROMPT)])],
        )
        try:
            message = await self._ask(request)
        except BridgeError as error:
            return None, error.message
        text = "\n".join(block.text for block in message.content if isinstance(block, TextBlock)).strip()
        return (text, "") if text else (None, "its answer was empty")
