"""An MCP server on standard input and output, whose tools are in a JSON file: ``python mcp_server.py TOOLS``.

Each tool answers with its own name and with what it was given.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any


def _result(asked: dict[str, Any], tools: list[dict[str, Any]]) -> dict[str, Any] | None:
    given = asked.get("params") or {}
    match asked["method"]:
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
        asked = json.loads(line)
        if "id" in asked:  # else it is a notification
            answer = {"jsonrpc": "2.0", "id": asked["id"], "result": _result(asked, tools)}
            sys.stdout.write(json.dumps(answer) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
