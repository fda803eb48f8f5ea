"""Every command line that the bridge or its documentation advises is one that its command accepts."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer.main

import claude_bridge
from claude_bridge.cli.commands import app

PACKAGE = Path(claude_bridge.__file__).parent
ROOT = PACKAGE.parent
PAGES = [ROOT / "README.md", ROOT / "README.ja.md", *sorted((ROOT / "docs").rglob("*.md"))]

NAMES = {"N": "4096", "COMMAND": "serve", "SECONDS": "2", "FORM": "bash", "KIND": "openai-chat", "MODE": "on"}
"""What stands for a placeholder that is not any text."""

FILLED_IN = "4096"
"""What stands for what is filled in at run time: some text, and a number too."""

NO_COMMANDS = {"bridge port"}
"""Other texts that begin with the name of the program."""

OF_OTHER_PROGRAMS = {
    *("--model", "--settings", "--tools", "--version"),  # Claude Code
    *("--jinja", "--chat-template-file"),  # llama.cpp
    *("--enable-auto-tool-choice", "--max-model-len", "--tool-call-parser"),  # vLLM
    *("--data-binary", "--data-raw", "--no-buffer"),  # curl
    *("--model-path", "--add-host", "--context-length", "--no-deps"),  # SGLang, docker, LM Studio, pip
}

SHELL = re.compile(r"\s+(?:[|;&>]|&&)(?:\s|$)|\s+#\s.*")
"""What ends a command in a line for a shell."""

GROUP: Any = typer.main.get_command(app)
COMMANDS: dict[str, Any] = GROUP.commands


def texts_of(module: Path) -> Iterator[str]:
    """Yield all texts in a module but its docstrings."""
    tree = ast.parse(module.read_text("utf-8"))
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and isinstance(node.body[0], ast.Expr)
    }
    parts = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else FILLED_IN for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings | parts:
            yield node.value


def advised_in(text: str) -> Iterator[str]:
    """Yield the command lines in a text: in backquotes, as the output of a command, or alone in an indented line."""
    found = re.findall(r"(?<!`)`(bridge [^`]+)`", text)
    found += re.findall(r"\$\((bridge [^)]+)\)", text)
    found += re.findall(r"^(?: {4})?(?:\.venv[/\\](?:bin|Scripts)[/\\])?(bridge [a-z].*)$", text, re.MULTILINE)
    in_containers = re.findall(r"docker run .* claude-bridge (.*)$|^ +command: \[(ollama.*)\]$", text, re.MULTILINE)
    found += [f"bridge serve {words.replace(',', '')}" for pair in in_containers for words in pair if words]
    yield from (line for line in found if line not in NO_COMMANDS and "[OPTIONS]" not in line)


def words_of(line: str) -> list[str]:
    words = [word for word in shlex.split(SHELL.split(line)[0]) if word not in ("…", "...")]
    return [NAMES.get(word.strip("[]"), word.strip("[]")) for word in words[1:]]


def accept(words: list[str]) -> None:
    """Parse a command line as the program does; raises what Typer raises for one that it does not accept."""
    group = GROUP
    words = [{"PROVIDER": "ollama", FILLED_IN: "serve"}.get(words[0], words[0]), *words[1:]]
    if words[0].endswith("-completion") or (len(words) == 1 and hasattr(COMMANDS.get(words[0]), "commands")):
        return  # the first changes files of the shell, the second prints the help
    inner = getattr(COMMANDS.get(words[0]), "commands", {}).get(words[-1])
    if len(words) == 2 and inner is not None and any(parameter.required for parameter in inner.params):
        return  # the name of a command, without what it needs
    try:
        context = group.make_context("bridge", words)
        while hasattr(group, "commands"):
            name, group, rest = group.resolve_command(context, [*context._protected_args, *context.args])
            context = group.make_context(name, rest, parent=context)
        if words[:2] == ["service", "install"]:
            COMMANDS["serve"].make_context("serve", context.args)
    except typer.Exit:
        pass  # --help, --version


@cache
def texts_of_the_package() -> list[str]:
    return [text for module in PACKAGE.rglob("*.py") for text in texts_of(module)]


def lines_in_the_package() -> set[str]:
    return {line for text in texts_of_the_package() for line in advised_in(text)}


def lines_in_the_docs() -> set[str]:
    return {line for page in PAGES for line in advised_in(page.read_text("utf-8"))}


@pytest.mark.parametrize(("advised", "at_least"), [(lines_in_the_package, 20), (lines_in_the_docs, 40)])
def test_what_is_advised_is_accepted(
    advised: Callable[[], set[str]], at_least: int, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = sorted(advised())
    assert len(lines) > at_least
    refused = []
    for line in lines:
        try:
            accept(words_of(line))
        except Exception as error:  # noqa: BLE001 - each way of Click's to refuse
            refused.append(f"{line}: {error}")
    assert refused == []


@pytest.mark.parametrize(
    "line", ["bridge serve --nonsense", "bridge nonsense", "bridge run ollama m --port 1", "bridge serve --port N --x"]
)
def test_wrong_advice_would_be_noticed(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(Exception, match=r"No such"):
        accept(words_of(line))


def test_options_that_are_advised_alone_exist() -> None:
    options = {
        option
        for command in COMMANDS.values()
        for inner in (command, *getattr(command, "commands", {}).values())
        for parameter in inner.params
        for option in (*parameter.opts, *parameter.secondary_opts)
    }
    advised = {
        option
        for text in texts_of_the_package()
        if " " in text
        for option in re.findall(r"(?<![\w-])--[a-z][a-z-]+", text)
    }
    assert advised - options - OF_OTHER_PROGRAMS == set()


BY_OTHERS = {
    *("Connection refused", "Context limit reached", "Prompt is too long", "Retrying in 5 s (attempt 2/10)"),
    *("failed to parse grammar", "maximum context length is … tokens", "No models loaded", "/cost", ":free"),
    *('"auto" tool choice requires --enable-auto-tool-choice', "insufficient_quota", "organization must be verified"),
    *("does not support tools", "claude --resume ID", "[1m]", "/model", "404"),
}
"""What the pages quote of Claude Code and of engines."""


def messages_on(page: Path) -> Iterator[str]:
    """Yield what a page quotes as seen by the user, in the first column of its tables."""
    for table in re.findall(r"^\| (?:You see|表示) \|.*\n((?:\|.*\n)+)", page.read_text("utf-8"), re.MULTILINE):
        for row in table.splitlines()[1:]:
            yield from re.findall(r"`([^`]+)`", row.split("|")[1])


def test_the_messages_that_the_pages_explain_are_the_ones_that_we_print() -> None:
    quoted = {(page.name, message) for page in PAGES for message in messages_on(page)}
    texts = texts_of_the_package()
    unknown = [
        (page, message)
        for page, message in quoted
        if message not in BY_OTHERS
        for part in re.split(r"'[^']*'|[\d,.]+", message)
        if not any(part.strip() in text for text in texts)
    ]
    assert unknown == []
    assert len(quoted) > 10
