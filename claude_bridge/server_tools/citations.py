"""Citations: text between marks that the model was asked to set becomes a block of its own, with its source."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from msgspec import Raw

from claude_bridge.conversion.request.server_tool_history import unseal_content
from claude_bridge.conversion.web_results import search_citation
from claude_bridge.server_tools.blocks import CITED_CHARS
from claude_bridge.server_tools.function_calls import CitableResult

_MARK = re.compile(r"<cite source=[\"']?(?P<numbers>\d[\d, ]*)[\"']?>|</cite>", re.IGNORECASE)
_MAX_MARK_CHARS = 60
_BEGINNINGS = ("<cite source=", "</cite>")


class CitedText(NamedTuple):
    """A piece of text; ``sources`` are what it rests on, and ``begins`` says that it is not more of the one before."""

    text: str
    sources: tuple[CitableResult, ...]
    begins: bool


class CitationReader:
    """Takes the marks out of text that comes in pieces; a mark that names no known result says nothing."""

    def __init__(self, sources: Sequence[CitableResult]) -> None:
        """``sources`` may grow while text comes."""
        self._sources = sources
        self._held = ""
        self._is_inside = False
        self._cited: tuple[CitableResult, ...] = ()
        self._begins = False

    def feed(self, text: str) -> list[CitedText]:
        """Return what of the text is sure to be text."""
        text, self._held = self._held + text, ""
        pieces, at = list[CitedText](), 0
        for mark in _MARK.finditer(text):
            if not (mark["numbers"] or self._is_inside):
                continue  # HTML that the model writes
            pieces += self._piece(text[at : mark.start()])
            cited = tuple(self._named(mark["numbers"])) if mark["numbers"] else ()
            self._begins = self._begins or cited != self._cited
            self._cited, self._is_inside, at = cited, bool(mark["numbers"]), mark.end()
        rest = text[at:]
        held_from = rest.rfind("<", max(0, len(rest) - _MAX_MARK_CHARS))
        if held_from >= 0 and _may_be_mark(rest[held_from:]):
            rest, self._held = rest[:held_from], rest[held_from:]
        return [*pieces, *self._piece(rest)]

    def close(self) -> list[CitedText]:
        """Return what was held back, at the end of a block; a mark that was never closed ends with it."""
        held, self._held = self._held, ""
        pieces = list(self._piece(held))
        self._cited, self._is_inside, self._begins = (), False, False
        return pieces

    def _piece(self, text: str) -> Iterator[CitedText]:
        if text:
            yield CitedText(text, self._cited, self._begins)
            self._begins = False

    def _named(self, numbers: str) -> Iterator[CitableResult]:
        for number in dict.fromkeys(re.findall(r"\d{1,6}", numbers)):
            if 0 < int(number) <= len(self._sources):
                yield self._sources[int(number) - 1]


def _may_be_mark(text: str) -> bool:
    """Return whether more text may make a mark of this, which begins with ``<`` and holds no whole one."""
    lower = text.lower()
    return ">" not in lower and any(lower.startswith(word) or word.startswith(lower) for word in _BEGINNINGS)


def citation(source: CitableResult) -> Raw:
    """Return a citation as the API gives it: what is quoted is the passage that the model has read."""
    passage = unseal_content(source.sealed) or ""
    return search_citation(source.url, source.title, source.sealed, passage[:CITED_CHARS])
