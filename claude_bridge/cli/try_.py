"""``bridge try``: the main job on a bare machine, with a model that comes along."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

DEFAULT_PROMPT = "Explain in three short sentences what a bridge is."

EXAMPLES = (
    'Examples:  bridge try  ·  bridge try "Write a haiku about rivers"  ·  bridge try --model-file qwen3-1.7b.gguf'
)


def try_(
    prompt: Annotated[str, typer.Argument(help="What to ask the model.")] = DEFAULT_PROMPT,
    model_file: Annotated[
        Path | None, typer.Option(help="A GGUF file of your own, in place of the small model.", metavar="FILE")
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show the translated traffic.")] = False,
) -> None:
    """Ask a small model through the bridge, with nothing else installed.

    Starts the embedded engine and a bridge before it, asks as an Anthropic client would, and shows the answer as it
    comes and what was translated. The first time it downloads the model (93 MB).
    """
    import anyio

    from claude_bridge.app.local import start_embedded
    from claude_bridge.app.serve import has_uvloop

    engine = start_embedded(model_file, window_tokens=None)

    from claude_bridge.app.ask import ask

    anyio.run(ask, engine.upstream, prompt, debug, backend_options={"use_uvloop": has_uvloop()})
