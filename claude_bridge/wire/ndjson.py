"""Newline-delimited JSON: bytes to the documents between the line ends."""

from __future__ import annotations

from claude_bridge.errors import UpstreamBrokenError

MAX_LINE_BYTES = 32 * 1024 * 1024
"""A longer line is no stream of tokens."""


class NdjsonDecoder:
    """Cuts a byte stream into JSON documents, wherever the reads happen to end."""

    def __init__(self) -> None:
        self._rest = bytearray()

    @property
    def is_between_lines(self) -> bool:
        """Whether no line has begun."""
        return not self._rest

    def feed(self, data: bytes) -> list[bytes]:
        """Return the documents that ``data`` completes, without blank lines and outer white space.

        Raises:
            UpstreamBrokenError: a line grew beyond MAX_LINE_BYTES.
        """
        body, newline, rest = data.rpartition(b"\n")
        lines: list[bytes] = []
        if newline:
            lines = (bytes(self._rest) + body).split(b"\n")
            self._rest.clear()
        self._rest += rest
        if len(self._rest) > MAX_LINE_BYTES:
            raise UpstreamBrokenError(f"The upstream sent one line of more than {MAX_LINE_BYTES} bytes.")
        return [document for line in lines if (document := line.strip())]

    def close(self) -> list[bytes]:
        """Return the last document, if its line end is missing; as it came, as it may go on elsewhere."""
        last = bytes(self._rest)
        self._rest.clear()
        return [last] if last.strip() else []
