"""The formats in which models print tool calls as text: the rows of ``text_formats.toml``, and the marks in them."""

from __future__ import annotations

from enum import Enum
from typing import Any

from msgspec import Struct, convert

from claude_bridge.conversion.tool_calls.text_source import Marks
from claude_bridge.data_files import read_rows


class Notation(Enum):
    """How the input of a call is written, where it does not stand in tags of its own."""

    JSON = "json"
    """The input as JSON: ``{"command": "ls"}``."""
    JSON_CALLS = "json calls"
    """Whole calls as JSON: ``{"name": "Bash", "arguments": {…}}``, or a list of these."""
    PYTHON_CALLS = "python calls"
    """Whole calls in Python's notation: ``[Bash(command="ls")]``."""
    GEMMA = "gemma"
    """Gemma's notation: ``{command:<|"|>ls<|"|>}``."""


class Parameters(Struct, frozen=True, kw_only=True):
    """An input of parameters, each between tags; the text before ``behind_key`` may hold attributes too."""

    before_key: str
    behind_key: str
    before_value: str = ""
    behind_value: str
    """``{key}`` stands for the key."""
    has_own_lines: bool = False
    """Whether a value stands on lines of its own, so that the line ends around it are none of it."""


class CallFormat(Struct, frozen=True, kw_only=True):
    """One way to print tool calls: what opens and closes them, and how name and input stand between."""

    name: str
    models: str
    evidence: str
    """Where it is written down, or who saw it."""
    opening: str = ""
    """Opens a block of calls; empty: each call opens itself."""
    closing: str = ""
    """Closes the block; engines keep the last token to themselves at times."""
    before_name: str = ""
    """Opens one call; a model may forget the block's opening before it."""
    behind_name: str = ""
    input: Notation | Parameters
    behind_call: str = ""
    follows_blank_line: bool = False
    """Whether the template puts a blank line between the text of an answer and its calls."""
    may_be_followed: bool = False
    """Whether models write text after a call that they mean."""

    @property
    def is_token(self) -> bool:
        """Whether it begins with a token of which a model knows that it is no text."""
        return "|" in (self.opening or self.before_name) or (self.opening or self.before_name)[0] in "[]"


_DOCUMENT = read_rows("conversion/tool_calls/text_formats.toml")


def _format(row: dict[str, Any]) -> CallFormat:
    row = dict(row)
    base = _filled(_DOCUMENT["base"][row.pop("like")], row.pop("fill")) if "like" in row else {}
    fields = base | row
    notation = fields["input"]
    read_as = _DOCUMENT["parameters"].get(notation) if isinstance(notation, str) else notation
    fields["input"] = Notation(notation) if read_as is None else convert(read_as, Parameters)
    return CallFormat(**fields)


def _filled(value: Any, texts: dict[str, str]) -> Any:  # noqa: ANN401 - any value of a row
    if isinstance(value, dict):
        return {name: _filled(inner, texts) for name, inner in value.items()}
    for name, text in texts.items():
        value = value.replace(f"<{name}>", text) if isinstance(value, str) else value
    return value


FORMATS: tuple[CallFormat, ...] = tuple(map(_format, _DOCUMENT["format"]))

_ENDS = (
    "<|call|>", "<|end|>", "<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<|eot|>", "<|eom|>",
    "</s>", "<|end_of_sentence|>", "<|end_of_msg|>",
    "<|close|>message<|sep|>", "<|endoftext|>", "<turn|>", "<end_of_turn>", "<|END_OF_TURN_TOKEN|>", "<seed:eos>",
)  # fmt: skip
"""What may end an answer, and says nothing by itself."""

_BARE = tuple(row for row in FORMATS if row.before_name[:1] in ("<", "]"))
"""Rows of which a call may stand without the block's opening."""


def _by_mark() -> dict[str, tuple[CallFormat, ...]]:
    """Return the rows by what may open a call, a block's opening first."""
    marks = {row.opening for row in FORMATS if row.opening} | {row.before_name for row in _BARE}
    # Where one mark is the beginning of another, the shorter one stands for both.
    shortest = {mark for mark in marks if not any(mark != other and mark.startswith(other) for other in marks)}
    return {
        mark: tuple(row for row in FORMATS if row.opening == mark)
        or tuple(row for row in _BARE if row.before_name.startswith(mark))
        for mark in shortest
    }


FORMATS_BY_MARK = _by_mark()
"""The rows that may follow each mark that opens a call."""

OPENINGS = Marks(FORMATS_BY_MARK)
BLOCK_ENDS = frozenset(row.closing for row in FORMATS)
CLOSINGS = Marks((*_ENDS, *(end for row in FORMATS for end in (row.closing, row.behind_call))))
