"""The exception tree: whose fault an error is, and what an Anthropic client sees of it.

BridgeError                      anything the bridge can explain
├── ClientError                  the client's request can't be served as it is
│   ├── InvalidRequestError      400  a wrong field; names its JSON path
│   ├── PromptTooLongError       400  in the words that make Claude Code compact
│   ├── UnknownThreadError       400  continues a conversation that the bridge has not kept
│   ├── AuthenticationError      401  no or wrong bridge token
│   ├── ForbiddenError           403  a web page of another origin asks
│   ├── NotFoundError            404  unknown path or model
│   ├── MethodNotAllowedError    405
│   └── ProtocolError            408, 413, 414, 415, 417, 431, 501, 505: too slow, too large, or not supported
├── BudgetError                  402  the user's own budget is used up
├── OverloadedError              529  the bridge itself can take no more for now
├── StoppingError                503  the bridge is being stopped
├── UpstreamError                the engine, or the network to it
│   ├── UpstreamRefusedError     the engine answered with an error status
│   │   └── RelayedRefusalError       Anthropic's own refusal, passed on byte for byte
│   ├── UpstreamUnreachableError 502  no connection
│   ├── UpstreamBrokenError      502  an answer that ends early or makes no sense
│   │   ├── DroppedCallError          the engine dropped a malformed tool call, and nothing else came
│   │   └── UpstreamDroppedError      the connection closed before any answer
│   ├── UpstreamLoadingError     503  the engine is still loading its model
│   ├── UpstreamTimeoutError     504  silent for too long
│   └── UpstreamOverloadedError  529  its queue is full
└── SetupError                   the user's command line or machine; carries the next step
    ├── UsageError               the command line lacks something
    └── SeveralModelsError       no model was named, and there are several

Any other exception is a bug of ours.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple


class UpstreamReport(NamedTuple):
    """What an upstream itself reported in an error."""

    words: str
    field: str | None = None
    """The field of the request that it named as the wrong one."""
    prompt_tokens: int | None = None
    """How long the prompt is, where it is reported beside the window."""
    window_tokens: int | None = None


class BridgeError(Exception):
    """An error that the bridge can explain to a client.

    ``status`` is the HTTP status, ``error_type`` Anthropic's error type, ``should_retry`` what the header
    ``x-should-retry`` says (None: the client decides by the status), ``retry_after_s`` the seconds to wait first (None:
    not known).
    """

    status = 500
    error_type = "api_error"
    should_retry: bool | None = None
    error_code: str | None = None
    """The API's own code for the error, where it has one."""
    may_succeed_elsewhere = False
    """Whether another model or account may serve the request."""
    report: UpstreamReport | None = None
    """What the upstream reported; None: the error is the bridge's own."""

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after_s = retry_after_s


class ClientError(BridgeError):
    """The client's request can't be served as it is; retrying would not help."""

    status = 400
    error_type = "invalid_request_error"


class InvalidRequestError(ClientError):
    """A malformed body or a wrong field; the message names the JSON path."""


class UnknownThreadError(ClientError):
    """A request continues a conversation that Anthropic would have kept, and whose beginning the bridge lacks.

    The code makes clients such as Claude Code send all messages, now and in later requests.
    """

    status = 400
    error_code = "thread_unsupported_request"

    def __init__(self) -> None:
        super().__init__("The bridge keeps no conversations: send all messages of this one - at `$.thread`")


class PromptTooLongError(ClientError):
    """The prompt does not fit the context window.

    Claude Code compacts its conversation on exactly these words, and drops by the numbers what it need not keep.
    """

    def __init__(self, prompt_tokens: int | None, window_tokens: int | None) -> None:
        self.has_numbers = prompt_tokens is not None and window_tokens is not None
        if prompt_tokens is None or window_tokens is None:
            super().__init__("prompt is too long")
        else:
            super().__init__(f"prompt is too long: {prompt_tokens} tokens > {window_tokens} maximum")


class AuthenticationError(ClientError):
    """No or a wrong bridge token. The client retries a bare 401 for minutes, hence should_retry."""

    status = 401
    error_type = "authentication_error"
    should_retry = False


class ForbiddenError(ClientError):
    """The request comes from a web page of another origin, or names a foreign host."""

    status = 403
    error_type = "permission_error"
    should_retry = False


