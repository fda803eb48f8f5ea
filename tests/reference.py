"""The parts of docs/reference that are made from the code: commands with their options, and tables of settings."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec
import typer.main
from msgspec import NODEFAULT, Struct

from claude_bridge.cli.commands import app
from claude_bridge.cli.help import paragraphs_of, sections_of, usage_of
from claude_bridge.config.decode import expected
from claude_bridge.config.schema import (
    Defaults,
    ModelSettings,
    ProviderSettings,
    Server,
    Web,
    settings_of,
)
from claude_bridge.config.types import shown
from claude_bridge.conversion.pricing import Prices
from claude_bridge.data_files import read_text
from claude_bridge.spending import Budget

BLOCK = re.compile(r"(?P<begin><!-- made from the code: (?P<name>.+?) -->\n).*?(?P<end><!-- end -->\n)", re.DOTALL)

TABLES: dict[str, type[Struct]] = {
    "[server]": Server,
    "[defaults]": Defaults,
    "[limits]": Budget,
    "[web]": Web,
    "[providers.NAME]": ProviderSettings,
    "[[providers.NAME.models]]": ModelSettings,
    "cost": Prices,
}


def commands() -> dict[str, tuple[Any, Any]]:
    """Return every command that is not hidden, by how it is called, with its context."""
    return dict(_commands("bridge", typer.main.get_command(app), None))


def _commands(name: str, command: Any, parent: Any) -> Iterator[tuple[str, tuple[Any, Any]]]:
    context = typer.Context(command, info_name=name.rpartition(" ")[2], parent=parent)
    yield name, (command, context)
    for inner, one in getattr(command, "commands", {}).items():
        if not one.hidden:
            yield from _commands(f"{name} {inner}", one, context)


def updated(page: str) -> str:
    """Return a page with its made parts as the code is now."""
    return BLOCK.sub(lambda block: block["begin"] + rendered(block["name"]) + block["end"], page)


def names_in(page: str) -> list[str]:
    return [block["name"] for block in BLOCK.finditer(page)]


def rendered(name: str) -> str:
    return _settings(name, TABLES[name]) if name in TABLES else _command(*commands()[name])


def _command(command: Any, context: Any) -> str:
    lines = [f"    {usage_of(command, context).removeprefix('Usage: ')}", ""]
    for paragraph in paragraphs_of(command):
        lines += [paragraph, ""]
    if command.epilog:
        lines += [*(f"    {line}" for line in command.epilog.splitlines()), ""]
    for title, rows in sections_of(command, context):
        lines += [f"| {title} | |", "|---|---|", *(f"| `{label}` | {_cell(text)} |" for label, text in rows), ""]
    return "\n".join(lines)


def _settings(header: str, table: type[Struct]) -> str:
    lines = ["| Key | Value | Default | |", "|---|---|---|---|"]
    texts = _texts_of_settings()
    for field in msgspec.structs.fields(table):
        is_given = field.default not in (None, (), NODEFAULT)
        default = "required" if field.required else f"`{shown(field.default)}`" if is_given else ""
        kind = expected(settings_of(table)[field.name])
        lines.append(f"| `{field.name}` | {_cell(kind)} | {default} | {_cell(texts[header, field.name])} |")
    return "\n".join([*lines, ""])


def _texts_of_settings() -> dict[tuple[str, str], str]:
    """Return what each setting is for, by its table and its name: the comments of the example."""
    texts, header, comment = {}, "", ""
    for line in read_text("config/example.toml").splitlines():
        if line.startswith("# "):
            comment = line.removeprefix("# ")
        elif line.lstrip("#").startswith("["):
            above, header = header, line.lstrip("#").replace("ollama", "NAME")
            texts[above, header.strip("[]").rpartition(".")[2]] = comment
            header = "cost" if header.endswith(".cost]") else header
        elif line:
            texts[header, line.lstrip("#").partition(" = ")[0]] = comment
    return texts


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
