"""The tools that a model is offered in the exam: those of Claude Code in their shapes, and some as MCP servers have."""

from __future__ import annotations

from typing import Any

from msgspec import Raw, json

from claude_bridge.wire.anthropic import Tool

_TEXT: dict[str, Any] = {"type": "string"}
_INTEGER: dict[str, Any] = {"type": "integer"}
_NUMBER: dict[str, Any] = {"type": "number"}
_FLAG: dict[str, Any] = {"type": "boolean"}


def _text(description: str) -> dict[str, Any]:
    return {"type": "string", "description": description}


def _object(required: str, **properties: dict[str, Any]) -> dict[str, Any]:
    """Return an object's schema; ``required`` names its properties, separated by spaces."""
    return {"type": "object", "properties": properties, "required": required.split(), "additionalProperties": False}


def _list(items: dict[str, Any], **more: int) -> dict[str, Any]:
    return {"type": "array", "items": items, **more}


def _one_of(*options: str) -> dict[str, Any]:
    return {"type": "string", "enum": list(options)}


_FILE = _text("The absolute path of the file")

_TODO = _object("content status activeForm", content=_TEXT, status=_one_of("pending", "in_progress", "completed"),
                activeForm=_TEXT)  # fmt: skip
_OPTION = _object("label description", label=_TEXT, description=_TEXT)
_QUESTION = _object("question header options multiSelect", question=_TEXT, header=_text("A very short label"),
                    options=_list(_OPTION, minItems=2, maxItems=4), multiSelect=_FLAG)  # fmt: skip
_ADDRESS = _object("street city", street=_TEXT, city=_TEXT)
_ITEM = _object("sku quantity gift", sku=_TEXT, quantity=_INTEGER, gift=_FLAG)

_TOOLS: dict[str, tuple[str, dict[str, Any]]] = {
    "Read": (
        "Read a file. The result has line numbers, as `cat -n` prints them. Always read a file before you edit it.",
        _object("file_path", file_path=_FILE, offset=_INTEGER, limit=_INTEGER),
    ),
    "Write": (
        "Write a file; an existing one is overwritten, and must have been read first.",
        _object("file_path content", file_path=_FILE, content=_text("The whole content of the file")),
    ),
    "Edit": (
        "Replace a text in a file that was read. It fails if old_string is not unique: then give more lines.",
        _object("file_path old_string new_string", file_path=_FILE, old_string=_text("The text to replace, exactly"),
                new_string=_text("What replaces it"), replace_all=_FLAG),
    ),
    "Bash": (
        "Run a command in a shell, and return what it prints.",
        _object("command", command=_TEXT, description=_text("What the command does, in 5 to 10 words"),
                timeout=_text("Milliseconds") | _NUMBER, run_in_background=_FLAG),
    ),
    "Glob": (
        "List the files that fit a pattern such as **/*.py.",
        _object("pattern", pattern=_TEXT, path=_text("The folder to search; default: the working folder")),
    ),
    "Grep": (
        "Search files for a regular expression.",
        _object("pattern", pattern=_TEXT, path=_text("A file or folder; default: the working folder"),
                output_mode=_one_of("content", "files_with_matches", "count")),
    ),
    "TodoWrite": (
        "Keep your list of todos, all of them each time: before work of three or more steps, and after each step.",
        _object("todos", todos=_list(_TODO)),
    ),
    "NotebookEdit": ("Replace a cell of a Jupyter notebook.",
                     _object("notebook_path new_source", notebook_path=_TEXT, cell_id=_TEXT, new_source=_TEXT)),
    "WebFetch": ("Fetch a web page, and answer a question about it.", _object("url prompt", url=_TEXT, prompt=_TEXT)),
    "WebSearch": ("Search the web.", _object("query", query=_TEXT, allowed_domains=_list(_TEXT))),
    "Agent": ("Start an agent for a task of many steps.",
              _object("description prompt", description=_TEXT, prompt=_TEXT, subagent_type=_TEXT)),
    "AskUserQuestion": ("Ask the user one to four questions, each with two to four options to choose from.",
                        _object("questions", questions=_list(_QUESTION, minItems=1, maxItems=4))),
    "TaskStop": ("Stop a command that runs in the background.", _object("task_id", task_id=_TEXT)),
    "Skill": ("Run a skill by its name.", _object("skill", skill=_TEXT, args=_TEXT)),
    "mcp__calendar__create_event": (
        "Create an event in the user's calendar.",
        _object("title date minutes", title=_TEXT, date=_text("YYYY-MM-DD"), minutes=_INTEGER)),
    "mcp__calendar__list_events": ("List the events of a day.", _object("date", date=_text("YYYY-MM-DD"))),
    "mcp__tickets__get_ticket": ("Return a ticket by its id.", _object("id", id=_TEXT)),
    "mcp__tickets__search": ("Search tickets by words.", _object("query", query=_TEXT, limit=_INTEGER)),
    "mcp__tickets__close_ticket": ("Close a ticket.", _object("id reason", id=_TEXT, reason=_TEXT)),
    "mcp__chat__send_message": ("Send a message to a channel of the team's chat.",
                                _object("channel text", channel=_TEXT, text=_TEXT)),
    "mcp__mail__send_mail": ("Send an e-mail.", _object("to subject body", to=_TEXT, subject=_TEXT, body=_TEXT)),
    "mcp__db__run_query": ("Run an SQL query on the database, read only.", _object("sql", sql=_TEXT)),
    "mcp__files__upload": ("Upload a file to the team's storage.", _object("path", path=_TEXT, public=_FLAG)),
    "mcp__orders__create_order": (
        "Create an order.",
        _object("customer items express total", customer=_object("name address", name=_TEXT, address=_ADDRESS),
                items=_list(_ITEM), express=_FLAG, total=_text("In euros") | _NUMBER)),
    "mcp__climate__set_zone": (
        "Set the climate of a zone of the building.",
        _object("zone celsius hold", zone=_INTEGER, celsius=_NUMBER, hold=_FLAG,
                days=_list(_one_of("mon", "tue", "wed", "thu", "fri", "sat", "sun")))),
}  # fmt: skip

CORE = ("Read", "Write", "Edit", "Bash", "Glob", "Grep", "TodoWrite")
"""What most tasks offer."""

ALL = tuple(_TOOLS)
"""All 25."""

TOOLS = {
    name: Tool(name=name, description=description, input_schema=Raw(json.encode(schema)))
    for name, (description, schema) in _TOOLS.items()
}
