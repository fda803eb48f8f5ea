"""Repair: something of an answer's tool call that was mended."""

from __future__ import annotations

from msgspec import Struct


class Repair(Struct, frozen=True):
    """A tool call that was mended: which, and how."""

    tool_name: str
    what: str
