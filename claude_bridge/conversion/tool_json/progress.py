"""How far the text of one JSON value has come, in a single pass over its pieces."""

from __future__ import annotations

import re
from itertools import accumulate

_IN_STRING = r'(?:[^"\\]++|\\.)*+'
_REST_OF_STRING = re.compile(_IN_STRING, re.DOTALL)
_STRINGS = re.compile(rf'"{_IN_STRING}"', re.DOTALL)
_UP_TO_OPEN_STRING = re.compile(rf'(?:[^"]++|"{_IN_STRING}")*+(?=")', re.DOTALL)
_NOT_STRUCTURE = bytes(set(range(256)) - set(b'[]{}"'))
_SLICE_BYTES = 256 * 1024
_STEPS = {ord(bracket): 1 if bracket in "{[" else -1 for bracket in "{}[]"}


class JsonProgress:
    """Follows strings and brackets, and nothing else: the text may be malformed in any other way."""

    def __init__(self, text: str = "") -> None:
        self.in_string = False
        """Whether the text ends inside a string."""
        self._depth = 0
        self._has_begun = False
        self._is_escaped = False  # the text ends behind a backslash
        self._last = ""
        self.feed(text)

    @property
    def is_closed(self) -> bool:
        """Whether a bracket was opened, and all brackets and strings are closed."""
        return self._has_begun and self._depth <= 0 and not self.in_string

    @property
    def awaits_value(self) -> bool:
        """Whether the text ends where a value may follow."""
        return not self.in_string and self._last in ("", ":", "[", ",")

    def feed(self, text: str) -> None:
        """Take more of the text."""
        if self.in_string:
            text = self._behind_string(text)
        open_string = _UP_TO_OPEN_STRING.match(text)
        if open_string is not None:
            self._take_string(text, open_string.end() + 1)
            text = open_string[0]
        plain = _STRINGS.sub('"', text)
        opened = plain.count("{") + plain.count("[")
        self._has_begun = self._has_begun or opened > 0
        self._depth += opened - plain.count("}") - plain.count("]")
        self._last = plain.rstrip()[-1:] or self._last

    def _behind_string(self, text: str) -> str:
        """Return what follows the open string; nothing while it is still open."""
        if not text:
            return text
        end = self._take_string(text, 1 if self._is_escaped else 0)
        self.in_string = not text.startswith('"', end)
        return "" if self.in_string else text[end + 1 :]

    def _take_string(self, text: str, start: int) -> int:
        """Step over what belongs to a string, and return where it stops."""
        self.in_string = True
        found = _REST_OF_STRING.match(text, start)
        assert found is not None, "it matches nothing at least"
        self._is_escaped = text[found.end() :] == "\\"
        return found.end()


class JsonFragments:
    """Fragments of one text, and how far it has come; which is only computed when it is needed."""

    def __init__(self) -> None:
        self.pieces: list[str] = []
        self._progress = JsonProgress()
        self._followed = 0  # how many pieces the progress has seen

    @property
    def progress(self) -> JsonProgress:
        """How far the text has come."""
        for piece in self.pieces[self._followed :]:
            self._progress.feed(piece)
        self._followed = len(self.pieces)
        return self._progress


def nesting_depth(document: bytes, *, slice_bytes: int = _SLICE_BYTES) -> int:
    """Return how deep the brackets of a JSON document are nested."""
    document = document.replace(rb"\\", b"").replace(b'\\"', b"")
    depth = deepest = 0
    is_in_string = False
    for at in range(0, len(document), slice_bytes):  # in steps, beside which other threads run
        parts = document[at : at + slice_bytes].translate(None, _NOT_STRUCTURE).split(b'"')
        brackets = b"".join(parts[is_in_string::2])
        is_in_string ^= len(parts) % 2 == 0
        levels = list(accumulate(map(_STEPS.__getitem__, brackets), initial=depth))
        depth, deepest = levels[-1], max(deepest, *levels)
    return deepest
