"""Malformed JSON of a tool call, mended where it is sure what it means.

Nothing is invented and nothing gets lost: every character that is said stays, in its order, and none is added. Only
what JSON puts between them may change.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from claude_bridge.conversion.tool_json.text import Json, is_json

MAX_MENDED_CHARS = 200_000
"""Mending walks the text in Python, and not always once."""

MAX_MENDED_DEPTH = 50
"""A model that loses its way writes brackets without end, and mending them takes seconds."""

_MAX_DOCUMENTS = 8
_MAX_CLOSERS = 8

_LOOSE = json.JSONDecoder(strict=False)
"""Takes line ends and tabs inside strings, the commonest fault of all."""

_OPENING_FENCE = re.compile(r"```(?:json)?\s*")
_CLOSER = re.compile(r"(?:```|</[\w:|-]{1,30}>|<[|｜][^<>]{1,30}[|｜]>)\Z")
"""What of a call's own format an engine may leave behind its arguments."""
_CLOSER_CHARS = 40

_STRING_OR_BRACKET = re.compile(r'"(?:[^"\\]++|\\.)*+("?)|[{}\[\]]', re.DOTALL)
_TRIPLE_QUOTED = re.compile(r'"""(.*?)"""', re.DOTALL)
_ELLIPSES = frozenset(("...", "…"))
"""What stands for a value that a model meant to write."""
_LAST_LINE_END = re.compile(r"\\n(?=[\"'])")
_KEEPER = "\ufdd0"
"""Stands for a moment between the line end and the quote that end a string: guessing would strip the line end off."""
_UNICODE_ESCAPE = re.compile(r"\\+u([0-9a-fA-F]{4})")
_BETWEEN = re.compile(r"""\\+[bfnrt]?|[\s{}\[\]",:'“”]+""")
"""What stands between the things that are said, and how white space is written."""


def repair_object(text: str) -> str | None:
    """Return the JSON of the object that malformed ``text`` means, or None where that is not sure."""
    if len(text) > MAX_MENDED_CHARS or _KEEPER in text:
        return None
    text = _bare(text)
    if text.startswith('"') and text.endswith("}"):
        text = "{" + text  # the first fragment of a stream got lost
    if not text.startswith("{") or len(text) - len(text.lstrip("{[")) > MAX_MENDED_DEPTH:
        return None
    try:
        found = _only_object(text) or _closed_object(text) or _guessed_object(text)
        if not found:
            return None
        plain = json.dumps(found, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        mended = _whole_characters(plain.replace(_KEEPER, ""))
        return mended if is_json(mended) else None
    except (ValueError, RecursionError):  # what is made of garbage may be too much
        return None


def _bare(text: str) -> str:
    """Return the text without a fence around it, and without what closes a call."""
    text = text.strip()
    if fence := _OPENING_FENCE.match(text):
        text = text[fence.end() :]
    for _ in range(_MAX_CLOSERS):
        closer = _CLOSER.search(text, max(0, len(text) - _CLOSER_CHARS))
        if closer is None:
            break
        text = text[: closer.start()].rstrip()
    return text


def _only_object(text: str) -> dict[str, Json] | None:
    """Return the one object that the text holds: with brackets too many, more than once, or behind an empty one."""
    said: list[Json] = []
    for _ in range(_MAX_DOCUMENTS):
        try:
            document, end = _LOOSE.raw_decode(text)
        except ValueError:
            break
        if document != {}:
            said.append(document)
        text = text[end:].lstrip()
    if not said or not isinstance(said[0], dict) or text.strip("]} \n\t\r"):
        return None
    return said[0] if all(document == said[0] for document in said) else None


def _closed_object(text: str) -> dict[str, Json] | None:
    """Return the object that lacks nothing but its end; guessing would strip white space off its last string."""
    missing: list[str] = []
    quote = ""
    for found in _STRING_OR_BRACKET.finditer(text):
        match found[0]:
            case "{" | "[":
                missing.append("}" if found[0] == "{" else "]")
            case "}" | "]":
                if not missing or missing.pop() != found[0]:
                    return None
            case _:
                quote = "" if found[1] else '"'
    if quote and text.endswith(("}", "]")):
        return None  # inside the string, or behind it
    try:
        closed: Json = _LOOSE.decode(text + quote + "".join(reversed(missing)))
    except ValueError:
        return None
    return closed if isinstance(closed, dict) else None


def _guessed_object(text: str) -> dict[str, Json] | None:
    import json_repair  # slow to import, and seldom needed

    if text.endswith(","):
        return None  # more was to come
    text = _LAST_LINE_END.sub(rf"\\n{_KEEPER}", text)
    text = _TRIPLE_QUOTED.sub(lambda quoted: json.dumps(quoted[1]), text)
    guessed = json_repair.loads(text)
    if not isinstance(guessed, dict):
        return None
    words = list(_words(guessed))
    if _ELLIPSES.intersection(words) or words.count("") > text.count('""') + text.count("''"):
        return None
    if text.startswith("{'") and not all(_is_quoted_well(word, text) for word in words if "'" in word):
        return None
    return guessed if _essence("".join(words)) == _essence(text) else None


def _words(value: Json) -> Iterator[str]:
    """Yield all keys and values in their order."""
    match value:
        case dict():
            for key, inner in value.items():
                yield key
                yield from _words(inner)
        case list():
            for inner in value:
                yield from _words(inner)
        case _:
            yield str(value)


def _is_quoted_well(word: str, text: str) -> bool:
    """Return whether it is sure where a word with an apostrophe ends, among others in single quotes."""
    return f'"{word}"' in text or word.replace("'", "\\'") in text


def _essence(text: str) -> str:
    """Return what a text says, without what JSON puts around it."""
    characters = _whole_characters(_UNICODE_ESCAPE.sub(lambda escape: chr(int(escape[1], 16)), text))
    return _BETWEEN.sub("", characters).lower().replace("null", "none")


def _whole_characters(text: str) -> str:
    """Return the text with the halves of a character put together, and halves alone replaced."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
