"""The embedded engine as the commands start it: fetch the model, load it, and say so."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from claude_bridge.app import terminal as output

if TYPE_CHECKING:
    from claude_bridge.upstream.embedded.engine import EmbeddedEngine


def start_embedded(model_file: Path | None, *, window_tokens: int | None) -> EmbeddedEngine:
    """Start llama.cpp in this process, with the user's model or the small one. The engine ends when it is forgotten.

    Raises:
        SetupError: the engine is not installed, the model can't be had, or can't be loaded.
    """
    from claude_bridge.upstream.embedded.engine import (
        OWN_MODEL_WINDOW_TOKENS,
        SMALL_MODEL_WINDOW_TOKENS,
        EmbeddedEngine,
        require_engine,
        small_model_template,
    )
    from claude_bridge.upstream.embedded.model_file import SMOLLM2, fetch_model

    require_engine()  # before a download that would be for nothing
    if model_file is None:
        with output.progress_bar(f"Downloading {SMOLLM2.name}") as progress:
            path = fetch_model(SMOLLM2, progress)
        name, window, template = SMOLLM2.name, SMALL_MODEL_WINDOW_TOKENS, small_model_template()
    else:
        path, name, window, template = model_file, model_file.stem, OWN_MODEL_WINDOW_TOKENS, None
    with output.spinner(f"Loading {name}"):
        return EmbeddedEngine(path, model_name=name, window_tokens=window_tokens or window, template=template)
