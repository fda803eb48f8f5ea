"""``bridge run``: Claude Code on a model of one's own, with one command."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from claude_bridge.app.options import Options
from claude_bridge.cli import terminal
from claude_bridge.cli.help import Command, WrongCommandLine
from claude_bridge.cli.loading import load_config, trusted_project
from claude_bridge.cli.notices import TerminalNotices, facts_of
from claude_bridge.cli.options import CLAUDE_CODE, Traffic, takes_options

if TYPE_CHECKING:
    from claude_bridge.app.plan import Listening
    from claude_bridge.providers import Upstream

EXAMPLES = (
    "bridge run ollama qwen3:1.7b",
    "bridge run openai --base-url http://localhost:8080/v1",
    'bridge run ollama qwen3:1.7b --lite -- -p "What is in this folder?"',
)

_BEHIND = "claude_arguments"
_SECRETS = ("--api-key", "--apiKey")


class RunCommand(Command):
    """Keeps the arguments after ``--`` for Claude Code, so that none is taken for a provider or a model."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401 - click's context, which typer hides
        """Parse the arguments before ``--``; raises UsageError for options that may be Claude Code's."""
        at = args.index("--") if "--" in args else len(args)
        ctx.meta[_BEHIND] = args[at + 1 :]
        try:
            return super().parse_args(ctx, args[:at])
        except WrongCommandLine as error:
            if option := getattr(error, "option_name", None):
                example = terminal.with_program(f"`bridge run … -- {option}`")
                what = error.message.removesuffix(".")  # click ends it so, Typer's own copy of it does not
                error.message = f"{what}. Options of Claude Code come after --, as in {example}"
            raise


@takes_options
def run(
    options: Options,
    ctx: typer.Context,
    lite: Annotated[
        bool | None,
        typer.Option(
            "--lite/--no-lite",
            rich_help_panel=CLAUDE_CODE,
            help="Start with few tools and a short prompt, for a small model. Default: only if the context window is "
            "too small for all tools.",
        ),
    ] = None,
    traffic: Traffic = False,
) -> None:
    """Start Claude Code on a model, through a bridge that ends with it.

    Arguments after -- go to Claude Code: bridge run ollama -- --continue. The command ends with Claude Code's exit
    code, and changes none of your files. With --debug the log goes to a file, because Claude Code has the terminal. A
    project's own settings, in .claude-bridge.toml, are used once you trust them.
    """
    from msgspec.structs import replace

    from claude_bridge.app.build import build_plan
    from claude_bridge.app.claude_program import find_claude_code, prints_one_answer
    from claude_bridge.app.session import Session, run_session

    program = find_claude_code()
    arguments: list[str] = ctx.meta[_BEHIND]
    notices = RunNotices()
    project, unused = trusted_project(may_ask=True)
    if unused:
        notices.warn(unused)
    plan = build_plan(load_config(options.config_file, project), options, notices)
    if project is not None:
        notices.notes.append(f"settings of this project: {project.file}")
    if options.debug:
        from claude_bridge.config.locate import log_folder

        plan = replace(plan, log_file=log_folder() / time.strftime("run-%Y%m%d-%H%M%S.log"))
        notices.notes.append(f"debug log: {plan.log_file}")
    session = Session(program=program, arguments=arguments, is_lite=lite, allows_traffic=traffic)
    end = run_session(plan, session, notices)
    notices.show_held_back()
    if plan.log_file is not None:
        terminal.say(terminal.faint(f"Debug log: {plan.log_file}"))
    if end.session_id is not None and not prints_one_answer(arguments):
        terminal.say(f"Continue this session with:\n  {_resuming(sys.argv[1:], end.session_id)}")
    sys.exit(end.code)


class RunNotices(TerminalNotices):
    """Shows what is started, and holds warnings back while Claude Code has the terminal."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        """What else to show at the start."""
        self._held_back: list[str] | None = None

    def warn(self, text: str) -> None:
        """Print the warning, now or when the client has ended."""
        if self._held_back is None:
            super().warn(text)
        else:
            self._held_back.append(text)

    def starting_client(self, listening: Listening, upstream: Upstream, notes: Sequence[str]) -> None:
        """Print which model it gets, and what is special."""
        from claude_bridge.providers import engine_words

        engine = engine_words(upstream.name, upstream.adapter.kind)
        terminal.say(f"{terminal.strong(upstream.model)} on {engine}, through {listening.url}")
        page = [] if listening.page_url is None else [f"see what happens in a browser: {listening.page_url}"]
        for note in (*facts_of(upstream), *notes, *self.notes, *page):
            terminal.say(terminal.faint(f"  · {note}"))
        self._held_back = []

    def show_held_back(self) -> None:
        """Print the warnings that came while the client had the terminal."""
        held_back, self._held_back = self._held_back or [], None
        for warning in held_back:
            self.warn(warning)


def _resuming(arguments: Sequence[str], session_id: str) -> str:
    """Return the same command for the same session; a key in it is left out."""
    from claude_bridge.app.shells import this_shell

    quote = this_shell().quote
    words: list[str] = []
    for word in arguments[: arguments.index("--")] if "--" in arguments else arguments:
        name, equals, _ = word.partition("=")
        if words and words[-1] in _SECRETS:
            words.append("KEY")
        else:
            words.append(f"{name}=KEY" if equals and name in _SECRETS else quote(word))
    return " ".join([terminal.program(), *words, "--", "--resume", session_id])
