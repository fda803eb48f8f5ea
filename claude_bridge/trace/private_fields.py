"""What in a client's request names its user's device, account or folders is left out of a trace."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Raw

from claude_bridge.trace.secrets import REDACTED

_MARKS = (b"safeguards", b"deviceid", b"device_id", b"accountuuid", b"account_uuid", b"_account_")
_PRIVATE_KEY = re.compile("device|account", re.IGNORECASE)
_OLD_USER_ID = re.compile(r"user_.*_account_.*?_?(session_.*)", re.DOTALL)
_BLOCK_BYTES = 64 * 1024


def without_private_fields(body: bytes) -> tuple[bytes, Mapping[str, Raw]]:
    """Return a request body without what names the user's device, account or folders, and the fields that it had."""
    try:
        given = dict(msgspec.json.decode(body, type=dict[str, Raw]))
    except (ValueError, RecursionError):
        return _without_private_fields_slowly(body), {}
    fields: dict[str, Any] = dict(given)
    changed = fields.pop("safeguards", None) is not None
    if "metadata" in fields:
        try:
            metadata = msgspec.json.decode(fields["metadata"])
        except (ValueError, RecursionError):
            metadata = None
        anonymous = _anonymous_metadata(metadata)
        if anonymous != metadata or metadata is None:
            fields["metadata"], changed = anonymous, True
    return msgspec.json.encode(fields) if changed else body, given


def _without_private_fields_slowly(body: bytes) -> bytes:
    """Do the same for what msgspec refuses: lone surrogates, which clients do send, and bodies that are no JSON."""
    marks = []
    for start in range(0, len(body), _BLOCK_BYTES):  # in steps, beside which other threads run
        lowered = body[start : start + _BLOCK_BYTES + 16].lower()
        marks += [start + at for at in map(lowered.find, _MARKS) if at >= 0]
    if not marks:
        return body
    try:
        fields = json.loads(body)
        if not isinstance(fields, dict):
            return body
        fields.pop("safeguards", None)
        if "metadata" in fields:
            fields["metadata"] = _anonymous_metadata(fields["metadata"])
        return json.dumps(fields).encode()
    except (ValueError, RecursionError):
        return body[: min(marks)] + REDACTED.encode()


def _anonymous_metadata(metadata: object) -> object:
    if not isinstance(metadata, dict) or not isinstance(metadata.get("user_id"), str):
        return metadata
    return metadata | {"user_id": _anonymous_user_id(metadata["user_id"])}


def _anonymous_user_id(user_id: str) -> str:
    """Return what of a user id names neither device nor account: the session.

    Claude Code sends a JSON text with device_id, account_uuid and session_id; before version 2 it was
    ``user_DEVICE_account_UUID_session_UUID``.
    """
    try:
        parts = json.loads(user_id)
    except (ValueError, RecursionError):
        parts = None
    if isinstance(parts, dict):
        kept = {key: part for key, part in parts.items() if not _PRIVATE_KEY.search(key)}
        return json.dumps(kept, separators=(",", ":"))
    old = _OLD_USER_ID.fullmatch(user_id)
    return old[1] if old else user_id
