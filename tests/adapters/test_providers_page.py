"""docs/reference/providers.md has the rows of the code, word for word; ``pytest --update-golden`` rewrites them."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from msgspec import Struct
from msgspec.structs import fields

from claude_bridge.adapters import engine_profiles
from claude_bridge.adapters.engine_profiles import FAMILIES
from claude_bridge.conversion import profile
from claude_bridge.conversion.profile import (
    PARTS,
    ChatProfile,
    MessagesProfile,
    OllamaProfile,
    Profile,
    ResponsesProfile,
)
from claude_bridge.providers import PROVIDERS

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "providers.md"
ENGINES = list(engine_profiles.PROFILES.values())
NOT_FACTS = ("name", "evidence", *PARTS)
READERS: dict[type[Struct], str] = {
    Profile: "any",
    ChatProfile: "`openai-chat`, `openai-responses`",
    ResponsesProfile: "`openai-responses`",
    OllamaProfile: "`ollama-chat`",
    MessagesProfile: "`anthropic-messages`",
}
"""Which upstream kind reads the facts of a profile, and of each of its parts."""


def _table(heads: str, rows: Iterable[tuple[str, ...]]) -> str:
    lines = [heads, re.sub(r"[^|]+", "---", heads)]
    cells = ([cell.replace("|", "\\|") for cell in row] for row in rows)
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in cells)])


def _facts(values: Mapping[str, Any]) -> str:
    reported = (f"`{field}` {_value(value)}" for field, value in values.items() if field not in NOT_FACTS)
    return ", ".join(reported) or "the defaults"


def _value(value: Any) -> str:
    match value:
        case True | False:
            return "yes" if value else "no"
        case None | ():
            return "none"
        case tuple():
            return " ".join(
                f"`{'…'.join(tag.strip() for tag in part)}`" if isinstance(part, tuple) else part for part in value
            )
        case str() if not value.strip():
            return "a space"
        case _:
            return str(value)


def _changed(row: Struct) -> dict[str, Any]:
    """Return the facts in which a row differs from the defaults, those of its parts among them."""
    changed: dict[str, Any] = {}
    for field in fields(row):
        value = getattr(row, field.name)
        if field.name in PARTS:
            changed |= _changed(value)
        elif value != field.default:
            changed[field.name] = value
    return changed


def _providers() -> str:
    rows = (
        (
            f"`{row.name}`",
            row.display_name,
            f"`{row.kind}`",
            row.base_url,
            f"`{row.key_variable}`" if row.needs_key else f"`{row.key_variable}`, if it asks for one",
        )
        for row in PROVIDERS.values()
    )
    return _table("| PROVIDER | Is | API | Where | Key |", rows)


def _engines() -> str:
    rows = ((row.name, _facts(_changed(row)), row.evidence) for row in ENGINES)
    return _table("| Engine | Differs in | Evidence |", rows)


def _families() -> str:
    rows = ((row.name, ", ".join(row.engines) or "all", _facts(row.changes), row.evidence) for row in FAMILIES)
    return _table("| Models | At | Differ in | Evidence |", rows)


def _fields() -> str:
    """Return each field with what stands under it in the source."""
    classes = {
        node.name: node.body for node in ast.parse(inspect.getsource(profile)).body if isinstance(node, ast.ClassDef)
    }
    rows = []
    for kind, api in READERS.items():
        for node, below in pairwise(classes[kind.__name__]):
            if (
                isinstance(node, ast.AnnAssign)
                and isinstance(node.target, ast.Name)
                and node.target.id not in NOT_FACTS
            ):
                assert isinstance(below, ast.Expr), f"{node.target.id} has no docstring"
                assert isinstance(below.value, ast.Constant)
                words = " ".join(str(below.value.value).replace("``", "`").split())
                rows.append((f"`{node.target.id}`", api, words))
    return _table("| Field | API | Says |", rows)


TABLES: dict[str, Callable[[], str]] = {
    "providers": _providers,
    "fields": _fields,
    "engines": _engines,
    "families": _families,
}


@pytest.mark.parametrize("name", TABLES)
def test_the_page_has_the_rows_of_the_code(name: str, request: pytest.FixtureRequest) -> None:
    page = PAGE.read_text("utf-8")
    marked = re.compile(rf"(<!-- {name}: from the code -->\n\n).*?(\n\n<!-- end -->)", re.DOTALL)
    expected = TABLES[name]()
    if request.config.getoption("--update-golden"):
        page = marked.sub(lambda found: found[1] + expected + found[2], page)
        PAGE.write_text(page, "utf-8")
    found = marked.search(page)
    assert found is not None
    assert found[0].split("\n\n", 1)[1].removesuffix("\n\n<!-- end -->") == expected
