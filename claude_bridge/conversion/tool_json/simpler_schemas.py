"""Schemas that an engine refused, and the simpler dialect in which it gets them from then on.

llama.cpp and what is built on it make one grammar of all tools, and refuse the whole request without saying which of
them they can't take (llama.cpp#21943, lmstudio-bug-tracker#2236); other services name the first one only. So all that
can be written more simply is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from hashlib import sha256

import msgspec
from msgspec import Raw

from claude_bridge.conversion.profile import SchemaDialect
from claude_bridge.conversion.tool_json.schema_reduce import ReducedSchema, reduce_answer_schema, reduce_tool_schema
from claude_bridge.wire.anthropic import CountTokensRequest

_FROM_RICH_TO_POOR: tuple[SchemaDialect, ...] = ("json-schema", "grammar", "few-keywords", "openapi")

MAX_SIMPLER = 10_000
"""How many schemas are remembered, by digests of 32 bytes; an engine that refuses more gets the first ones again."""


def with_simpler_schemas(
    known: Mapping[bytes, SchemaDialect], request: CountTokensRequest, usual: SchemaDialect, simpler: SchemaDialect
) -> dict[bytes, SchemaDialect]:
    """Return the dialects of refused schemas, by digests, after the engine refused a request's.

    ``usual`` is the dialect in which it gets schemas that are not ``known``. What can't be written more simply is not
    added: the result equals ``known`` where nothing can.
    """
    dialects = dict(known)
    for schema, reduce in _schemas_of(request):
        document = bytes(schema)
        digest = schema_digest(document)
        present = dialects.get(digest, usual)
        if _FROM_RICH_TO_POOR.index(simpler) <= _FROM_RICH_TO_POOR.index(present):
            continue
        try:
            if reduce(document, simpler) != reduce(document, present):
                dialects[digest] = simpler
        except (msgspec.DecodeError, RecursionError):
            continue  # the request's own normalization says so
    for digest in list(dialects)[: max(0, len(dialects) - MAX_SIMPLER)]:
        del dialects[digest]
    return dialects


def schema_digest(schema: bytes) -> bytes:
    """Return what a refused schema is known by."""
    return sha256(schema).digest()


def _schemas_of(request: CountTokensRequest) -> list[tuple[Raw, Callable[[bytes, SchemaDialect], ReducedSchema]]]:
    schemas = [(tool.input_schema, reduce_tool_schema) for tool in request.tools or ()]
    if request.answer_format is not None:
        schemas.append((request.answer_format.schema, reduce_answer_schema))
    return [(schema, reduce) for schema, reduce in schemas if isinstance(schema, Raw)]
