"""llama.cpp with the small model, as a process that says where it listens: ``python local_engine.py [MODEL_FILE]``."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from claude_bridge.upstream.embedded.engine import SMALL_MODEL_WINDOW_TOKENS, EmbeddedEngine, small_model_template
from claude_bridge.upstream.embedded.model_file import SMOLLM2, fetch_model


def main() -> None:
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else fetch_model(SMOLLM2, lambda _done, _total: None)
    engine = EmbeddedEngine(
        path, model_name=SMOLLM2.name, window_tokens=SMALL_MODEL_WINDOW_TOKENS, template=small_model_template()
    )
    print(f"listening on {engine.upstream.base_url.removesuffix('/v1')}", flush=True)
    signal.sigwait({signal.SIGTERM, signal.SIGINT})


if __name__ == "__main__":
    main()
