"""What an engine answered to each question, or why it did not: the values that the checks judge."""

from __future__ import annotations

import socket
import ssl
from enum import Enum, auto

from msgspec import Struct

from claude_bridge.errors import UpstreamBrokenError, UpstreamError


class Trouble(Enum):
    """Why there was no answer."""

    REFUSED = auto()
    UNKNOWN_HOST = auto()
    CERTIFICATE = auto()
    TLS = auto()
    TIMEOUT = auto()
    NO_HTTP = auto()
    OTHER = auto()


class Answer(Struct, frozen=True, kw_only=True):
    """One answer. ``status`` None: there was none, for the reason in ``trouble`` and ``words``."""

    url: str
    status: int | None = None
    content_type: str = ""
    location: str = ""
    body: bytes = b""
    trouble: Trouble | None = None
    words: str = ""

    @property
    def is_page(self) -> bool:
        """Whether it is a web page."""
        return "html" in self.content_type or b"<html" in self.body[:2000].lower()

    @property
    def good_body(self) -> bytes | None:
        """The body, if all went well."""
        return self.body if self.status == 200 else None


class EngineAnswers(Struct, frozen=True, kw_only=True):
    """All that was asked. None: not asked, because another answer made it pointless."""

    root: str
    """The address without the paths of APIs."""
    version: Answer
    """GET /api/version: an Ollama's."""
    models: tuple[Answer, ...]
    """GET …/models, under each base URL that may be meant, the likeliest first."""
    props: Answer | None = None
    """GET /props: llama.cpp's."""
    engine_version: Answer | None = None
    """GET /version: vLLM's."""
    studio_models: Answer | None = None
    """GET /api/v0/models: LM Studio's."""
    tags: Answer | None = None
    show: Answer | None = None
    ps: Answer | None = None
    status: Answer | None = None
    me: Answer | None = None
    """POST /api/me: whether an Ollama is signed in."""
    able: tuple[str, ...] = ()
    """Installed models of an Ollama that can call tools, where that was asked."""
    elsewhere: tuple[str, ...] = ()
    """What answers at the usual addresses, where nothing of use answers here: "Ollama at URL"."""


def trouble_of(error: UpstreamError) -> Trouble:
    """Return which kind of trouble the error tells of, by what the system said."""
    causes: list[BaseException] = [error]
    for cause in causes:  # grows while it is walked
        inner = (cause.__cause__, cause.__context__, *getattr(cause, "exceptions", ()))
        causes += [one for one in inner if one is not None and one not in causes]
    for kind, trouble in _BY_CAUSE:
        if any(isinstance(cause, kind) for cause in causes):
            return trouble
    return Trouble.OTHER


_BY_CAUSE: tuple[tuple[type[BaseException], Trouble], ...] = (
    (socket.gaierror, Trouble.UNKNOWN_HOST),
    (ssl.SSLCertVerificationError, Trouble.CERTIFICATE),
    (ssl.SSLError, Trouble.TLS),
    (ConnectionRefusedError, Trouble.REFUSED),
    (TimeoutError, Trouble.TIMEOUT),
    (UpstreamBrokenError, Trouble.NO_HTTP),
)
