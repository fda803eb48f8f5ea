"""The command line: the visible list of commands."""

from __future__ import annotations

import sys

import typer

from claude_bridge.app import terminal as output
from claude_bridge.cli import config, doctor, env, models, run, serve, service, stats, statusline, try_
from claude_bridge.errors import SetupError

ALIASES = {"baseURL": "base-url", "apiKey": "api-key"}
"""Other spellings of options, as other tools have them."""

app = typer.Typer(
    name="bridge",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "token_normalize_func": lambda token: ALIASES.get(token, token),
    },
    help="Run Claude Code and the Anthropic SDKs on any model: Ollama, llama.cpp, LM Studio, vLLM, OpenRouter, OpenAI.",
)
app.callback()(output.root)
app.command("serve", epilog=serve.EXAMPLES)(serve.serve)
app.command("run", epilog=run.EXAMPLES, cls=run.RunCommand)(run.run)
app.command("env", epilog=env.EXAMPLES)(env.env)
app.command("models", epilog=models.EXAMPLES)(models.models)
app.command("doctor", epilog=doctor.EXAMPLES)(doctor.doctor)
app.add_typer(config.app, name="config")
app.command("stats", epilog=stats.EXAMPLES)(stats.stats)
app.command("statusline", epilog=statusline.EXAMPLES)(statusline.statusline)
app.add_typer(service.app, name="service")
app.command("try", epilog=try_.EXAMPLES)(try_.try_)


def main() -> None:
    """Run the command line; what a person can mend ends in one panel and exit code 1."""
    try:
        app()
    except SetupError as error:
        output.print_problem(error.what, error.hint)
        sys.exit(1)
    except Exception as error:
        if "--debug" in sys.argv:
            raise
        output.print_problem(
            f"The bridge met an error of its own: {type(error).__name__}: {error}",
            "This should not happen. The same command with --debug shows where, for a bug report.",
        )
        sys.exit(1)
