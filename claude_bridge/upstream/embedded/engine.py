"""The embedded engine: llama.cpp inside this process, by way of the ``xllamacpp`` wheel."""

from __future__ import annotations

import os
from importlib import resources
from pathlib import Path
from typing import Any

from claude_bridge.adapters import ADAPTERS
from claude_bridge.adapters.engine_profiles import EMBEDDED
from claude_bridge.conversion.pricing import FREE
from claude_bridge.errors import SetupError
from claude_bridge.providers import Upstream

SMALL_MODEL_WINDOW_TOKENS = 8_192
"""What the small model was trained for."""

OWN_MODEL_WINDOW_TOKENS = 32_768
"""For a model of the user's own: what Claude Code is comfortable with, and most machines have memory for."""

BATCH_TOKENS = 128
"""How much of a prompt is read in one step. Only between steps does the engine see that a client has left: with its
own 2,048 tokens it read on for 11 s, with these it is free within one, and reads as fast (on a CPU)."""


class EmbeddedEngine:
    """llama.cpp's own server, on a free port of the loopback address. It ends with the process."""

    def __init__(self, model_file: Path, *, model_name: str, window_tokens: int, template: str | None) -> None:
        """Load the model; takes seconds.

        ``template`` is a chat template in place of the model's own.

        Raises:
            SetupError: the engine is not installed, or can't load the file.
        """
        if not model_file.is_file():
            raise SetupError(f"There is no file {model_file}.", "Give the path of a GGUF file: --model-file FILE.gguf")
        engine = _import_engine()
        parameters = engine.CommonParams()
        parameters.model.path = str(model_file)
        parameters.hostnames = ["127.0.0.1"]
        parameters.port = 0
        parameters.n_ctx = window_tokens
        parameters.n_parallel = 1
        parameters.n_batch = BATCH_TOKENS
        parameters.model_alias = {model_name}
        parameters.use_jinja = True
        parameters.enable_chat_template = True
        parameters.cache_prompt = True
        parameters.endpoint_props = True
        parameters.verbosity = -1
        # llama.cpp's threads wait for each other at every step: where one shares its core with another program,
        # all are slow (measured on 2 busy cores: 2 threads write 4 tokens/s, 1 writes 46).
        threads = max(1, (os.cpu_count() or 1) - 1)
        parameters.cpuparams.n_threads = threads
        parameters.cpuparams_batch.n_threads = threads
        if template is not None:
            parameters.chat_template = template
            parameters.sampling.temp = 0.0  # a model this small only calls tools reliably when it does not guess
        try:
            self._server = engine.Server(parameters)
        except (RuntimeError, ValueError) as error:
            raise SetupError(
                f"llama.cpp can't load {model_file}: {error}", "Is it a whole GGUF file? Try another one."
            ) from error
        self.upstream = Upstream(
            name="llama.cpp (embedded)",
            base_url=f"{self._server.listening_address}/v1",
            model=model_name,
            adapter=ADAPTERS["openai-chat"],
            profile=EMBEDDED,
            window_tokens=window_tokens,
            prices=FREE,
        )


def small_model_template() -> str:
    """Return the chat template with which the small model calls tools: its own has no place for them."""
    return resources.files(__package__).joinpath("smollm2.jinja").read_text("utf-8")


def require_engine() -> None:
    """Check that the engine is installed; raises SetupError if not."""
    _import_engine()


def _import_engine() -> Any:  # noqa: ANN401 - xllamacpp has no types
    try:
        import xllamacpp
    except ImportError as error:
        raise SetupError(
            "The embedded engine is not installed.",
            "Install its extra: pip install '.[local]' in a checkout, or pipx inject claude-bridge-cli xllamacpp",
        ) from error
    return xllamacpp
