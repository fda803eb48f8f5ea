"""The help of every command in plain text: usage, examples, then options in groups, the common ones first."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from claude_bridge.cli import terminal
from claude_bridge.cli.options import GROUPS

MAX_WIDTH = 100
DEFAULT_WIDTH = 80
"""Where there is no terminal."""

LABEL_WIDTH = 20
"""A longer label has its text on the next line."""

NARROW = 60
"""Below so many columns all text is on the next line."""

WrongCommandLine: Any = typer.BadParameter.__base__
"""Click's error of a wrong command line; where Click is, depends on the version of Typer."""


class Command(TyperCommand):
    """A command whose help is ours, and that explains where MODEL belongs."""

    def format_help(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401 - click's, which typer hides
        """Write the help."""
        formatter.write(render_help(self, ctx))

    def get_usage(self, ctx: Any) -> str:  # noqa: ANN401 - click's, which typer hides
        """Return the line that an error begins with."""
        return usage_of(self, ctx)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401
        """Parse the command line; raises UsageError for ``--model``, which other programs have."""
        takes_model = any(parameter.name == "model" for parameter in self.params)
        if takes_model and any(word.partition("=")[0] == "--model" for word in args):
            example = terminal.with_program(f"`bridge {ctx.info_name} ollama qwen3:1.7b`")
            ctx.fail(f"There is no option --model: the model comes after the provider, as in {example}")
        return super().parse_args(ctx, args)


class Group(TyperGroup):
    """A command with commands of its own."""

    command_class = Command

    def format_help(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401 - click's, which typer hides
        """Write the help."""
        formatter.write(render_help(self, ctx))


def render_help(command: Any, ctx: Any, *, width: int | None = None) -> str:  # noqa: ANN401 - click's
    """Return the help of a command, in ``width`` columns (None: those of the terminal)."""
    width = width or min(MAX_WIDTH, terminal.screen_width(DEFAULT_WIDTH))
    lines = [*_wrapped(usage_of(command, ctx), width, hanging=7), ""]
    for paragraph in paragraphs_of(command):
        lines += [*_wrapped(paragraph, width), ""]
    if command.epilog:
        lines += [_heading("Examples"), *(f"  {line}" for line in command.epilog.splitlines()), ""]
    sections = list(sections_of(command, ctx))
    labels = [label for _, rows in sections for label, _ in rows]
    label_width = max((len(label) for label in labels if len(label) <= LABEL_WIDTH), default=LABEL_WIDTH)
    for title, rows in sections:
        lines.append(_heading(title))
        for label, text in rows:
            lines += _row(label, text, width, label_width)
        lines.append("")
    return "\n".join(lines)


def usage_of(command: Any, ctx: Any) -> str:  # noqa: ANN401 - click's
    """Return the line that shows the form of the command."""
    arguments = [label_of(parameter) for parameter in command.params if _is_argument(parameter)]
    more = [command.subcommand_metavar] if isinstance(command, TyperGroup) else []
    return " ".join(["Usage:", ctx.command_path, *arguments, command.options_metavar, *more])


def paragraphs_of(command: Any) -> list[str]:  # noqa: ANN401 - click's
    """Return the paragraphs that say what the command does, each in one line."""
    return [" ".join(paragraph.split()) for paragraph in (command.help or "").split("\n\n")]


def sections_of(command: Any, ctx: Any) -> Iterator[tuple[str, list[tuple[str, str]]]]:  # noqa: ANN401 - click's
    """Yield the groups of commands, arguments and options: the title, and (label, text) of each row."""
    groups: dict[str, list[tuple[str, str]]] = {}
    for name, inner in getattr(command, "commands", {}).items():
        if not inner.hidden:
            text = paragraphs_of(inner)[0]
            groups.setdefault(inner.rich_help_panel or "Commands", []).append((name, text.rstrip(".")))
    for parameter in command.get_params(ctx):
        is_help = parameter.name == "help" and ctx.parent is not None  # who reads this has found it
        if not getattr(parameter, "hidden", False) and not is_help:
            title = (
                "Arguments" if _is_argument(parameter) else (getattr(parameter, "rich_help_panel", None) or "Options")
            )
            groups.setdefault(title, []).append((label_of(parameter), _text_of(parameter)))
    yield from sorted(groups.items(), key=lambda group: GROUPS.index(group[0]) if group[0] in GROUPS else -1)


def label_of(parameter: Any) -> str:  # noqa: ANN401 - click's
    """Return how a parameter is written: ``--port N``, ``--check / --no-check``, ``[MODEL]``."""
    if _is_argument(parameter):
        name = str(parameter.metavar or parameter.name.upper())
        shown = name if parameter.required else f"[{name}]"
        return f"{shown}..." if parameter.nargs == -1 else shown
    names = sorted(parameter.opts, key=len)
    label = ", ".join(names) + (f" / {parameter.secondary_opts[0]}" if parameter.secondary_opts else "")
    return label if parameter.is_flag else f"{label} {parameter.metavar or 'TEXT'}"


def _text_of(parameter: Any) -> str:  # noqa: ANN401 - click's
    text = " ".join((parameter.help or "").split())
    is_told = _is_argument(parameter) or parameter.is_flag or parameter.default in (None, "") or parameter.multiple
    return text if is_told else f"{text} Default: {parameter.default}."


def _is_argument(parameter: Any) -> bool:  # noqa: ANN401 - click's
    return bool(parameter.param_type_name == "argument")


def _row(label: str, text: str, width: int, label_width: int) -> list[str]:
    if width < NARROW:
        return [f"  {label}", *(f"      {line}" for line in _wrapped(text, width - 6))]
    indent = " " * (label_width + 4)
    lines = [f"{indent}{line}" for line in _wrapped(text, width - len(indent))]
    if len(label) > label_width:
        return [f"  {label}", *lines]
    return [f"  {label:<{label_width}}  {lines[0].lstrip() if lines else ''}".rstrip(), *lines[1:]]


def _wrapped(text: str, width: int, *, hanging: int = 0) -> list[str]:
    return textwrap.wrap(
        text, max(width, 20), subsequent_indent=" " * hanging, break_long_words=False, break_on_hyphens=False
    )


def _heading(title: str) -> str:
    return typer.style(f"{title}:", bold=True) if terminal.wants_colour() else f"{title}:"
