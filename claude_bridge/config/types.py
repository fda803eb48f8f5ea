"""Values that are more than text: how each is written and shown, and what is wrong with a bad one."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

from msgspec import Struct
from msgspec.structs import asdict

from claude_bridge.providers import is_address, secret_in
from claude_bridge.request_settings import CONVERSATION_FIELDS, TRANSPORT_HEADERS
from claude_bridge.routing import Target

COMMAND_TIMEOUT_S = 30.0

HIDDEN = "(hidden)"
"""What is shown in place of a key."""


class WrittenText(str):
    """Text of a certain form, which ``WANTED`` describes, as in "must be WANTED"."""

    __slots__ = ()
    WANTED: ClassVar[str]

    @classmethod
    def parse(cls, given: str) -> Self:
        """Return the value; raises ValueError with what is wrong, or without words if WANTED is enough."""
        raise NotImplementedError


class ModelName(WrittenText):
    """A model and its provider; without a model it is the only one that the provider has."""

    __slots__ = ()
    WANTED = 'PROVIDER/MODEL, such as "ollama/qwen3:1.7b", or PROVIDER'

    @property
    def provider(self) -> str:
        """The part before the first slash."""
        return self.partition("/")[0]

    @property
    def model(self) -> str:
        """The part after the first slash, or nothing."""
        return self.partition("/")[2]

    @property
    def target(self) -> Target:
        """The model as the routing knows it."""
        return Target(self.provider, self.model)

    @classmethod
    def parse(cls, given: str) -> Self:
        """Return the name; whether there is such a provider is another question."""
        name = cls(given)
        if not name.provider or name != given.strip() or (not name.model and "/" in name):
            raise ValueError
        return name


class Address(WrittenText):
    """Where an engine is."""

    __slots__ = ()
    WANTED = 'an address, such as "http://localhost:11434"'

    @classmethod
    def parse(cls, given: str) -> Self:
        """Return the address; raises ValueError for an invalid one, and for one that contains a password or a key."""
        secret = secret_in(given)
        if secret is not None:
            raise ValueError(f"contains {secret}")
        if not is_address(given):
            raise ValueError
        return cls(given.strip())


class SearchChoice(WrittenText):
    """Who searches the web for models; behind ``searxng:`` stands its address.

    "auto" is the service that has the model, where that can search.
    """

    __slots__ = ()
    WANTED = "auto, off, duckduckgo, searxng:URL, brave, tavily, exa or ollama"

    @property
    def service(self) -> str:
        """The name of the service."""
        return self.partition(":")[0]

    @property
    def address(self) -> str:
        """The address of a SearXNG; nothing for other services."""
        return self.partition(":")[2]

    @classmethod
    def parse(cls, given: str) -> Self:
        """Return the choice; raises ValueError for one that names no service, or a SearXNG without its address."""
        choice = cls(given.strip())
        names = [name.strip() for name in cls.WANTED.replace(" or ", ", ").split(",")]
        if choice.service == "searxng":
            if secret := secret_in(choice.address):
                raise ValueError(f"contains {secret}")
            if not is_address(choice.address):
                raise ValueError
        elif choice not in names:
            raise ValueError
        return choice


_SECRET_NAME = re.compile(r"key|token|secret|auth|cookie|password|credential", re.IGNORECASE)


class Secret:
    """A key, or where it is: ``env:NAME``, ``file:PATH`` or ``command:PROGRAM ARGUMENTS``.

    It is read when it is needed, and never shown.
    """

    __slots__ = ("_given", "_kind")
    WANTED = '"env:NAME", "file:PATH", "command:PROGRAM ARGUMENTS", or the key itself'

    def __init__(self, given: str) -> None:
        kind, colon, rest = given.partition(":")
        self._kind = kind if colon and kind in ("env", "file", "command") else ""
        self._given = rest if self._kind else given

    def __repr__(self) -> str:
        return f"Secret({self.shown!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and (self._kind, self._given) == (other._kind, other._given)

    def __hash__(self) -> int:
        return hash((self._kind, self._given))

    @property
    def is_literal(self) -> bool:
        """Whether the key itself was given."""
        return not self._kind

    @property
    def can_change(self) -> bool:
        """Whether another value may be read later."""
        return self._kind == "command"

    @property
    def variable(self) -> str | None:
        """The environment variable that holds the key; None: it is elsewhere."""
        return self._given if self._kind == "env" else None

    @property
    def shown(self) -> str:
        """What may be shown: where the key is, not the key."""
        return f"{self._kind}:{self._given}" if self._kind else HIDDEN

    def shown_unless_secret(self, name: str) -> str:
        """Return what may be shown of the value of something of this name."""
        return self._given if self.is_literal and not _SECRET_NAME.search(name) else self.shown

    @classmethod
    def parse(cls, given: str) -> Self:
        """Return the secret; raises ValueError where nothing is named."""
        secret = cls(given.strip())
        if not secret._given:
            raise ValueError
        return secret

    def read(self, environment: Mapping[str, str], folder: Path) -> str:
        """Return the key. A path is meant from ``folder``, and ``~`` in it is the user's home.

        Raises:
            ValueError: it can't be had; the words are the end of a sentence that begins with the setting's name.
        """
        match self._kind:
            case "env":
                key, problem = environment.get(self._given, "").strip(), "that variable is not set"
            case "file":
                try:
                    key = (folder / Path(self._given).expanduser()).read_text("utf-8-sig").strip()
                    problem = "that file is empty"
                except (OSError, UnicodeDecodeError) as error:
                    reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
                    key, problem = "", f"that file can't be read: {reason}"
            case "command":
                key, problem = _output_of(self._given, environment, folder)
            case _:
                return self._given
        if not key:
            raise ValueError(f"is {self.shown}, and {problem}")
        return key


def _output_of(command: str, environment: Mapping[str, str], folder: Path) -> tuple[str, str]:
    """Return what a command prints, or why there is nothing. No shell reads it, and nothing it prints is shown."""
    try:
        words = shlex.split(command, posix=os.name == "posix")
        done = subprocess.run(  # noqa: S603 - the user's own configuration names it
            words,
            check=False,
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=COMMAND_TIMEOUT_S,
        )
    except ValueError as error:
        return "", f"that is not a command: {error}"
    except OSError as error:
        return "", f"that command can't be run: {error.strerror}"
    except subprocess.TimeoutExpired:
        return "", f"that command did not end within {COMMAND_TIMEOUT_S:.0f} s"
    key = done.stdout.decode("utf-8", "replace").strip()
    if done.returncode:
        return "", f"that command failed with exit code {done.returncode}"
    if not (key.isascii() and key.isprintable()):
        return "", "that command printed more than a key"
    return key, "that command printed nothing"


def seconds_of(duration: str) -> float:
    """Return the seconds of a duration such as ``1h30m``."""
    units = {"h": 3_600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
    return sum(float(number) * units[unit] for number, unit in re.findall(r"([0-9.]+)([a-z]+)", duration))


class ApiKeys(tuple[Secret, ...]):
    """One key, or several of which one is used at a time."""

    __slots__ = ()
    WANTED = f"{Secret.WANTED}; or a list of these"

    @property
    def shown(self) -> str | list[str]:
        """What may be shown."""
        return self[0].shown if len(self) == 1 else [secret.shown for secret in self]

    @classmethod
    def parse(cls, given: object) -> Self:
        """Return the keys; raises ValueError where there is none, or something else."""
        texts = given if isinstance(given, list) else [given]
        if not texts or not all(isinstance(text, str) for text in texts):
            raise ValueError
        return cls(map(Secret.parse, texts))


class Headers(dict[str, Secret]):
    """Headers of requests to a provider, by their names in lower case."""

    WANTED = 'a table of texts, such as { "x-team" = "search", "x-gateway-key" = "env:GATEWAY_KEY" }'

    @property
    def shown(self) -> dict[str, str]:
        """What may be shown: a value that was written down only where its name does not look like a key's."""
        return {name: value.shown_unless_secret(name) for name, value in self.items()}

    @classmethod
    def parse(cls, given: object) -> Self:
        """Return the headers; raises ValueError for one that decides how requests are sent."""
        if not isinstance(given, dict) or not all(isinstance(value, str) for value in given.values()):
            raise ValueError
        for name in given:
            if name.lower() in TRANSPORT_HEADERS:
                raise ValueError(f"contains {name!r}, which decides how requests are sent and can't be set")
            if not re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", name):
                raise ValueError(f"contains {name!r}, which is not a valid name for a header")
        return cls({name.lower(): Secret.parse(value) for name, value in given.items()})


