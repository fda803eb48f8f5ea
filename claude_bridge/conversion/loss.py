"""What a conversion could not carry as it was: losses of requests, repairs of answers."""

from __future__ import annotations

from msgspec import Struct

PRINTED_CALL = "a call that was printed as text"
"""The repair of a call that the engine took for text."""


class Loss(Struct, frozen=True):
    """Part of a request that the engine does not get.

    ``path`` is the JSON path in the client's request, such as ``$.top_k``; ``reason`` is for a person.
    """

    path: str
    reason: str


class Repair(Struct, frozen=True):
    """Something of a response that was changed on its way to the client.

    ``tool_name`` names the tool whose call it is; empty: it is of the response as a whole.
    """

    tool_name: str
    what: str