class NotFoundError(ClientError):
    """An unknown path or model."""

    status = 404
    error_type = "not_found_error"


class MethodNotAllowedError(ClientError):
    """A known path, requested with a method that it does not support."""

    status = 405

    def __init__(self, message: str, *, allowed: tuple[str, ...]) -> None:
        super().__init__(message)
        self.allowed = allowed


class ProtocolError(ClientError):
    """HTTP that this server does not support, or does not wait for; ``status`` says what."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.error_type = ERROR_TYPES.get(status, ClientError.error_type)


class OverloadedError(BridgeError):
    """The bridge itself can take no more for now: its queue is full, or its memory."""

    status = 529
    error_type = "overloaded_error"


class BudgetError(BridgeError):
    """The user's own budget is used up; ``is_of_provider``: that of one provider, and another one may serve."""

    status = 402
    error_type = "billing_error"
    should_retry = False

    def __init__(self, message: str, *, is_of_provider: bool) -> None:
        super().__init__(message)
        self.may_succeed_elsewhere = is_of_provider


class StoppingError(BridgeError):
    """The bridge is being stopped, and does not wait for the answer any more."""

    status = 503
    error_type = "overloaded_error"


class UpstreamError(BridgeError):
    """The engine, or the network to it, failed."""

    status = 502


ERROR_TYPES = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    502: "api_error",
    504: "timeout_error",
    529: "overloaded_error",
}
"""The types of Anthropic's API that go with one status alone; every other 4xx is an invalid_request_error."""


class UpstreamRefusedError(UpstreamError):
    """The engine answered with an error status; ``status`` and ``error_type`` are those that the client sees."""

    def __init__(
        self,
        message: str,
        *,
        status: int,
        error_type: str = "",
        should_retry: bool | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        """Without an ``error_type`` it is that of the status."""
        super().__init__(message, retry_after_s=retry_after_s)
        self.status = status
        self.error_type = error_type or ERROR_TYPES.get(status, "invalid_request_error")
        self.should_retry = should_retry


class RelayedRefusalError(UpstreamRefusedError):
    """Anthropic's own refusal, which the client gets byte for byte."""

    def __init__(
        self, message: str, *, status: int, error_type: str, body: bytes, content_type: str, headers: dict[str, str]
    ) -> None:
        super().__init__(message, status=status, error_type=error_type)
        self.body = body
        self.content_type = content_type
        self.headers = headers


class UpstreamUnreachableError(UpstreamError):
    """No connection to the engine: refused, unknown host, TLS failure."""

    should_retry = False


class UpstreamBrokenError(UpstreamError):
    """The engine's answer ended early or makes no sense."""


class DroppedCallError(UpstreamBrokenError):
    """The model's tool call was malformed, and the engine dropped it: another attempt may well succeed."""


class UpstreamDroppedError(UpstreamBrokenError):
    """The connection closed before the engine sent anything: the request may be sent again."""


class UpstreamLoadingError(UpstreamError):
    """The engine is still loading its model."""

    status = 503
    error_type = "overloaded_error"


class UpstreamTimeoutError(UpstreamError):
    """The engine was silent for longer than the deadline."""

    status = 504
    error_type = "timeout_error"


class UpstreamOverloadedError(UpstreamError):
    """The engine is overloaded (temporary)."""

    status = 529
    error_type = "overloaded_error"


class SetupError(Exception):
    """The user's command line or machine needs a change.

    ``what`` went wrong, in one sentence; ``hint`` is the next step, often a command to paste.
    """

    def __init__(self, what: str, hint: str) -> None:
        super().__init__(what)
        self.what = what
        self.hint = hint


class UsageError(SetupError):
    """The command line lacks something; it ends with exit code 2, as all wrong command lines do."""


class SeveralModelsError(SetupError):
    """No model was named, and the engine has several. ``engine`` says which it is and where."""

    def __init__(self, what: str, hint: str, *, engine: str, models: Sequence[str]) -> None:
        super().__init__(what, hint)
        self.engine = engine
        self.models = tuple(models)


@contextmanager
def disk_errors_as(what: str, hint: str) -> Iterator[None]:
    """Raise a file error as a SetupError with ``what`` failed, the system's reason, and what to do."""
    try:
        yield
    except OSError as error:
        raise SetupError(f"{what}: {error.strerror or error}.", hint) from error
