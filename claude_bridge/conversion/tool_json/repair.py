"""Malformed JSON of a tool call, repaired where it is sure what it means.

Nothing is invented and nothing gets lost: each string ends at a quote that the model wrote, and every character of a
string or number stays. Only what JSON puts between them is written anew. A text that ends inside a string, or where a
value has to follow, was cut off, and is never repaired. The work grows linearly with the text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from enum import Enum, auto
from typing import NamedTuple, NoReturn

from claude_bridge.conversion.tool_json.progress import JsonProgress
from claude_bridge.conversion.tool_json.text import Json, begins_json, is_json, loose_decoder
from claude_bridge.conversion.tool_names import folded_name

MAX_CHARS = 400_000
MAX_STEPS = 60_000
"""Quotes that are looked at: a file of 200 KB has some 10,000. A value counts for more."""
_STEPS_OF_VALUE = 4
MAX_DEPTH = 50
"""A model that loses its way writes brackets without end."""

_MAX_DOCUMENTS = 8
_MAX_LEFTOVERS = 8

_OPENING_FENCE = re.compile(r"```(?:json)?\s*")
_LEFTOVER = re.compile(r"(?:```|</[\w:|-]{1,30}>|<[|｜][^<>]{1,30}[|｜]>)\Z")
"""What of a call's own format an engine may leave behind its arguments."""
_LEFTOVER_CHARS = 40

_SPACE = re.compile(r"\s*")
_SPACE_AND_COMMAS = re.compile(r"[\s,]*")
_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?(?![\w.+-])")
_LITERALS = {"true": "true", "false": "false", "null": "null", "True": "true", "False": "false", "None": "null"}
_LITERAL = re.compile(rf"(?:{'|'.join(_LITERALS)})(?!\w)")

_CLOSINGS = {"{": "}", "[": "]"}
_UNTIL_QUOTE = {
    opening: re.compile(rf"(?:[^{closing}\\]++|\\.)*+{closing}", re.DOTALL) for opening, closing in ('""', "''", "“”")
}
"""What a string is, and its closing quote, by its opening quote."""
_KEY = re.compile(r"""["'“]([^"'“”\\\n]{1,200})["'”]\s*:|([A-Za-z_$][\w$-]{0,199})\s*:""")
_NEXT_KEY = re.compile(
    rf"""\s*+(?:,\s*+(?:{_KEY.pattern})|["'“]([^"'“”\\\n]{{1,200}})["'”]\s*+:)""",
)
"""Behind a value: a comma and a key, or a key in quotes where the comma was forgotten."""
_NEXT_ITEM = re.compile(rf"""\s*+,\s*+(?:["'“\[{{\-\d\]}}]|{_LITERAL.pattern})""")
_OBJECT_ENDS = re.compile(r"""\s*+,?\s*+\}\s*+[,\]}"'“]""")
_LIST_ENDS = re.compile(r"""\s*+,?\s*+\]\s*+[,\]}"'“]""")
_NEXT_STRING = re.compile(r"""\s*+["'“]""")

_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|.)", re.DOTALL)
_SIMPLE_ESCAPES = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_SELF_ESCAPES = frozenset("\"'\\/")
_WINDOWS_PATH = re.compile(r"(?:\b[A-Za-z]:|\A\\)\\")
_ELLIPSES = frozenset(("...", "…"))
"""What stands for a value that a model meant to write."""


class NotRepaired(Enum):
    """Why a text was not repaired."""

    CUT_OFF = auto()
    """It ends in the middle: inside a string, or where a value has to follow."""
    UNSURE = auto()
    """It may mean several things, or none."""
    TOO_LARGE = auto()
    """It takes more work than an answer may take."""


class RepairedJson(NamedTuple):
    """The JSON of an object."""

    text: str
    lacked_end: bool = False
    """Whether closing brackets were added at the end."""


class _GiveUpError(Exception):
    def __init__(self, why: NotRepaired) -> None:
        self.why = why


def repair_object(text: str) -> str | None:
    """Return the JSON of the object that malformed ``text`` means, or None where that is not sure."""
    found = read_object(text)
    return found.text if isinstance(found, RepairedJson) else None


