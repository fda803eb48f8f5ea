"""The process of the embedded engine, with a library that loads nothing and never ends."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from claude_bridge.upstream.embedded import server
from tests.cli.process import LIMIT_S, environment

LIBRARY = """
import threading
from types import SimpleNamespace

class CommonParams:
    model = cpuparams = cpuparams_batch = SimpleNamespace()

class Server:
    listening_address = "http://127.0.0.1:1"

    def __init__(self, parameters):
        threading.Thread(target=threading.Event().wait).start()
"""
WANTED = {"model_file": "m.gguf", "model_name": "m", "window_tokens": 1024, "template": None}


def test_the_engine_ends_with_a_bridge_that_was_killed_while_the_model_loaded(tmp_path: Path) -> None:
    (tmp_path / "xllamacpp.py").write_text(LIBRARY)
    pipe = subprocess.PIPE
    variables = environment({"PYTHONPATH": str(tmp_path)})
    with subprocess.Popen([sys.executable, server.__file__], stdin=pipe, stdout=pipe, env=variables) as process:
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdout.close()
            process.stdin.write(json.dumps(WANTED).encode() + b"\n")
            process.stdin.close()
            process.wait(LIMIT_S)
        finally:
            process.kill()
