"""The embedded engine: llama.cpp from the ``xllamacpp`` wheel, in a process that lives as long as this one needs it."""

from __future__ import annotations

from contextlib import suppress
from importlib import resources
from importlib.util import find_spec
from pathlib import Path

import msgspec
from msgspec import Struct

from claude_bridge.adapters import ADAPTERS
from claude_bridge.adapters.engine_profiles import EMBEDDED
from claude_bridge.child_process import ChildProcess
from claude_bridge.conversion.pricing import FREE
from claude_bridge.errors import SetupError
from claude_bridge.extras import how_to_install
from claude_bridge.providers import Upstream

SMALL_MODEL_WINDOW_TOKENS = 8_192
"""What the small model was trained for."""

OWN_MODEL_WINDOW_TOKENS = 32_768
"""For a model of the user's own: what Claude Code is comfortable with, and most machines have memory for."""

_SERVER = Path(__file__).with_name("server.py")


class _Started(Struct):
    """What the engine's process writes once it has loaded its model: an address, or why there is none."""

    address: str = ""
    error: str = ""


class EmbeddedEngine:
    """llama.cpp's own server, on a free port of the loopback address. It ends with this object, or with the process."""

    def __init__(self, model_file: Path, *, model_name: str, window_tokens: int, template: str | None) -> None:
        """Load the model; takes seconds, and can be interrupted.

        ``template`` is a chat template in place of the model's own.

        Raises:
            SetupError: the engine is not installed, or can't load the file.
        """
        if not model_file.is_file():
            raise SetupError(f"There is no file {model_file}.", "Give the path of a GGUF file: --model-file FILE.gguf")
        require_engine()
        self._child = ChildProcess(str(_SERVER))
        wanted = {
            "model_file": str(model_file),
            "model_name": model_name,
            "window_tokens": window_tokens,
            "template": template,
        }
        try:
            started = _start(self._child, msgspec.json.encode(wanted))
        except BaseException:  # Ctrl-C while it loads, which nothing but the end of the process can stop
            self._child.process.kill()
            self.close()
            raise
        if started.error:
            raise SetupError(
                f"llama.cpp can't load {model_file}: {started.error}",
                "The file may be damaged, or no GGUF file; try another one.",
            )
        self.upstream = Upstream(
            name="llama.cpp (embedded)",
            base_url=f"{started.address}/v1",
            model=model_name,
            adapter=ADAPTERS["openai-chat"],
            profile=EMBEDDED,
            window_tokens=window_tokens,
            prices=FREE,
        )

    def close(self) -> None:
        """End the engine's process."""
        self._child.close()


def small_model_template() -> str:
    """Return the chat template with which the small model calls tools: its own has no place for them."""
    return resources.files(__package__).joinpath("smollm2.jinja").read_text("utf-8")


def require_engine() -> None:
    """Check that the engine is installed; raises SetupError if not."""
    if find_spec("xllamacpp") is None:
        raise SetupError(
            "The embedded engine is not installed.",
            f"Install it: {how_to_install('local')}",
        )


def _start(child: ChildProcess, wanted: bytes) -> _Started:
    """Return what the process answers, which it does once its model is loaded."""
    with child.stdout as answers:
        with suppress(BrokenPipeError):  # it has ended already
            child.stdin.write(wanted + b"\n")
        line = answers.readline()
    if not line:
        return _Started(error=f"it ended with code {child.process.wait()}")
    return msgspec.json.decode(line, type=_Started)