def read_object(text: str, keys: Collection[str] = ()) -> RepairedJson | NotRepaired:
    """Return the object that malformed ``text`` means.

    ``keys`` are those that the object may have; none: any. They tell a quote that ends a string from one that was
    only not escaped.
    """
    if len(text) > MAX_CHARS:
        return NotRepaired.TOO_LARGE
    text = _without_leftovers(text)
    if text.startswith('"') and text.endswith("}"):
        text = "{" + text  # the first fragment of a stream got lost
    if not text.startswith("{") or len(text) - len(text.lstrip("{[")) > MAX_DEPTH:
        return NotRepaired.UNSURE
    try:
        found = _only_object(text) or _Reader(text, keys).read()
    except _GiveUpError as reason:
        is_cut = reason.why is NotRepaired.UNSURE and (JsonProgress(text).in_string or begins_json(text))
        return NotRepaired.CUT_OFF if is_cut else reason.why
    except (ValueError, RecursionError):  # what is made of garbage may be too much
        return NotRepaired.UNSURE
    return found if found.text != "{}" and is_json(found.text) else NotRepaired.UNSURE


def _without_leftovers(text: str) -> str:
    """Return the text without a fence around it, and without what closes a call."""
    text = text.strip()
    if fence := _OPENING_FENCE.match(text):
        text = text[fence.end() :]
    for _ in range(_MAX_LEFTOVERS):
        leftover = _LEFTOVER.search(text, max(0, len(text) - _LEFTOVER_CHARS))
        if leftover is None:
            break
        text = text[: leftover.start()].rstrip()
    return text


def _only_object(text: str) -> RepairedJson | None:
    """Return the one object that the text holds: with brackets too many, more than once, or behind an empty one."""
    found: list[Json] = []
    at = 0
    for _ in range(_MAX_DOCUMENTS):
        try:
            document, at = loose_decoder.raw_decode(text, at)
        except ValueError:
            break
        if document != {}:
            found.append(document)
        at = _skip_space(text, at)
    if not found or not isinstance(found[0], dict) or text[at:].strip("]} \n\t\r"):
        return None
    if any(document != found[0] for document in found):
        raise _GiveUpError(NotRepaired.UNSURE)
    plain = json.dumps(found[0], ensure_ascii=False, separators=(",", ":"))
    return RepairedJson(whole_characters(plain))


