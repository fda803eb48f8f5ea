"""The embedded engine's own process: loads a model into llama.cpp, and serves it until its standard input ends.

A script that imports nothing of the bridge. It reads one line of JSON, and writes one: where it listens, or why not.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Mapping
from typing import Any

BATCH_TOKENS = 128
"""How much of a prompt is read in one step. Only between steps does the engine see that a client has left: with its
own 2,048 tokens it read on for 11 s, with these it is free within one, and reads as fast (on a CPU)."""


def main() -> None:
    """Serve the model that the first line of the standard input describes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the bridge, which ends this process when it is done
    answers, sys.stdout = sys.stdout, sys.stderr
    wanted = json.loads(sys.stdin.readline())
    try:
        server = _load(wanted)
    except (ImportError, RuntimeError, ValueError) as error:
        print(json.dumps({"error": str(error) or type(error).__name__}), file=answers, flush=True)
        os._exit(1)
    try:
        print(json.dumps({"address": server.listening_address}), file=answers, flush=True)
        sys.stdin.read()
    finally:  # also after an error, if the bridge was killed while this loaded
        os._exit(0)  # the engine's own shutdown joins a thread that may never end


def _load(wanted: Mapping[str, Any]) -> Any:  # noqa: ANN401 - xllamacpp has no types
    import xllamacpp

    parameters = xllamacpp.CommonParams()
    parameters.model.path = wanted["model_file"]
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = 0
    parameters.n_ctx = wanted["window_tokens"]
    parameters.n_parallel = 1
    parameters.n_batch = BATCH_TOKENS
    parameters.model_alias = {wanted["model_name"]}
    parameters.use_jinja = True
    parameters.enable_chat_template = True
    parameters.cache_prompt = True
    parameters.endpoint_props = True
    parameters.verbosity = -1
    # llama.cpp's threads wait for each other at every step: where one shares its core with another program, all are
    # slow (measured on 2 busy cores: 2 threads write 4 tokens/s, 1 writes 46).
    threads = max(1, (os.cpu_count() or 1) - 1)
    parameters.cpuparams.n_threads = threads
    parameters.cpuparams_batch.n_threads = threads
    if wanted["template"] is not None:
        parameters.chat_template = wanted["template"]
        parameters.sampling.temp = 0.0  # a model this small only calls tools reliably when it does not guess
    return xllamacpp.Server(parameters)


if __name__ == "__main__":
    main()
