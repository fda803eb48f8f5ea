"""Adaptation of requests that are passed on as they came: what an engine refuses is left out of them, at any depth.

Claude Code sends new fields with each release, and engines of the Messages API check what they get: one field that a
gateway does not know costs every request of a session (litellm#23825, claude-code#31033, claude-code#41966).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

from msgspec.structs import replace

from claude_bridge.adapters.adaptation import Adaptation, PassthroughRow, Refused, concessions, find_refused, mention
from claude_bridge.adapters.base import EngineModel
from claude_bridge.errors import BridgeError
from claude_bridge.wire.anthropic import CountTokensRequest
from claude_bridge.wire.anthropic_codec import KNOWN_BLOCK_TYPES
from claude_bridge.wire.lenient_json import parse_object

_DOTTED = re.compile(r"\b[A-Za-z_]\w*+(?:(?:\.|\[)[\w-]+\]?){1,12}")
_LOCATION = re.compile(r'"(?:loc|path)":\s?\[((?:"[^"]{0,80}"|[\d,\s]){1,60})\]')
"""How pydantic and zod give the path of what is wrong."""

_CLOSED = frozenset({"input_schema", "input", "source"})
"""Members whose content is the client's own: nothing in it is a field of the API."""

_KEPT_BLOCKS = frozenset({"text", "tool_use", "tool_result"})
_NOT_A_TYPE = re.compile(r"tag|variant|discriminator|content.?block|block type|literal_error", re.IGNORECASE)
_EXPECTED = re.compile(r"expected|should be|must be|one of", re.IGNORECASE)

_MAX_CHAINS = 20
"""Of an engine's paths, so many are looked for; each is a look at the whole body."""
_MAX_DEPTH = 12

_Node = tuple[tuple[str, ...], dict[str, Any]]
"""The path of an object in the body, and the object; ``*`` stands for any item of a list."""


def adapt_passthrough(
    engine: EngineModel, error: BridgeError, request: CountTokensRequest, body: bytes
) -> Adaptation | None:
    """Return how to send the request again after ``body``, the client's own, was refused; None: not at all."""
    refused = find_refused(engine, error, request, body)
    if refused is None:
        return None
    nodes = _nodes(parse_object(body))
    chains = list(islice(_chains(refused), _MAX_CHAINS))
    for adaptation in (
        _without_blocks(refused, nodes, chains),
        refused.by_limit(),
        _by_path(refused, nodes, chains),
        refused.by_schema(),
    ):
        if adaptation is not None:
            return adaptation
    rows = (row for row in concessions().passthrough if row.words.search(refused.words))
    by_words = (_by_words(refused, row) for row in rows)
    return next(filter(None, by_words), None) or _by_name(refused, nodes, chains)


def _nodes(document: dict[str, Any]) -> list[_Node]:
    """Return the objects of a body, itself first."""
    nodes: list[_Node] = []
    rest: list[tuple[tuple[str, ...], Any]] = [((), document)]
    while rest:
        path, value = rest.pop()
        if isinstance(value, dict):
            nodes.append((path, value))
        if len(path) == _MAX_DEPTH:
            continue
        inside = value.items() if isinstance(value, dict) else (("*", item) for item in value)
        rest += [
            ((*path, name), inner) for name, inner in inside if isinstance(inner, dict | list) and name not in _CLOSED
        ]
    return nodes


def _chains(refused: Refused) -> Iterator[list[str]]:
    """Yield the paths that an engine named, as names and numbers; they may contain tags of unions."""
    words = refused.words
    named = dict.fromkeys([refused.report.field or "", *(found[0] for found in _DOTTED.finditer(words))])
    yield from (re.split(r"[.\[\]]+", path.strip("]")) for path in named if path)
    yield from (re.findall(r"[\w-]+", found[1]) for found in _LOCATION.finditer(words))


def _resolved(value: Any, chain: Sequence[str]) -> tuple[list[str], Any]:  # noqa: ANN401 - any JSON
    """Return the names of a chain that exist below a value, and the object that holds the last one."""
    names: list[str] = []
    holder = value
    for name in chain:
        if isinstance(value, list) and name.isdecimal() and len(name) < 7 and int(name) < len(value):
            value = value[int(name)]
            names.append("*")
        elif isinstance(value, dict) and name in value:
            holder, value = value, value[name]
            names.append(name)
    return names, holder