class BodyFields(dict[str, Any]):
    """Fields in the body of requests to a provider."""

    WANTED = "a table, such as { min_p = 0.05 }"

    @classmethod
    def parse(cls, given: object) -> Self:
        """Return the fields; raises ValueError for one that carries the conversation."""
        if not isinstance(given, dict):
            raise ValueError
        for name in given:
            if name in CONVERSATION_FIELDS:
                raise ValueError(f"contains {name!r}, which carries the conversation and can't be set")
        return cls(given)


def plain(value: Any) -> Any:  # noqa: ANN401 - whatever a setting holds
    """Return a value as programs read it: without what is not set, and with keys hidden."""
    if isinstance(value, Secret | ApiKeys | Headers):
        return value.shown
    if isinstance(value, WrittenText):
        return str(value)
    if isinstance(value, tuple):
        return [plain(one) for one in value]
    if isinstance(value, Struct):
        return {name: plain(one) for name, one in asdict(value).items() if one not in (None, ())}
    return value


def shown(value: Any) -> str:  # noqa: ANN401 - whatever TOML holds
    """Return a plain value as it is written in TOML."""
    if value is None or value == HIDDEN:
        return value or "-"
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{name} = {shown(one)}" for name, one in value.items()) + " }"
    return json.dumps(value, default=str, ensure_ascii=False)
