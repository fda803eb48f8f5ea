"""What a ``$ref`` of a JSON Schema names, within its own document."""

from __future__ import annotations

from urllib.parse import unquote

from claude_bridge.conversion.tool_json.text import Json


def resolve_reference(document: Json, reference: str) -> Json:
    """Return the value that a JSON pointer such as ``#/$defs/node`` names, or None where it names nothing.

    References to other documents and to anchors name nothing here (RFC 6901, section 6).
    """
    if not reference.startswith("#") or (reference[1:2] not in ("", "/")):
        return None
    found = document
    for step in unquote(reference[1:]).split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        if isinstance(found, dict):
            found = found.get(name)
        elif isinstance(found, list) and name.isdecimal() and int(name) < len(found):
            found = found[int(name)]
        else:
            return None
    return found
