"""A conversation within the number of images that an engine takes: the newest stay, the beginning seldom changes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_bridge.conversion.loss import Loss
from claude_bridge.conversion.request.content import NormalizedBlock
from claude_bridge.conversion.request.image_limit import images_to_leave_out, limit_images
from claude_bridge.wire.anthropic import (
    Base64Source,
    ImageBlock,
    TextBlock,
    ToolResultBlock,
)


def image(number: int) -> ImageBlock:
    return ImageBlock(Base64Source("image/png", str(number)))


def limited(*turns: list[NormalizedBlock], limit: int) -> tuple[list[str], list[Loss]]:
    """Return what is left of each turn: numbers of images, and ``-`` for one that was left out."""
    found, losses = limit_images(turns, limit)
    return ["".join(map(_sign, blocks)) for blocks in found], losses


def _sign(block: object) -> str:
    match block:
        case ImageBlock(Base64Source(_, number)):
            return number
        case ToolResultBlock(_, list(content)):
            return f"[{''.join(map(_sign, content))}]"
        case TextBlock(text) if text.startswith("[image omitted"):
            return "-"
        case _:
            return "."


TURNS: tuple[list[NormalizedBlock], ...] = (
    [image(1), TextBlock("a")],
    [ToolResultBlock("t", [TextBlock("b"), image(2), image(3)]), image(4)],
    [ToolResultBlock("u", "text"), image(5)],
)


@pytest.mark.parametrize(
    ("limit", "left"),
    [
        (5, ["1.", "[.23]4", ".5"]),
        (4, ["-.", "[.-3]4", ".5"]),
        (3, ["-.", "[.-3]4", ".5"]),
        (2, ["-.", "[.--]4", ".5"]),
        (1, ["-.", "[.--]-", ".5"]),
    ],
)
def test_the_oldest_images_go(limit: int, left: list[str]) -> None:
    found, losses = limited(*TURNS, limit=limit)
    assert found == left
    assert [loss.path for loss in losses] == ([] if "-" not in "".join(left) else ["$.messages"])


@given(st.integers(0, 300), st.integers(1, 60))
def test_no_more_are_left_than_the_limit_and_no_fewer_than_half_of_it(images: int, limit: int) -> None:
    left = images - images_to_leave_out(images, limit)
    assert left <= limit
    assert left == images or left > limit - max(1, limit // 2)


def test_with_each_new_image_the_beginning_of_the_prompt_mostly_stays() -> None:
    left_out = [images_to_leave_out(images, 20) for images in range(100)]
    assert len(set(left_out)) == 9
    assert left_out == sorted(left_out)