def _by_path(refused: Refused, nodes: Sequence[_Node], chains: Sequence[Sequence[str]]) -> Adaptation | None:
    """Return the engine without the fields that it named by their paths."""
    if not refused.reports("unsupported"):
        return None
    for chain in chains:
        paths = {
            (*path, *names)
            for path, node in nodes
            if (not path or chain[0] in node) and (names := _resolved(node, chain)[0]) and names[-1] == chain[-1]
        }
        if (adaptation := _without(refused, paths)) is not None:
            return adaptation
    return None


def _by_name(refused: Refused, nodes: Sequence[_Node], chains: Sequence[Sequence[str]]) -> Adaptation | None:
    """Return the engine without the first field that it named without a path, wherever that stands."""
    if not refused.reports("unsupported"):
        return None
    in_paths = {name for chain in chains if len(chain) > 1 for name in chain}
    places: dict[str, set[tuple[str, ...]]] = {}
    for path, node in nodes:
        for name in node:
            places.setdefault(name, set()).add((*path, name))
    reported = set(re.findall(r"\w+", refused.words.lower()))
    candidates = (name for name in places.keys() - in_paths if reported.issuperset(re.findall(r"\w+", name.lower())))
    mentioned = sorted((at, name) for name in candidates if (at := mention(refused.words, name)) is not None)
    adaptations = (_without(refused, places[name]) for _, name in mentioned)
    return next(filter(None, adaptations), None)


def _without(refused: Refused, paths: set[tuple[str, ...]]) -> Adaptation | None:
    needed = {"*", *concessions().needed_fields, *concessions().needed_inside}
    thinking_text = ("messages", "thinking")
    usable = {
        ".".join(path)
        for path in paths
        if path[-1] not in needed and (path[0], path[-1]) != thinking_text and _CLOSED.isdisjoint(path)
    }
    engine = refused.engine
    omitted = engine.omitted_fields | usable
    if omitted == engine.omitted_fields:
        return None
    what = ", ".join(sorted(usable - engine.omitted_fields))
    return Adaptation(engine=replace(engine, omitted_fields=omitted), reason=f"{what} was refused; left out")


def _without_blocks(refused: Refused, nodes: Sequence[_Node], chains: Sequence[Sequence[str]]) -> Adaptation | None:
    """Return the engine with text in place of blocks of a type that it does not know."""
    if not _NOT_A_TYPE.search(refused.words):
        return None
    blocks = [node for path, node in nodes if path[:1] == ("messages",) and path[-1] == "*" and len(path) > 2]
    present = {kind for block in blocks if isinstance(kind := block.get("type"), str)} - _KEPT_BLOCKS
    body = nodes[0][1] if nodes else {}
    at_path = [holder for chain in chains for names, holder in [_resolved(body, chain)] if names[:1] == ["messages"]]
    kinds = [block.get("type") for block in at_path if isinstance(block, dict)]
    before_expected = _EXPECTED.split(_LOCATION.sub("", refused.words), maxsplit=1)[0]
    kinds += re.findall(r"['\"`](\w{1,64})['\"`]", before_expected)
    kind = next((kind for kind in kinds if kind in present), None)
    return None if kind is None else _dropping(refused, [kind], f"blocks of type {kind} were refused; sent as text")


def _dropping(refused: Refused, kinds: Sequence[str], reason: str) -> Adaptation | None:
    profile = refused.engine.profile
    known = profile.messages.block_types or tuple(sorted(KNOWN_BLOCK_TYPES))
    profile = profile.with_changes({"block_types": tuple(kind for kind in known if kind not in kinds)})
    return _if_new(refused.engine, replace(refused.engine, profile=profile), reason)


def _by_words(refused: Refused, row: PassthroughRow) -> Adaptation | None:
    engine = refused.engine
    if row.drops_blocks:
        return _dropping(refused, row.drops_blocks, row.reason)
    omitted = engine.omitted_fields.union(row.omits)
    changes: dict[str, Any] = dict(row.set)
    if row.refuses_betas:
        named = re.findall(r"[a-z][a-z0-9-]+-20\d\d-\d\d-\d\d", refused.words)
        known = engine.profile.messages.refused_betas
        new = [beta for beta in dict.fromkeys(named) if beta not in known]
        changes["refused_betas"] = (*known, *new) if new else ("*",)
    adapted = replace(engine, profile=engine.profile.with_changes(changes), omitted_fields=omitted)
    return _if_new(engine, adapted, row.reason)


def _if_new(engine: EngineModel, adapted: EngineModel, reason: str) -> Adaptation | None:
    return None if adapted == engine else Adaptation(engine=adapted, reason=reason)
