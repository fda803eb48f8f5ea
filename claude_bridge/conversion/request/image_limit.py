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
    limited: list[list[NormalizedBlock]] = []
    for blocks in block_lists:
        kept: list[NormalizedBlock] = []
        for block in blocks:
            here = min(left_out, _images_in(block))
            left_out -= here
            kept.append(_without(block, here, placeholder) if here else block)
        limited.append(kept)
    return limited, losses


def _images_in(block: NormalizedBlock) -> int:
    if isinstance(block, ImageBlock):
        return 1
    if isinstance(block, ToolResultBlock) and isinstance(block.content, list):
        return sum(isinstance(part, ImageBlock) for part in block.content)
    return 0


def _without(block: NormalizedBlock, images: int, placeholder: TextBlock) -> NormalizedBlock:
    """Return the block without its first so many images."""
    if not isinstance(block, ToolResultBlock) or not isinstance(block.content, list):
        return placeholder
    content: list[Block] = []
    for part in block.content:
        goes = isinstance(part, ImageBlock) and images > 0
        images -= goes
        content.append(placeholder if goes else part)
    return ToolResultBlock(block.tool_use_id, content, block.is_error)
