"""A golden case: a folder of tests/golden/KIND that holds one dialogue with an upstream of that kind.

``request.json`` is the client's request and ``upstream.*`` the engine's answer; ``upstream_request.json`` is what we
must send and ``client.*`` what we must answer. ``case.toml`` holds the rest:

=====================  =================================================================================
``about``              what the case proves
``profile``            a row of adapters/engine_profiles.toml; the usual one of the kind if there is none
``model``              the model's name, which may refine the profile
``window_tokens``      the engine's context window
``max_output_tokens``  the most tokens that the model answers with
``image_description``  what a model that sees images says of each of them
``settings``           what the user configured of requests to the model, by the fields of RequestSettings
``losses``             what of the request is lost, as ``path: reason``
``repairs``            what of the answer is repaired
=====================  =================================================================================

``pytest --update-golden`` rewrites what we produce: ``upstream_request.json``, ``client.*``, losses and repairs.
"""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest

GOLDEN = Path(__file__).parent / "golden"


class CaseFacts(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True, frozen=True):
    """What case.toml says."""

    about: str
    profile: str | None = None
    model: str | None = None
    window_tokens: int | None = None
    max_output_tokens: int | None = None
    image_description: str | None = None
    settings: dict[str, Any] = {}
    losses: list[str] = []
    repairs: list[str] = []

    def toml(self) -> str:
        return "".join(f"{key} = {_value(value)}\n" for key, value in msgspec.to_builtins(self).items())


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_value(item)}" for key, item in value.items()) + " }"
    if isinstance(value, list):
        return "[\n" + "".join(f"  {_value(item)},\n" for item in value) + "]"
    if isinstance(value, str) and "\n" in value:
        escaped = value.replace("\\", "\\\\").replace('"""', '\\"\\"\\"')
        return f'"""\n{escaped}"""'
    return json.dumps(value, ensure_ascii=False)


class GoldenCase:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.facts = msgspec.convert(tomllib.loads((folder / "case.toml").read_text("utf-8")), CaseFacts)

    @property
    def kind(self) -> str:
        return self.folder.parent.name

    @property
    def request(self) -> bytes:
        return (self.folder / "request.json").read_bytes()

    @property
    def upstream(self) -> Path:
        (answer,) = self.folder.glob("upstream.*")
        return answer

    def assert_recorded(self, request: pytest.FixtureRequest, **found: list[str]) -> None:
        """Assert that case.toml has these losses or repairs; with ``--update-golden``, write them there."""
        if request.config.getoption("--update-golden"):
            self.facts = msgspec.structs.replace(self.facts, **found)
            (self.folder / "case.toml").write_text(self.facts.toml(), encoding="utf-8")
        for name, lines in found.items():
            assert getattr(self.facts, name) == lines


def cases(*kinds: str) -> list[GoldenCase]:
    """Return the cases of these kinds, in the order of their names."""
    return [GoldenCase(file.parent) for kind in sorted(kinds) for file in sorted((GOLDEN / kind).glob("*/case.toml"))]