class _Reader:
    """Reads one object as a careful person would, from its first character to its last."""

    def __init__(self, text: str, keys: Collection[str]) -> None:
        self._text = text
        self._keys = {folded_name(key) for key in keys}
        self._at = 0
        self._depth = 0
        self._steps = 0
        self._tail = len(text.rstrip("]}, \n\t\r"))  # nothing but closing brackets from here on
        self._lacked_end = False
        self._has_strange_key = False  # behind a quote of the string that is read
        self._out: list[str] = []

    def read(self) -> RepairedJson:
        """Return the object.

        Raises:
            _GiveUpError: the text was cut off, or it is not sure what it means.
        """
        if self._text.startswith("{{"):
            self._at = 1
        self._container("{", "}")
        if self._text[self._at :].strip("]} \n\t\r"):
            self._give_up()
        return RepairedJson("".join(self._out), self._lacked_end)

    def _value(self, *, is_member: bool) -> None:
        text = self._text
        at = self._at = _skip_space(text, self._at)
        if at == len(text):
            self._give_up(NotRepaired.CUT_OFF)
        self._count_steps(_STEPS_OF_VALUE)
        first = text[at]
        if first in _CLOSINGS:
            self._container(first, _CLOSINGS[first])
        elif first in _UNTIL_QUOTE:
            self._string(first, is_member=is_member)
        elif number := _NUMBER.match(text, at):
            self._at = number.end()
            self._out.append(number[0])
        elif literal := _LITERAL.match(text, at):
            self._at = literal.end()
            self._out.append(_LITERALS[literal[0]])
        else:
            self._give_up()

    def _container(self, opening: str, closing: str) -> None:
        """Read an object or a list."""
        self._depth += 1
        if self._depth > MAX_DEPTH:
            self._give_up()
        self._out.append(opening)
        self._at += 1
        names: set[str] = set()
        count = 0
        while not self._ends(closing, has_items=count > 0):
            self._out.append("," if count else "")
            count += 1
            if closing == "}":
                names.add(self._key(names))
            self._value(is_member=closing == "}")
        self._depth -= 1
        self._out.append(closing)

    def _key(self, names: Collection[str]) -> str:
        """Read a key that is none of the names so far."""
        found = _KEY.match(self._text, self._at)
        if found is None:
            self._give_up()
        name = found[1] or found[2]
        if name in names:
            self._give_up()
        self._out += json.dumps(name, ensure_ascii=False), ":"
        self._at = found.end()
        return name

    def _ends(self, bracket: str, *, has_items: bool) -> bool:
        """Step over commas; return whether the object or list ends here, be it for lack of more text."""
        between = _SPACE_AND_COMMAS.match(self._text, self._at)
        assert between is not None, "it matches nothing at least"
        has_comma, self._at = "," in between[0], between.end()
        if self._at == len(self._text):
            if has_comma or not has_items:
                self._give_up(NotRepaired.CUT_OFF)
            self._lacked_end = True
            return True
        if self._text[self._at] == bracket:
            self._at += 1
            return True
        if has_items and not has_comma and bracket == "]":
            self._give_up()
        return False

    def _string(self, quote: str, *, is_member: bool) -> None:
        text = self._text
        if text.startswith('"""', self._at):
            end = text.find('"""', self._at + 3) + 3
            if end > 3 and self._may_end_string(end, is_member=is_member, has_inner_quotes=False):
                self._emit(text[self._at + 3 : end - 3])
                self._at = end
                return
        start = at = self._at + 1
        inner_quotes = 0
        self._has_strange_key = False
        while True:
            self._count_steps(1)
            found = _UNTIL_QUOTE[quote].match(text, at)
            if found is None:
                self._give_up(NotRepaired.UNSURE if inner_quotes else NotRepaired.CUT_OFF)
            at = found.end()
            if self._may_end_string(at, is_member=is_member, has_inner_quotes=inner_quotes > 0):
                break
            if quote != '"':
                self._give_up()
            inner_quotes += 1
        body = text[start : at - 1]
        if inner_quotes and not self._is_likely_whole(body, inner_quotes, at):
            self._give_up()
        # Code with its own quotes and line ends was not escaped at all: its backslashes are its own too.
        is_verbatim = "\\" not in body or (inner_quotes > 0 and "\n" in body)
        self._emit(body if is_verbatim else _unescaped(body))
        self._at = at

    def _may_end_string(self, at: int, *, is_member: bool, has_inner_quotes: bool) -> bool:
        """Return whether what stands behind a quote is what JSON has behind a string."""
        text = self._text
        if at >= self._tail:
            # With quotes that were not escaped, one more at the very end may be one of them.
            return not has_inner_quotes or "}" in text[at:]
        if not is_member:
            if _NEXT_STRING.match(text, at):
                self._give_up()
            return bool(_NEXT_ITEM.match(text, at) or _LIST_ENDS.match(text, at))
        if self._depth > 1 and _OBJECT_ENDS.match(text, at):
            return True
        found = _NEXT_KEY.match(text, at)
        if found is None:
            return False
        name = found[1] or found[2] or found[3]
        is_known = self._depth > 1 or not self._keys or folded_name(name) in self._keys
        self._has_strange_key = self._has_strange_key or not is_known
        return is_known

    def _is_likely_whole(self, body: str, inner_quotes: int, at: int) -> bool:
        """Return whether a string with quotes that were not escaped ends where it seems to end.

        Inside code a quote and a closing bracket may stand anywhere: what opens a brace without closing it was cut.
        """
        are_pairs = inner_quotes % 2 == 0
        if self._depth == 1 and self._keys:
            is_closed = at < self._tail or body.count("{") <= body.count("}")
            return is_closed and (are_pairs or not self._has_strange_key)
        return are_pairs and all(body.count(one) == body.count(other) for one, other in ("{}", "[]", "()"))

    def _emit(self, string: str) -> None:
        if string in _ELLIPSES:
            self._give_up()
        self._out.append(json.dumps(whole_characters(string), ensure_ascii=False))

    def _count_steps(self, steps: int) -> None:
        self._steps += steps
        if self._steps > MAX_STEPS:
            self._give_up(NotRepaired.TOO_LARGE)

    def _give_up(self, why: NotRepaired = NotRepaired.UNSURE) -> NoReturn:
        raise _GiveUpError(why)


def _unescaped(body: str) -> str:
    """Return what the inside of a string means.

    Where an escape is none of JSON's, a Windows path or a line without line ends was not escaped at all: what looks
    like a line end or a tab in it is a backslash and a letter.
    """
    escapes: list[str] = _ESCAPE.findall(body)
    is_invalid = any((escape[0] not in "bfnrtu" and escape not in _SELF_ESCAPES) or escape == "u" for escape in escapes)
    pairs = sum(escape == "\\" for escape in escapes) - body.startswith("\\\\")
    if is_invalid and not pairs and (_WINDOWS_PATH.search(body) or "n" not in escapes):
        return _ESCAPE.sub(lambda escape: escape[1] if escape[1] in "\"'" else escape[0], body)
    return _ESCAPE.sub(_meaning, body)


def _meaning(escape: re.Match[str]) -> str:
    name = escape[1]
    if len(name) > 1:
        return chr(int(name[1:], 16))
    return name if name in _SELF_ESCAPES else _SIMPLE_ESCAPES.get(name, escape[0])


def _skip_space(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    assert found is not None, "it matches nothing at least"
    return found.end()


def whole_characters(text: str) -> str:
    """Return the text with the halves of a character put together, and halves alone replaced."""
    if text.isascii():
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
