"""How many images a conversation may hold, for engines that refuse it with one more."""

from __future__ import annotations

from collections.abc import Sequence

from claude_bridge.conversion.loss import Loss
from claude_bridge.conversion.request.content import NormalizedBlock
from claude_bridge.wire.anthropic import Block, ImageBlock, TextBlock, ToolResultBlock


def images_to_leave_out(images: int, limit: int) -> int:
    """Return how many of the oldest images must go.

    They go by halves of the limit: one at a time would change the beginning of the prompt, and cost the engine's
    cache, with each new image.
    """
    step = max(1, limit // 2)
    return -(-max(0, images - limit) // step) * step


def limit_images(
    block_lists: Sequence[list[NormalizedBlock]], limit: int
) -> tuple[list[list[NormalizedBlock]], list[Loss]]:
    """Return the turns' blocks with placeholders for the oldest images that are too many, and what is lost."""
    left_out = images_to_leave_out(sum(_images_in(block) for blocks in block_lists for block in blocks), limit)
    if not left_out:
        return list(block_lists), []
    losses = [Loss("$.messages", f"{left_out} older images: the engine takes no more than {limit}")]
    placeholder = TextBlock(f"[image omitted: the engine takes no more than {limit}]")
    older = iter(range(left_out))

    def is_left_out(block: Block) -> bool:
        return isinstance(block, ImageBlock) and next(older, None) is not None

    def limited(block: NormalizedBlock) -> NormalizedBlock:
        if isinstance(block, ToolResultBlock) and isinstance(block.content, list):
            content: list[Block] = [placeholder if is_left_out(part) else part for part in block.content]
            return ToolResultBlock(block.tool_use_id, content, block.is_error)
        return placeholder if is_left_out(block) else block

    return [[limited(block) for block in blocks] for blocks in block_lists], losses


def _images_in(block: NormalizedBlock) -> int:
    if isinstance(block, ImageBlock):
        return 1
    if isinstance(block, ToolResultBlock) and isinstance(block.content, list):
        return sum(isinstance(part, ImageBlock) for part in block.content)
    return 0
