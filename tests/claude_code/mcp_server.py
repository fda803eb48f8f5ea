"""An MCP server on standard input and output, whose tools are in a JSON file: ``python mcp_server.py TOOLS``.

Each tool answers with its own name and with what it was given.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any


def _result(requested: dict[str, Any], tools: list[dict[str, Any]]) -> dict[str, Any] | None:
    given = requested.get("params") or {}
    match requested["method"]:
        case "initialize":
            version = given["protocolVersion"]
            return {
                "protocolVersion": version,
                "capabilities": {"tools": {}},
                "serverInfo": {"name": "odd", "version": "1"},
            }
        case "tools/list":
            return {"tools": tools}
        case "tools/call":
            text = f"{given['name']} was given {json.dumps(given.get('arguments') or {})}"
            return {"content": [{"type": "text", "text": text}]}
        case _:
            return {}


def main() -> None:
    tools = json.loads(Path(sys.argv[1]).read_bytes())
    for line in sys.stdin:
        requested = json.loads(line)
        if "id" in requested:  # else it is a notification
            answer = {"jsonrpc": "2.0", "id": requested["id"], "result": _result(requested, tools)}
            sys.stdout.write(json.dumps(answer) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
