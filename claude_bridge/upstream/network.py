"""What goes wrong on the way to a host, in words; and which certificate authorities are trusted."""

from __future__ import annotations

import errno
import os
import socket
import ssl
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path

from anyio import to_thread

from claude_bridge.errors import SetupError
from claude_bridge.version import __version__

CONNECT_TIMEOUT_S = 10.0
"""For all that comes before the request: name, connection, proxy, TLS."""

USER_AGENT = f"claude-bridge/{__version__}"

_EXTRA_AUTHORITIES_VARIABLES = ("SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS")
"""Files with authorities to trust beside the system's: OpenSSL's own variable, and the one that Claude Code reads."""


class NetworkError(Exception):
    """A host gave no answer, or no whole one. ``reason`` ends a sentence that begins with its name."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class NoConnectionError(NetworkError):
    """There is no connection to a host, and nothing was sent."""

    def __init__(self, reason: str, *, is_overload: bool = False) -> None:
        super().__init__(reason)
        self.is_overload = is_overload
        """Whether it is this process that has no room for another connection at the moment."""


def no_connection(error: BaseException) -> NoConnectionError:
    """Return what an error means that came before there was a connection."""
    causes = list(causes_of(error))
    if any(isinstance(cause, OSError) and cause.errno in (errno.EMFILE, errno.ENFILE) for cause in causes):
        return NoConnectionError(
            "can't be connected to: the bridge has no file descriptor left. Raise the limit (ulimit -n), or lower "
            "the number of requests at a time.",
            is_overload=True,
        )
    if any(isinstance(cause, socket.gaierror) for cause in causes):
        return NoConnectionError("can't be found: the host name is unknown.")
    if any(isinstance(cause, ConnectionRefusedError) for cause in causes):
        return NoConnectionError("refused the connection. Is it running?")
    return NoConnectionError(f"can't be reached: {error}")


def no_tls(error: BaseException) -> NoConnectionError:
    """Return what an error means that came in a TLS handshake."""
    failures = [cause for cause in causes_of(error) if isinstance(cause, ssl.SSLError)]
    for failure in failures:
        if isinstance(failure, ssl.SSLCertVerificationError):
            return NoConnectionError(
                f"has a certificate that can't be verified ({failure.verify_message}). If you trust it: "
                "--ca-file FILE, with the certificate of its authority."
            )
    what = (failures[0].reason or "handshake failed") if failures else "it closed the connection"
    return NoConnectionError(f"does not speak TLS ({what}). Is it http:// or https://?")


def causes_of(error: BaseException) -> Iterator[BaseException]:
    """Yield the error and all that it comes from: libraries wrap what the system reported, each in its own way."""
    found = [error]
    for cause in found:  # grows while it is walked
        yield cause
        inner = (cause.__cause__, cause.__context__, *getattr(cause, "exceptions", ()))
        found += [deeper for deeper in inner if deeper is not None and deeper not in found]


_trusted_files: list[Path] = []


def trust(ca_file: Path) -> None:
    """Trust the authorities in a PEM file too, in all connections of this process from now on.

    Raises:
        SetupError: the file can't be read, or holds no certificate.
    """
    try:
        ssl.create_default_context().load_verify_locations(cafile=ca_file)
    except OSError as error:
        why = error.reason.replace("_", " ").lower() if isinstance(error, ssl.SSLError) else error.strerror
        raise SetupError(
            f"The certificates in {ca_file} can't be used: {why}.", "The file must hold certificates in PEM form."
        ) from error
    if ca_file not in _trusted_files:
        _trusted_files.append(ca_file)
    _authorities.cache_clear()


async def authorities() -> ssl.SSLContext:
    """Return the TLS settings that verify a host against the system's authorities, and those of ``trust``."""
    return await to_thread.run_sync(_authorities)  # reads them from disk: 20 ms


@cache
def _authorities() -> ssl.SSLContext:
    import truststore

    context = truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for trusted in _trusted_files:
        context.load_verify_locations(cafile=trusted)
    for file in filter(None, map(os.environ.get, _EXTRA_AUTHORITIES_VARIABLES)):
        with suppress(OSError, ssl.SSLError):  # OpenSSL and Node.js pass over files that they can't use, too
            context.load_verify_locations(cafile=file)
    return context
